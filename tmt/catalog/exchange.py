"""The catalogue as a YAML file: read and checked, imported, exported, and the demo events.

The format is docs/catalogue.md; `document.py` reads the values of its fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import yaml
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from tmt.catalog import document as doc
from tmt.catalog.document import CatalogueError, Field, Fields, Report, Setting
from tmt.catalog.models import EVENT_STATUSES, Event, TicketType
from tmt.core.database import Database
from tmt.core.i18n import LOCALES
from tmt.core.money import to_major

__all__ = [
    "CatalogueError",
    "EventData",
    "ImportResult",
    "TicketTypeData",
    "export_catalogue",
    "import_catalogue",
    "parse_catalogue",
    "seed_demo",
]

DEMO = Path(__file__).with_name("demo.yaml")

_MOST_PLACES = 1_000_000
_MOST_PER_ORDER = 50


@dataclass(frozen=True)
class TicketTypeData:
    """A ticket type as the file has it: price in minor units, times in UTC."""

    name: str
    price: int
    description: str = ""
    capacity: int | None = None
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None


@dataclass(frozen=True)
class EventData:
    """An event as the file has it, its ticket types in order; times in UTC, currency lower-case."""

    slug: str
    title: str
    status: str
    language: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    venue: str
    address: str
    city: str
    currency: str
    max_per_order: int
    capacity: int | None = None
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None
    image_url: str | None = None
    description: str = ""
    ticket_types: tuple[TicketTypeData, ...] = ()


@dataclass(frozen=True)
class ImportResult:
    """How many events an import made, and how many existing ones it brought to the file's state."""

    created: int
    updated: int


_SALE = {
    "capacity": Field(doc.whole(0, _MOST_PLACES), required=False),
    "sale_starts_at": Field(doc.moment, required=False),
    "sale_ends_at": Field(doc.moment, required=False),
}
_EVENT_FIELDS: Mapping[str, Field] = {
    "slug": Field(doc.slug),
    "title": Field(doc.text(200)),
    "status": Field(doc.one_of(EVENT_STATUSES)),
    "language": Field(doc.one_of(LOCALES)),
    "starts_at": Field(doc.moment),
    "ends_at": Field(doc.moment),
    "time_zone": Field(doc.zone),
    "venue": Field(doc.text(200)),
    "address": Field(doc.text(300)),
    "city": Field(doc.text(120)),
    "currency": Field(doc.currency),
    "max_per_order": Field(doc.whole(1, _MOST_PER_ORDER)),
    **_SALE,
    "image_url": Field(doc.https_url, required=False),
    "description": Field(doc.text(20_000, lines=True), required=False, default=""),
}
_TYPE_FIELDS: Mapping[str, Field] = {
    "name": Field(doc.text(120)),
    "price": Field(doc.price),
    "description": Field(doc.text(500), required=False, default=""),
    **_SALE,
}


def parse_catalogue(text: str, source: str, now: datetime | None = None) -> list[EventData]:
    """The events of a catalogue file, checked; `source` names the file in errors.

    Relative times count from `now`, the present moment if left out. Raises `CatalogueError` with
    every error of the file, each as `source:line: field: what is wrong`.
    """
    report = Report(source)
    root = doc.read_yaml(text, report)
    moment = now or datetime.now(UTC)
    if isinstance(root, Fields):
        rows = doc.take_rows(root, "events", report)
        for name, node in root.nodes.items():
            report.add(node.line, name, "unknown field; the file has one field, events")
        events = [_read_event(row, moment, report) for row in rows]
        _refuse_doubles(rows, "slug", report)
    else:
        report.add(root.line, "", "must begin with 'events:'")
    report.raise_if_any()
    return [event for event in events if event]


def import_catalogue(db: Database, events: Sequence[EventData], now: datetime) -> ImportResult:
    """Creates the events that are not there and updates those that are, found by their slug.

    One transaction. Ticket types are matched by name. Raises `CatalogueError`, with nothing
    imported, when an event could not keep what is held or sold of it.
    """
    try:
        return db.transaction(lambda session: _import(session, events, now))
    except IntegrityError as error:
        message = "an event of this file was created by somebody else just now: import it again"
        raise CatalogueError([message]) from error


def export_catalogue(session: Session) -> str:
    """All events, drafts and past ones too, as a file that imports to the same; soonest first."""
    query = select(Event).order_by(Event.starts_at, Event.slug)
    events = session.scalars(query.options(selectinload(Event.ticket_types))).all()
    rows = [_event_row(_event_data(event)) for event in events]
    return _write_yaml("events", rows)


