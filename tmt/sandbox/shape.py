"""The sandbox's smallest notions: a JSON object, ids, and the tables that it knows by heart."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without its C library: the same, more slowly
    from yaml import SafeLoader as Loader

Json = dict[str, Any]

# What the sandbox speaks, and what a request is taken to speak that does not say: the account is
# an old one, as the official CLI expects, which names no version and still sends card types.
API_VERSION = "2026-10-28.endive"
ACCOUNT_VERSION = "2022-11-15"
_ALPHABET = string.digits + string.ascii_letters


def names(text: str) -> list[str]:
    """The names in a text, split at white space."""
    return text.split()


@cache
def known(name: str) -> Json:
    """The tables of `data/<name>.yaml`, read once; callers change nothing in them."""
    tables: Json = yaml.load(read_data(f"{name}.yaml"), Loader)
    return tables


def read_data(file: str) -> str:
    """The text of a file of `data/`."""
    return files(__package__).joinpath("data", file).read_text("utf-8")


def function(name: str) -> Callable[..., Any]:
    """The function of this package that data or a timer names: `charges.expire_hold`."""
    module, _, attribute = name.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found


def token(length: int) -> str:
    """A random base-62 string; 24 characters carry more than 128 bits."""
    return "".join(_ALPHABET[byte % 62] for byte in secrets.token_bytes(length))


@cache
def _skeleton(kind: str) -> Json:
    return _filled(known("objects")[kind])


def _filled(table: Json) -> Json:
    fields = dict.fromkeys(names(table.get("_null", "")))
    for name, value in table.items():
        if not name.startswith("_"):
            fields[name] = _filled(value) if isinstance(value, dict) else value
    return fields


def part(kind: str) -> Json:
    """A fresh copy of a skeleton of `data/objects.yaml`, all fields present."""
    copied: Json = _copied(_skeleton(kind))
    return copied


def new(kind: str, now: int, **fields: Any) -> Json:
    """A new object of a kind with its id, created `now` (Unix seconds)."""
    table = known("objects")[kind]
    head = {"id": table["_id"] + token(24), "object": kind, "created": now, "livemode": False}
    body = head | part(kind) | fields
    if "_without" in table:
        # What the API does not show may still be wanted here.
        body[f"_{table['_without']}"] = body.pop(table["_without"])
    return body


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, list) else value


def public(body: Json) -> Json:
    """The object as the API shows it: without the sandbox's own notes."""
    return {name: value for name, value in body.items() if not name.startswith("_")}


def publishable(body: Json) -> Json:
    """The object as a browser may see it."""
    shown = known("objects")["publishable"].get(body["object"])
    if shown is None:
        return public(body)
    return {name: body[name] for name in names(shown) if name in body}
