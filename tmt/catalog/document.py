"""YAML as a person wrote it: every value knows its line and field, and every error is reported.

Reading stops at YAML's own nodes: nothing is constructed, so no tag and no implicit type of YAML
decides what a value is; the converters below do. Each takes a `Scalar` and the `Setting` of its
event and raises `BadValue`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import yaml

from tmt.core.errors import CommandError, DomainError
from tmt.core.money import check_chargeable, known_currency, to_major, to_minor

MOST_BYTES = 1024 * 1024

_MOST_DEPTH = 8
_MOST_SHOWN = 50
YAML_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ADDRESS = re.compile(r"[!-\[\]-~]+")
_ABSOLUTE = re.compile(
    r"(20[0-9]{2}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_RELATIVE = re.compile(r"([+-][0-9]{1,4})d ([0-9]{2}:[0-9]{2})")


class CatalogueError(CommandError):
    """A catalogue that cannot be taken; `errors` has one line per thing to correct."""

    def __init__(self, errors: list[str]) -> None:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        more = len(errors) - _MOST_SHOWN
        rest = [f"... and {more} more"] if more > 0 else []
        super().__init__(
            "\n".join([f"{count}, nothing was imported:", *errors[:_MOST_SHOWN], *rest])
        )
        self.errors = errors


class BadValue(Exception):
    """A converter's refusal; the message completes the sentence that begins with the field."""


@dataclass(frozen=True)
class Scalar:
    """A single value as it is written; `kind` is how YAML would read it: str, int, null, ..."""

    line: int
    path: str
    kind: str
    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    line: int
    path: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Fields:
    """A mapping; each field stands in it once."""

    line: int
    path: str
    nodes: dict[str, Node]

    def path_of(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


Node = Scalar | Items | Fields


@dataclass(frozen=True)
class Setting:
    """What the meaning of an event's values hangs on; None where that itself is wrong."""

    now: datetime
    zone: ZoneInfo | None
    currency: str | None


Convert = Callable[[Scalar, Setting], object]


@dataclass(frozen=True)
class Field:
    """How one field is read; one that is not required may be absent or empty: `default`."""

    convert: Convert
    required: bool = True
    default: object = None


class Report:
    """The errors of one file, in the order of its lines."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._errors: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._errors)

    def add(self, line: int, path: str, message: str) -> None:
        """Notes what is wrong with the field `path` (the file itself if empty) at this line."""
        field = f"{path}: " if path else ""
        self._errors.append((line, f"{self._source}:{line}: {field}{message}"))

    def raise_if_any(self) -> None:
        """Raises `CatalogueError` with everything noted so far, if anything is."""
        if self._errors:
            in_order = sorted(self._errors, key=lambda error: error[0])
            raise CatalogueError([text for _line, text in in_order])


def read_yaml(source_text: str, report: Report) -> Node:
    """The document's root. Raises `CatalogueError` when it is no YAML or no harmless one.

    Refused: more than 1 MiB, anchors and aliases (a few lines of them can stand for gigabytes),
    tags, nesting deeper than a catalogue ever is.
    """
    if len(source_text.encode("utf-8", "replace")) > MOST_BYTES:
        report.add(1, "", "the file is larger than 1 MiB: import it in parts")
        report.raise_if_any()
    try:
        _refuse_tricks(source_text, report)
        root = yaml.compose(source_text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        report.add(*_fault(error, source_text))
        report.raise_if_any()
    if root is None:
        report.add(1, "", "the file is empty: it must begin with 'events:'")
        report.raise_if_any()
    return _node(root, "", report)


def read_fields(
    fields: Fields, table: Mapping[str, Field], setting: Setting, report: Report
) -> dict[str, Any]:
    """The values of the table's fields. A wrong one is reported and left out of the result."""
    for name, node in fields.nodes.items():
        if name not in table:
            report.add(node.line, node.path, f"unknown field; known here: {', '.join(table)}")
    values: dict[str, Any] = {}
    for name, field in table.items():
        found = fields.nodes.get(name)
        if not field.required and (found is None or _is_null(found)):
            values[name] = field.default
        elif found is None:
            report.add(fields.line, fields.path_of(name), "is missing")
        else:
            try:
                values[name] = convert(field.convert, found, setting)
            except BadValue as bad:
                report.add(found.line, found.path, str(bad))
    return values


def take_rows(fields: Fields, name: str, report: Report) -> list[Fields]:
    """Takes the field out of `fields`: a list of mappings; what is not one is reported."""
    node = fields.nodes.pop(name, None)
    if node is None:
        report.add(fields.line, fields.path_of(name), "is missing")
        return []
    if not isinstance(node, Items):
        report.add(node.line, node.path, "must be a list, each item beginning with '- '")
        return []
    for item in node.nodes:
        if not isinstance(item, Fields):
            report.add(item.line, item.path, "must be fields with values, such as 'name: ...'")
    return [item for item in node.nodes if isinstance(item, Fields)]


def convert(converter: Convert, node: Node, setting: Setting) -> Any:
    """The node's value; `BadValue` when it is none, or none that the converter takes."""
    if not isinstance(node, Scalar):
        raise BadValue("must be a single value")
    if _is_null(node):
        raise BadValue("must not be empty")
    return converter(node, setting)


def text(most: int, *, lines: bool = False) -> Convert:
    """Text of 1 to `most` characters; with `lines`, line breaks are kept."""

    def read(scalar: Scalar, _setting: Setting) -> str:
        if scalar.kind != "str":
            raise BadValue(f'must be text: write it in quotes, "{scalar.text[:60]}"')
        clean = "\n".join(line.rstrip() for line in scalar.text.split("\n")).strip()
        if not clean:
            raise BadValue("must not be empty")
        if len(clean) > most:
            raise BadValue(f"must have at most {most} characters, not {len(clean)}")
        plain = clean.replace("\n", "").replace("\t", "") if lines else clean
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in plain):
            raise BadValue("must not contain control characters or line breaks")
        return clean

    return read


