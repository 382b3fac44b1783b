"""Form-encoded parameters to the typed values that data/api.yaml describes; unset ones are None."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from tmt.sandbox.currencies import check_currency
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, split_words

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_RANGE = dict.fromkeys(("gt", "gte", "lt", "lte"), "int")


def nest(pairs: Iterable[tuple[str, str]]) -> Json:
    """`[("a[b][0]", "c")]` becomes `{"a": {"b": {"0": "c"}}}`. Raises ApiError (400)."""
    tree: Json = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise api_error("malformed_name", name[:80])
        node = tree
        *path, last = [match[1], *_PART.findall(match[2])]
        for part in path:
            node = node.setdefault(part or str(len(node)), {})
            if not isinstance(node, dict):
                raise api_error("conflicting", name)
        last = last or str(len(node))
        if last in node:
            raise api_error("given_twice", name)
        node[last] = value
    return tree


def read(tree: Json, takes: Json, prefix: str = "") -> Json:
    """The typed parameters. Raises ApiError (400) naming the first wrong one."""
    values: Json = {}
    for key, raw in tree.items():
        name = f"{prefix}[{key}]" if prefix else key
        if name.startswith("payment_method_types") and key not in takes:
            raise api_error("payment_method_types_no_longer_supported")
        if key not in takes or not key:
            raise api_error("parameter_unknown", name)
        values[key] = _value(raw, takes[key], name)
    for key, kind in takes.items():
        if key not in values and isinstance(kind, str) and kind.endswith("!"):
            raise api_error("parameter_missing", f"{prefix}[{key}]" if prefix else key)
    return values


def _value(raw: Any, kind: Any, name: str) -> Any:
    if raw == "":
        if kind == "meta" or (kind.endswith("~") if isinstance(kind, str) else "" in kind):
            return None
        raise api_error("parameter_invalid_empty", name)
    if isinstance(kind, dict):
        return read(_hash(raw, name), kind, name)
    if isinstance(kind, list):
        words = [word for word in kind if word]
        if raw not in words:
            listed = ", ".join([*words[:-1], "or " * (len(words) > 1) + words[-1]])
            raise api_error("not_a_word", name, words=listed)
        return raw
    return _READERS[kind.rstrip("!~")](raw, name)


def _text(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or len(raw) > 5000:
        raise api_error("invalid_value", name, kind="string", value=str(raw)[:80])
    return raw


def _integer(raw: Any, name: str) -> int:
    if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}", raw):
        raise api_error("parameter_invalid_integer", name, value=raw)
    return int(raw)


def _boolean(raw: Any, name: str) -> bool:
    if raw not in ("true", "false"):
        raise api_error("invalid_value", name, kind="boolean", value=raw)
    return bool(raw == "true")


def _hash(raw: Any, name: str, kind: str = "object") -> Json:
    if not isinstance(raw, dict) or (kind == "array" and not all(map(str.isdigit, raw))):
        raise api_error("invalid_value", name, kind=kind, value=raw)
    return raw


def _array(raw: Any, name: str) -> list[str]:
    items = _hash(raw, name, "array")
    return [_text(items[key], f"{name}[{key}]") for key in sorted(items, key=int)]


def _range(raw: Any, name: str) -> Json:
    return read(raw, _RANGE, name) if isinstance(raw, dict) else {"eq": _integer(raw, name)}


def _currency(raw: Any, name: str) -> str:
    code = _text(raw, name).lower()
    check_currency(code, name)
    return code


def _metadata(raw: Any, name: str) -> dict[str, str]:
    values = {key: _text(value, f"{name}[{key}]") for key, value in _hash(raw, name).items()}
    for key, value in values.items():
        if len(key) > 40:
            raise api_error("metadata_key", name, value=key[:40])
        if len(value) > 500:
            raise api_error("metadata_value", f"{name}[{key}]", key=key, length=len(value))
    return values


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "str": _text, "int": _integer, "bool": _boolean, "list": _array, "hash": _hash,
    "range": _range, "currency": _currency, "meta": _metadata,
}  # fmt: skip


def changes(body: Json, p: Json) -> Json:
    """What the given parameters change on an object: its `_set` fields and its metadata."""
    told = {
        name: p[name]
        for name in split_words(load_table("objects")[body["object"]]["_set"])
        if name in p
    }
    if "metadata" in p:
        # An empty value removes its key; an empty hash (None) removes them all.
        merged = {} if p["metadata"] is None else {**body["metadata"], **p["metadata"]}
        told["metadata"] = {key: value for key, value in merged.items() if value}
        if len(told["metadata"]) > 50:
            raise api_error("metadata_many", "metadata")
    return told
