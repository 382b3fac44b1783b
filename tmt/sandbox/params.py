"""Form-encoded parameters, parsed to the types of data/parameters.yaml; a cleared one is None."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from babel import Locale

from tmt.sandbox.currencies import check_currency
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, split_words, template

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_EMAIL = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+\.[^@\s<>,;:.]{2,}")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#]\S*")
_DOMAIN = re.compile(r"(?!-)([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}", re.IGNORECASE)
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be; an empty string clears one that is `clearable`.

    The elements of an array are `items`. Of a hash without `fields`, nothing is read; one whose
    type is string may be an id instead. Versions from `since` on and before `until` have it.
    """

    type: str
    required: bool = False
    clearable: bool = False
    enum: tuple[str, ...] = ()
    items: Parameter | None = None
    fields: Mapping[str, Parameter] | None = None
    since: str = ""
    until: str = ""

    def exists_in(self, version: str) -> bool:
        """Whether this version of the API has the parameter."""
        return self.since <= version and (not self.until or version < self.until)


class _Position(str):
    """The key of an element that was sent as `name[]`: nothing but an array has those."""


STRING, INTEGER = Parameter("string"), Parameter("integer")
STRINGS = Parameter("array", items=STRING)
_RANGE = dict.fromkeys(("gt", "gte", "lt", "lte"), INTEGER)


def method_parameters(rule: str) -> dict[str, Parameter]:
    """The parameters of a method of the API, such as `POST /v1/refunds`."""
    return _parse_fields(load_table("parameters")[rule])


def _parse_fields(rows: Mapping[str, Json | str]) -> dict[str, Parameter]:
    return {name: _parse_parameter(row) for name, row in rows.items()}


def _parse_parameter(row: Json | str) -> Parameter:
    """A row of the table: the type alone, or a mapping of the fields of Parameter."""
    if isinstance(row, str):
        return Parameter(row)
    return Parameter(
        type=row.get("type", "hash" if "fields" in row else "string"),
        required=row.get("required", False),
        clearable=row.get("clearable", False),
        enum=_parse_enum(row.get("enum", ())),
        items=_parse_parameter(row["items"]) if "items" in row else None,
        fields=_parse_fields(row["fields"]) if "fields" in row else None,
        since=row.get("since", ""),
        until=row.get("until", ""),
    )


def _parse_enum(values: str | Sequence[str]) -> tuple[str, ...]:
    """The values, or those of data/enums.yaml that have this name."""
    return tuple(load_table("enums")[values] if isinstance(values, str) else values)


def nest(pairs: Iterable[tuple[str, str]]) -> Json:
    """`[("a[b][0]", "c")]` becomes `{"a": {"b": {"0": "c"}}}`. Raises ApiError (400)."""
    tree: Json = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise api_error("malformed_name", name[:80])
        node = tree
        *path, last = [match[1], *_BRACKETS.findall(match[2])]
        for key in path:
            node = node.setdefault(key or _Position(len(node)), {})
            if not isinstance(node, dict):
                raise api_error("conflicting", name)
        last = last or _Position(len(node))
        if last in node:
            raise api_error("repeated", name)
        node[last] = value
    return tree


def parse(tree: Json, fields: Mapping[str, Parameter], prefix: str = "") -> Json:
    """The typed values of nested parameters. Raises ApiError (400) for the first wrong one."""
    values: Json = {}
    for key, raw in tree.items():
        name = f"{prefix}[{key}]" if prefix else key
        if name.startswith("payment_method_types") and key not in fields:
            raise api_error("payment_method_types_no_longer_supported")
        if key not in fields:
            raise api_error("parameter_unknown", name)
        values[key] = _parse_value(raw, fields[key], name)
    for key, parameter in fields.items():
        if parameter.required and key not in values:
            raise api_error("parameter_missing", f"{prefix}[{key}]" if prefix else key)
    return values


def _parse_value(raw: Any, parameter: Parameter, name: str) -> Any:
    if raw == "":
        if parameter.clearable:
            return None
        raise api_error("parameter_invalid_empty", name)
    if isinstance(raw, str) and raw in parameter.enum:
        return raw
    if parameter.enum and parameter.type == "string":
        *others, last = parameter.enum
        listed = ", ".join([*others, f"or {last}" if others else last])
        raise api_error("not_in_enum", name, values=listed)
    if parameter.type == "array":
        items = _check_hash(raw, name, "array")
        element = parameter.items or STRING
        in_order = sorted(items, key=int)
        return [_parse_value(items[key], element, f"{name}[{key}]") for key in in_order]
    if parameter.fields is not None and not (parameter.type == "string" and isinstance(raw, str)):
        return parse(_check_hash(raw, name), parameter.fields, name)
    return _PARSERS[parameter.type](raw, name)