def one_of(choices: Collection[str]) -> Convert:
    """One of these words."""

    def read(scalar: Scalar, _setting: Setting) -> str:
        if scalar.kind != "str" or scalar.text not in choices:
            raise BadValue(f"must be one of {', '.join(choices)}")
        return scalar.text

    return read


def whole(least: int, most: int) -> Convert:
    """A whole number from `least` to `most`."""

    def read(scalar: Scalar, _setting: Setting) -> int:
        is_whole = scalar.kind == "int" and _WHOLE.fullmatch(scalar.text)
        if not is_whole or not least <= int(scalar.text) <= most:
            raise BadValue(f"must be a whole number from {least} to {most}")
        return int(scalar.text)

    return read


def slug(scalar: Scalar, setting: Setting) -> str:
    """The last part of the event's address."""
    written = cast(str, text(80)(scalar, setting))
    if not _SLUG.fullmatch(written):
        raise BadValue("must be small letters a-z, digits and single hyphens, as 'noche-de-luna'")
    return written


def zone(scalar: Scalar, _setting: Setting) -> str:
    """The name of an IANA time zone."""
    if scalar.text not in _zones():
        raise BadValue("must be an IANA time zone, such as Europe/Madrid")
    return scalar.text


def currency(scalar: Scalar, _setting: Setting) -> str:
    """A currency that Stripe charges in, in lower case."""
    try:
        return known_currency(scalar.text)
    except DomainError as refusal:
        raise BadValue(f"must be an ISO 4217 code, such as EUR: {refusal}") from None


def price(scalar: Scalar, setting: Setting) -> int:
    """Minor units of an amount that is written in major units: 45.00, or 4500 yen."""
    if scalar.kind not in ("int", "float") or not _AMOUNT.fullmatch(scalar.text):
        raise BadValue("must be an amount in major units with a decimal point, such as 45.00")
    if setting.currency is None:
        return 0
    amount = Decimal(scalar.text)
    minor = to_minor(amount, setting.currency)
    if to_major(minor, setting.currency) != amount:
        raise BadValue(f"has more decimals than {setting.currency.upper()} has")
    try:
        check_chargeable(minor, setting.currency)
    except DomainError as refusal:
        raise BadValue(f"cannot be charged by Stripe: {refusal}") from None
    return minor


def https_url(scalar: Scalar, setting: Setting) -> str:
    """An https address without a user's name in it."""
    written = cast(str, text(500)(scalar, setting))
    try:
        parts = urlsplit(written)
        good = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or not _ADDRESS.fullmatch(written):
        raise BadValue(
            "must be an address that begins with https://, with %-codes for other letters"
        )
    return written


