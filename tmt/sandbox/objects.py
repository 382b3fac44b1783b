"""Stripe's objects as JSON: ids, templates, and the tables of `data/` that describe them."""

from __future__ import annotations

import hmac
import json
import secrets
import string
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml

Json = dict[str, Any]

API_VERSION = "2026-10-28.endive"
# For requests that name no version: the account is an old one, as the official CLI expects, which
# names none and still sends `payment_method_types`.
ACCOUNT_VERSION = "2022-11-15"
DAY = 86400
_ALPHABET = string.digits + string.ascii_letters
_TO_ALPHABET = bytes(ord(_ALPHABET[byte % 62]) for byte in range(256))


@cache
def load_table(name: str) -> Json:
    """The content of `data/<name>.yaml`, loaded once; do not change it."""
    # PyYAML's loader in C where it has one: the same, and much faster.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tables: Json = yaml.load(read_data(f"{name}.yaml"), loader)  # noqa: S506 - a safe one
    return tables


def read_data(file: str) -> str:
    """The text of a file of `data/`."""
    return files(__package__).joinpath("data", file).read_text("utf-8")


def split_words(text: str) -> list[str]:
    """The words of a text, split at white space."""
    return text.split()


def token(length: int) -> str:
    """A random base-62 string; 24 characters carry more than 128 bits."""
    return secrets.token_bytes(length).translate(_TO_ALPHABET).decode()


def secrets_match(received: str, secret: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(received.encode(), secret.encode())


def template(name: str) -> Json:
    """A new copy of an object, or of a part of one (`charge.outcome`), before it is filled in.

    Fields that may be null are null unless data/defaults.yaml has a value for them.
    """
    plain, nested = _template(name)
    return {**plain, **json.loads(nested)} if nested else {**plain}


@cache
def _template(name: str) -> tuple[Json, str]:
    """The template's fields, and as JSON those of them that are no plain values, if any."""
    # A field is its type alone, or a mapping where there is more to say about it.
    fields, row = load_table("objects")[name], load_table("defaults")["objects"][name]
    nullable = [field for field, spec in fields.items() if "nullable" in spec]
    body = dict.fromkeys(nullable) | row.get("values", {})
    for field in split_words(row.get("omitted", "")):
        body.pop(field, None)
    nested = {name: value for name, value in body.items() if isinstance(value, dict | list)}
    return body, json.dumps(nested) if nested else ""


# Objects hold no references to themselves.
_ENCODER = json.JSONEncoder(check_circular=False, separators=(",", ":"))


def encode(body: Json) -> str:
    """The object as JSON, in as few characters as possible."""
    return _ENCODER.encode(body)


def new(kind: str, now: int, **fields: Any) -> Json:
    """A new object of a kind with its id, created `now` (Unix seconds)."""
    prefix = load_table("defaults")["objects"][kind]["id_prefix"]
    common = {"created": now, "livemode": False}
    common = {name: common[name] for name in common if name in load_table("objects")[kind]}
    id = f"{prefix}{_moment(now)}{token(18)}"
    return {"id": id, "object": kind, **template(kind), **common, **fields}


@lru_cache(64)
def _moment(now: int) -> str:
    """Six characters that sort by time, so that new objects stand together in an index of ids."""
    digits = [now // 62**place % 62 for place in range(5, -1, -1)]
    return "".join(sorted(_ALPHABET)[digit] for digit in digits)


def without_internals(body: Json) -> Json:
    """The object as the API shows it: without the sandbox's own fields, which begin with `_`."""
    return {name: value for name, value in body.items() if name[0] != "_"}
