"""Form-encoded parameters: nested keys to trees, trees to typed values, strictly.

A specification is a dict of parameter name to kind. A kind is "int", "bool", "str", "list",
"hash" (not looked into), "meta", "range" or "currency"; a tuple of the allowed words; or a dict
(a nested specification). A "!" after the name of a kind makes it required, a "?" lets an empty
value unset it; in a tuple, an empty word does the latter. Unset values arrive as None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from tmt.sandbox.currencies import SUPPORTED
from tmt.sandbox.errors import ApiError, invalid
from tmt.sandbox.shape import Json

Spec = dict[str, Any]

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_RANGE: Spec = dict.fromkeys(("gt", "gte", "lt", "lte"), "int")


def nest(pairs: Iterable[tuple[str, str]]) -> Json:
    """`[("a[b][0]", "c")]` becomes `{"a": {"b": {"0": "c"}}}`. Raises ApiError (400)."""
    tree: Json = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid parameter name: {name[:80]}", code="parameter_unknown")
        node = tree
        *path, last = [match[1], *_PART.findall(match[2])]
        for part in path:
            node = node.setdefault(part or str(len(node)), {})
            if not isinstance(node, dict):
                raise invalid(f"Conflicting values for parameter: {name}", name)
        last = last or str(len(node))
        if last in node:
            raise invalid(f"Parameter given more than once: {name}", name)
        node[last] = value
    return tree


def read(tree: Json, spec: Spec, prefix: str = "") -> Json:
    """The typed parameters. Raises ApiError (400) naming the first wrong one."""
    values: Json = {}
    for key, raw in tree.items():
        name = f"{prefix}[{key}]" if prefix else key
        if key not in spec:
            raise _unknown(name)
        values[key] = _value(raw, spec[key], name)
    for key, kind in spec.items():
        if key not in values and isinstance(kind, str) and kind.endswith("!"):
            name = f"{prefix}[{key}]" if prefix else key
            raise invalid(f"Missing required param: {name}.", name, "parameter_missing")
    return values


def _unknown(name: str) -> ApiError:
    if name.startswith("payment_method_types"):
        return invalid(
            "The parameter `payment_method_types` is no longer supported in this API version. Use"
            " dynamic payment methods, `allowed_payment_method_types` or"
            " `excluded_payment_method_types` instead.",
            "payment_method_types",
            "payment_method_types_no_longer_supported",
        )
    return invalid(f"Received unknown parameter: {name}", name, "parameter_unknown")


def _value(raw: Any, kind: Any, name: str) -> Any:
    if raw == "":
        if kind == "meta" or (kind[-1:] == "?" if isinstance(kind, str) else "" in kind):
            return None
        raise _empty(name)
    if isinstance(kind, dict):
        if not isinstance(raw, dict):
            raise invalid("Invalid object", name)
        return read(raw, {k: v for k, v in kind.items() if k}, name)
    if isinstance(kind, tuple):
        return _word(raw, kind, name)
    return _READERS[kind.rstrip("!?")](raw, name)


def _empty(name: str) -> ApiError:
    return invalid(
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset"
        f" a parameter; however '{name}' cannot be unset. You should remove '{name}' from your"
        " request or supply a non-empty value.",
        name,
        "parameter_invalid_empty",
    )


def _word(raw: Any, words: tuple[str, ...], name: str) -> str:
    known = [word for word in words if word]
    if raw not in known:
        listed = ", ".join(known[:-1]) + (", or " if len(known) > 1 else "") + known[-1]
        raise invalid(f"Invalid {name}: must be one of {listed}", name)
    return str(raw)


def _text(raw: Any, name: str) -> str:
    if not isinstance(raw, str):
        raise invalid(f"Invalid string: {raw}", name)
    if len(raw) > 5000:
        raise invalid(f"Invalid string: {raw[:20]}…; must be at most 5000 characters", name)
    return raw


def _integer(raw: Any, name: str) -> int:
    if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}", raw):
        raise invalid(f"Invalid integer: {raw}", name, "parameter_invalid_integer")
    return int(raw)


def _boolean(raw: Any, name: str) -> bool:
    if raw not in ("true", "false"):
        raise invalid(f"Invalid boolean: {raw}", name)
    return bool(raw == "true")


def _array(raw: Any, name: str) -> list[str]:
    if not isinstance(raw, dict) or not all(key.isdigit() for key in raw):
        raise invalid("Invalid array", name)
    return [_text(raw[key], f"{name}[{key}]") for key in sorted(raw, key=int)]


def _hash(raw: Any, name: str) -> Json:
    if not isinstance(raw, dict):
        raise invalid("Invalid object", name)
    return raw


def _range(raw: Any, name: str) -> Json:
    return read(raw, _RANGE, name) if isinstance(raw, dict) else {"eq": _integer(raw, name)}


def _currency(raw: Any, name: str) -> str:
    code = _text(raw, name).lower()
    if code not in SUPPORTED:
        listed = ", ".join(sorted(SUPPORTED))
        raise invalid(f"Invalid currency: {code}. Stripe currently supports: {listed}", name)
    return code


def _metadata(raw: Any, name: str) -> dict[str, str]:
    values = {key: _text(value, f"{name}[{key}]") for key, value in _hash(raw, name).items()}
    for key, value in values.items():
        if len(key) > 40:
            raise invalid(f"Metadata keys can have up to 40 characters: {key[:40]}…", name)
        if len(value) > 500:
            message = f"Metadata values can have up to 500 characters; {key} has {len(value)}."
            raise invalid(message, f"{name}[{key}]")
    return values


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "str": _text,
    "int": _integer,
    "bool": _boolean,
    "list": _array,
    "hash": _hash,
    "range": _range,
    "currency": _currency,
    "meta": _metadata,
}


def merged_metadata(old: dict[str, str], given: dict[str, str] | None) -> dict[str, str]:
    """The old metadata with the given keys set, or removed when empty; None clears all of it."""
    if given is None:
        return {}
    merged = {key: value for key, value in {**old, **given}.items() if value}
    if len(merged) > 50:
        raise invalid("You can only have up to 50 metadata keys.", "metadata")
    return merged