def _parse_string(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or len(raw) > 5000:
        raise api_error("invalid_value", name, kind="string", value=str(raw)[:80])
    return raw


def _parse_integer(raw: Any, name: str) -> int:
    if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}", raw):
        raise api_error("parameter_invalid_integer", name, value=raw)
    return int(raw)


def _parse_number(raw: Any, name: str) -> float:
    if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,12})?", raw):
        raise api_error("invalid_value", name, kind="decimal", value=raw)
    return float(raw)


def _parse_decimal(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,12})?", raw):
        raise api_error("invalid_value", name, kind="decimal", value=raw)
    return f"{Decimal(raw).normalize():f}"


def _parse_boolean(raw: Any, name: str) -> bool:
    if raw not in ("true", "false"):
        raise api_error("invalid_value", name, kind="boolean", value=raw)
    return bool(raw == "true")


def _parse_email(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or len(raw) > 512 or not _EMAIL.fullmatch(raw):
        raise api_error("email_invalid", name, value=str(raw)[:80])
    return raw


def _check_hash(raw: Any, name: str, kind: str = "object") -> Json:
    is_array = isinstance(raw, dict) and all(key.isdigit() for key in raw)
    has_positions = isinstance(raw, dict) and any(isinstance(key, _Position) for key in raw)
    if not isinstance(raw, dict) or (not is_array if kind == "array" else has_positions):
        raise api_error("invalid_value", name, kind=kind, value=raw)
    return raw


def _parse_url(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or len(raw) > 5000 or not _URL.fullmatch(raw):
        raise api_error("not_a_url", name)
    return raw


def _parse_domain(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or len(raw) > 253 or not _DOMAIN.fullmatch(raw):
        raise api_error("invalid_value", name, kind="domain name", value=str(raw)[:80])
    return raw


@cache
def _countries() -> frozenset[str]:
    """ISO's codes of countries and territories, and Kosovo's."""
    not_countries = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}
    names = map(str, Locale("en").territories)
    codes = {code for code in names if len(code) == 2 and code.isalpha()}
    return frozenset(codes - not_countries)


def _parse_country(raw: Any, name: str) -> str:
    if not isinstance(raw, str) or raw.upper() not in _countries():
        raise api_error("country_code_invalid", name, value=str(raw)[:80])
    return raw


def _parse_range(raw: Any, name: str) -> Json:
    return parse(raw, _RANGE, name) if isinstance(raw, dict) else {"eq": _parse_integer(raw, name)}


def _parse_currency(raw: Any, name: str) -> str:
    code = _parse_string(raw, name).lower()
    check_currency(code, name)
    return code


def _parse_metadata(raw: Any, name: str) -> dict[str, str]:
    metadata = _check_hash(raw, name)
    values = {key: _parse_string(value, f"{name}[{key}]") for key, value in metadata.items()}
    for key, value in values.items():
        if len(key) > 40:
            raise api_error("metadata_key", name, value=key[:40])
        if len(value) > 500:
            raise api_error("metadata_value", f"{name}[{key}]", key=key, length=len(value))
    return values


_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "string": _parse_string,
    "integer": _parse_integer,
    "number": _parse_number,
    "decimal": _parse_decimal,
    "boolean": _parse_boolean,
    "country": _parse_country,
    "domain": _parse_domain,
    "email": _parse_email,
    "url": _parse_url,
    "hash": _check_hash,
    "range": _parse_range,
    "currency": _parse_currency,
    "metadata": _parse_metadata,
}


def complete_address(address: Json) -> Json:
    """An address with all its fields."""
    return template("payment_method.billing_details.address") | address


def field_changes(body: Json, params: Json) -> Json:
    """The fields of an object that parameters of the same name set, and its merged metadata."""
    copied = split_words(load_table("defaults")["objects"][body["object"]]["copied_parameters"])
    changes: Json = {name: params[name] for name in copied if name in params}
    if changes.get("address"):
        changes["address"] = complete_address(changes["address"])
    if shipping := changes.get("shipping"):
        address = complete_address(shipping.get("address") or {})
        part = template(f"{body['object']}.shipping")
        changes["shipping"] = {**part, **shipping, "address": address}
    if "metadata" in params:
        # An empty value removes its key; an empty hash (None) removes them all.
        metadata = {} if params["metadata"] is None else body["metadata"] | params["metadata"]
        changes["metadata"] = {key: value for key, value in metadata.items() if value}
        if len(changes["metadata"]) > 50:
            raise api_error("metadata_many", "metadata")
    return changes