def seed_demo(db: Database, now: datetime) -> int:
    """Imports the demo events if there is no event at all; how many it imported."""
    events = parse_catalogue(DEMO.read_text("utf-8"), DEMO.name, now)

    def unit(session: Session) -> int:
        if session.scalar(select(Event.id).limit(1)) is not None:
            return 0
        return _import(session, events, now).created

    try:
        return db.transaction(unit)
    except IntegrityError:
        # Another process found the database empty at the same moment and was faster.
        return 0


def _read_event(row: Fields, now: datetime, report: Report) -> EventData | None:
    before = len(report)
    type_rows = doc.take_rows(row, "ticket_types", report)
    setting = _setting(row, now)
    values = doc.read_fields(row, _EVENT_FIELDS, setting, report)
    types = [doc.read_fields(each, _TYPE_FIELDS, setting, report) for each in type_rows]
    _refuse_doubles(type_rows, "name", report)
    _check_times(row, values, report)
    for type_row, type_values in zip(type_rows, types, strict=True):
        _check_type_times(type_row, type_values, values, report)
    if len(report) > before:
        return None
    return EventData(**values, ticket_types=tuple(TicketTypeData(**each) for each in types))


def _setting(row: Fields, now: datetime) -> Setting:
    nothing = Setting(now, None, None)

    def quietly(name: str) -> str | None:
        try:
            found = doc.convert(_EVENT_FIELDS[name].convert, row.nodes[name], nothing)
            return cast(str, found)
        except (KeyError, doc.BadValue):
            return None

    zone = quietly("time_zone")
    return Setting(now, ZoneInfo(zone) if zone else None, quietly("currency"))


def _check_times(row: Fields, values: Mapping[str, Any], report: Report) -> None:
    starts, ends = values.get("starts_at"), values.get("ends_at")
    if starts and ends and ends <= starts:
        _add(report, row, "ends_at", "must be after starts_at")
    _check_sale(row, values, ends, report)


def _check_type_times(
    row: Fields, values: Mapping[str, Any], event: Mapping[str, Any], report: Report
) -> None:
    """The type's own window, in which what it leaves out is the event's."""
    names = ("sale_starts_at", "sale_ends_at")
    if any(values.get(name) for name in names):
        known = {n: values[n] or event.get(n) for n in names if n in values}
        _check_sale(row, known, event.get("ends_at"), report)


def _check_sale(
    row: Fields, values: Mapping[str, Any], event_ends: datetime | None, report: Report
) -> None:
    starts, ends = values.get("sale_starts_at"), values.get("sale_ends_at")
    if ends and event_ends and ends > event_ends:
        _add(report, row, "sale_ends_at", "must not be after the event's ends_at")
    elif starts and ends and ends <= starts:
        given = "sale_ends_at" if "sale_ends_at" in row.nodes else "sale_starts_at"
        _add(report, row, given, "the sale must end after it starts")
    elif starts and not ends and event_ends and event_ends <= starts:
        _add(report, row, "sale_starts_at", "the sale must start before the event's ends_at")


def _add(report: Report, row: Fields, name: str, message: str) -> None:
    report.add(row.nodes[name].line if name in row.nodes else row.line, row.path_of(name), message)


def _refuse_doubles(rows: Sequence[Fields], name: str, report: Report) -> None:
    seen: set[str] = set()
    for row in rows:
        node = row.nodes.get(name)
        if isinstance(node, doc.Scalar):
            value = node.text.strip()
            if value in seen:
                _add(report, row, name, f"'{value[:80]}' stands above already")
            seen.add(value)


def _import(session: Session, events: Sequence[EventData], now: datetime) -> ImportResult:
    # Every change of stock begins with the event's row, so its lock keeps held and sold still.
    query = select(Event).where(Event.slug.in_([data.slug for data in events]))
    locked = query.order_by(Event.id).with_for_update().options(selectinload(Event.ticket_types))
    existing = {event.slug: event for event in session.scalars(locked)}
    errors: list[str] = []
    for data in events:
        if data.slug in existing:
            errors += _conflicts(existing[data.slug], data)
            errors += _drop_types(session, existing[data.slug], data)
    if errors:
        raise CatalogueError(errors)
    for data in events:
        if data.slug not in existing:
            event = Event()
            _fill(event, data, now)
            session.add(event)
        elif _event_data(existing[data.slug]) != data:
            _fill(existing[data.slug], data, now)
    return ImportResult(created=len(events) - len(existing), updated=len(existing))


