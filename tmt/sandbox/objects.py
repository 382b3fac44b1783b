"""The sandbox's smallest notions: a JSON object, ids, and the tables that it knows by heart."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

import yaml

Json = dict[str, Any]

# What the sandbox speaks, and what a request is taken to speak that does not say: the account is
# an old one, as the official CLI expects, which names no version and still sends card types.
API_VERSION = "2026-10-28.endive"
ACCOUNT_VERSION = "2022-11-15"
DAY = 86400
_ALPHABET = string.digits + string.ascii_letters


def split_words(text: str) -> list[str]:
    """The names in a text, split at white space."""
    return text.split()


@cache
def load_table(name: str) -> Json:
    """The tables of `data/<name>.yaml`, read once; callers change nothing in them."""
    # PyYAML's loader in C where it has one: the same, and much faster.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tables: Json = yaml.load(read_data(f"{name}.yaml"), loader)  # noqa: S506 - a safe one
    return tables


def read_data(file: str) -> str:
    """The text of a file of `data/`."""
    return files(__package__).joinpath("data", file).read_text("utf-8")


def function(name: str) -> Callable[..., Any]:
    """The function of this package that data or a timer names: `intents.expire_hold`."""
    module, _, attribute = name.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found


def token(length: int) -> str:
    """A random base-62 string; 24 characters carry more than 128 bits."""
    return "".join(_ALPHABET[byte % 62] for byte in secrets.token_bytes(length))


def secrets_match(given: str, secret: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(given.encode(), secret.encode())


def template(kind: str) -> Json:
    """A fresh copy of a skeleton of `data/objects.yaml`, all fields present."""
    return _fresh(load_table("objects")[kind])


def _fresh(table: Json) -> Json:
    fields = dict.fromkeys(split_words(table.get("_null", "")))
    for name, value in table.items():
        if isinstance(value, dict):
            fields[name] = _fresh(value)
        elif not name.startswith("_"):
            fields[name] = [*value] if isinstance(value, list) else value
    return fields


def new(kind: str, now: int, **fields: Any) -> Json:
    """A new object of a kind with its id, created `now` (Unix seconds)."""
    table = load_table("objects")[kind]
    head = {"id": table["_id"] + token(24), "object": kind, "created": now, "livemode": False}
    body = head | template(kind) | fields
    if "_without" in table:
        # What the API does not show may still be wanted here.
        body[f"_{table['_without']}"] = body.pop(table["_without"])
    return body


def without_internals(body: Json) -> Json:
    """The object as the API shows it: without the sandbox's own notes."""
    return {name: value for name, value in body.items() if not name.startswith("_")}