def moment(scalar: Scalar, setting: Setting) -> datetime:
    """A moment in UTC of a local time, absolute or counted in days from today."""
    absolute, relative = _ABSOLUTE.fullmatch(scalar.text), _RELATIVE.fullmatch(scalar.text)
    try:
        if relative:
            today = setting.now.astimezone(setting.zone or UTC).date()
            day = today + timedelta(days=int(relative[1]))
            return _in_utc(datetime.combine(day, time.fromisoformat(relative[2])), setting.zone)
        if absolute:
            written = datetime.fromisoformat(f"{absolute[1]}T{absolute[2]}{absolute[3] or ''}")
            return written.astimezone(UTC) if absolute[3] else _in_utc(written, setting.zone)
    except ValueError:
        raise BadValue("is a date or time that does not exist") from None
    raise BadValue(
        "must be local date and time, as 2027-03-05 21:00, or days from today, as +21d 21:00"
    )


def local_text(when: datetime, zone_name: str) -> str:
    """The moment as `moment` reads it back: local time, with the offset only where it is needed."""
    here = when.astimezone(ZoneInfo(zone_name))
    naive = here.replace(tzinfo=None, fold=0)
    precision = "microseconds" if here.microsecond else "seconds" if here.second else "minutes"
    shown = here if len(_moments(naive, ZoneInfo(zone_name))) > 1 else naive
    return shown.isoformat(" ", precision)


def _refuse_tricks(source_text: str, report: Report) -> None:
    # On the parser's events, before anything is built of them: an alias costs nothing yet.
    depth = 0
    for event in yaml.parse(source_text, Loader=yaml.SafeLoader):
        line = int(event.start_mark.line) + 1
        if getattr(event, "anchor", None) is not None:
            report.add(line, "", "anchors and aliases (& and *) are not taken: write the value out")
        elif getattr(event, "tag", None) is not None:
            report.add(line, "", "tags (!) are not taken: write the plain value")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            report.add(line, "", "is nested too deeply for a catalogue")
            break
    report.raise_if_any()


def _fault(error: Any, source_text: str) -> tuple[int, str, str]:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        before = source_text[: getattr(error, "position", 0)]
        return before.count("\n") + 1, "", "contains a character that YAML does not allow"
    return int(mark.line) + 1, "", f"is not valid YAML: {error.problem or error.context}"


def _node(node: Any, path: str, report: Report) -> Node:
    line = int(node.start_mark.line) + 1
    if isinstance(node, yaml.ScalarNode):
        return Scalar(line, path, str(node.tag).removeprefix(YAML_TAG), str(node.value))
    if isinstance(node, yaml.SequenceNode):
        children = enumerate(node.value)
        return Items(line, path, tuple(_node(n, f"{path}[{i}]", report) for i, n in children))
    fields = Fields(line, path, {})
    for key, value in node.value:
        name = _shown(str(key.value)) if isinstance(key, yaml.ScalarNode) else "?"
        if name in fields.nodes:
            key_line = int(key.start_mark.line) + 1
            report.add(key_line, fields.path_of(name), "stands here twice")
        else:
            fields.nodes[name] = _node(value, fields.path_of(name), report)
    return fields


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:60]


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def _in_utc(local: datetime, zone_info: ZoneInfo | None) -> datetime:
    if zone_info is None:
        return local.replace(tzinfo=UTC)
    moments = _moments(local, zone_info)
    if not moments:
        raise BadValue(f"does not exist in {zone_info.key}: the clocks skip that hour")
    if len(moments) > 1:
        offset = moments[0].astimezone(zone_info).isoformat(" ", "minutes")
        raise BadValue(f"comes twice in {zone_info.key}: add the offset, such as {offset}")
    return moments[0]


def _moments(local: datetime, zone_info: ZoneInfo) -> list[datetime]:
    """The moments (UTC) at which the clocks of the zone show this: none, one or two."""
    folds = (local.replace(tzinfo=zone_info, fold=fold).astimezone(UTC) for fold in (0, 1))
    shown = {m for m in folds if m.astimezone(zone_info).replace(tzinfo=None) == local}
    return sorted(shown)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