def _conflicts(event: Event, data: EventData) -> list[str]:
    """Where the file contradicts the places that are held or sold."""
    where, taken = f"event '{event.slug}': ", event.held + event.sold
    errors = []
    if data.currency != event.currency and taken:
        errors.append(
            f"{where}currency: must stay {event.currency.upper()} while {taken} places are"
            " held or sold"
        )
    errors += _too_few(f"{where}capacity", data.capacity, taken)
    planned = {each.name: each for each in data.ticket_types}
    for ticket_type in event.ticket_types:
        field = f"{where}ticket_types['{ticket_type.name}']"
        type_taken = ticket_type.held + ticket_type.sold
        if ticket_type.name in planned:
            capacity = planned[ticket_type.name].capacity
            errors += _too_few(f"{field}.capacity", capacity, type_taken)
        elif type_taken:
            errors.append(
                f"{field}: must stay in the file, {type_taken} of its places are held or sold;"
                f" capacity: {type_taken} ends its sale"
            )
    return errors


def _too_few(field: str, capacity: int | None, taken: int) -> list[str]:
    if capacity is None or capacity >= taken:
        return []
    return [f"{field}: must be at least {taken}, as many places are held or sold"]


def _drop_types(session: Session, event: Event, data: EventData) -> list[str]:
    """Removes the ticket types that the file leaves out, unless somebody ever ordered them."""
    kept = {each.name for each in data.ticket_types}
    free = [t for t in event.ticket_types if t.name not in kept and not t.held + t.sold]
    errors = []
    for ticket_type in free:
        name = ticket_type.name
        try:
            with session.begin_nested():
                event.ticket_types.remove(ticket_type)
                session.flush()
        except IntegrityError:
            errors.append(
                f"event '{data.slug}': ticket_types['{name}']: must stay in the file, there are"
                " past orders of it; capacity: 0 ends its sale"
            )
    return errors


def _fill(event: Event, data: EventData, now: datetime) -> None:
    for name in _EVENT_FIELDS:
        setattr(event, name, getattr(data, name))
    by_name = {each.name: each for each in event.ticket_types}
    for position, planned in enumerate(data.ticket_types):
        ticket_type = by_name.get(planned.name)
        if ticket_type is None:
            ticket_type = TicketType()
            event.ticket_types.append(ticket_type)
        for name in _TYPE_FIELDS:
            setattr(ticket_type, name, getattr(planned, name))
        ticket_type.position = position
    event.updated_at = now


def _event_data(event: Event) -> EventData:
    values = {name: getattr(event, name) for name in _EVENT_FIELDS}
    types = tuple(
        TicketTypeData(**{name: getattr(each, name) for name in _TYPE_FIELDS})
        for each in event.ticket_types
    )
    return EventData(**values, ticket_types=types)


def _event_row(data: EventData) -> dict[str, Any]:
    types = [_row(each, data) for each in data.ticket_types]
    return {**_row(data, data), "ticket_types": types}


def _row(data: EventData | TicketTypeData, event: EventData) -> dict[str, Any]:
    """The fields in their order, as they are written: local times, major units, nothing empty."""
    values = {field.name: getattr(data, field.name) for field in fields(data)}
    row: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, datetime):
            row[name] = doc.local_text(value, event.time_zone)
        elif name == "price":
            row[name] = to_major(value, event.currency)
        elif name == "currency":
            row[name] = value.upper()
        elif value not in (None, ""):
            row[name] = value.replace("\r\n", "\n") if isinstance(value, str) else value
    return row


Written = str | int | Decimal | Sequence[Mapping[str, "Written | None"]]


def _write_yaml(name: str, rows: Sequence[Mapping[str, Written | None]]) -> str:
    """A document of one list in block style, a blank line between its items; None is left out."""
    if not rows:
        return f"{name}: []\n"
    return f"{name}:\n" + "\n".join(_serialize(_written([row])) for row in rows)


def _serialize(node: Any) -> str:
    return cast(
        str, yaml.serialize(node, Dumper=yaml.SafeDumper, allow_unicode=True, width=1_000_000)
    )


def _written(value: Written) -> Any:
    if isinstance(value, str):
        style = "|" if "\n" in value else None
        return yaml.ScalarNode(f"{doc.YAML_TAG}str", value, style=style)
    if isinstance(value, int | Decimal):
        number = str(value)
        kind = "float" if "." in number else "int"
        return yaml.ScalarNode(f"{doc.YAML_TAG}{kind}", number)
    rows = [_written_row(row) for row in value]
    return yaml.SequenceNode(f"{doc.YAML_TAG}seq", rows, flow_style=not rows)


def _written_row(row: Mapping[str, Written | None]) -> Any:
    pairs = [(_written(name), _written(v)) for name, v in row.items() if v is not None]
    return yaml.MappingNode(f"{doc.YAML_TAG}map", pairs, flow_style=False)
