"""The catalogue as a YAML file: imported, exported, and the demo events.

What a file may say is in `file_format.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from tmt.catalog.file_format import (
    CatalogueError,
    EventData,
    TicketTypeData,
    parse_catalogue,
)
from tmt.catalog.local_time import format_local
from tmt.catalog.models import Event, TicketType
from tmt.core.database import Database
from tmt.core.money import to_major

_TAG = "tag:yaml.org,2002:"

DEMO = Path(__file__).with_name("demo.yaml")

_EVENT_FIELDS = [name for name in EventData.model_fields if name != "ticket_types"]
_TYPE_FIELDS = list(TicketTypeData.model_fields)


@dataclass(frozen=True)
class ImportResult:
    """How many events an import created, and how many existing ones are now as in the file."""

    created: int
    updated: int


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
    # Written one by one for the blank line between them.
    options = {"Dumper": _Dumper, "allow_unicode": True, "width": 1_000_000, "sort_keys": False}
    items = [yaml.dump([_row(_event_data(event))], **options) for event in events]
    return "events:\n" + "\n".join(items) if items else "events: []\n"


def seed_demo(db: Database, now: datetime) -> int:
    """Imports the demo events if there is no event at all; how many it imported."""
    events = parse_catalogue(DEMO.read_text("utf-8"), DEMO.name, now)

    def unit(session: Session) -> int:
        if session.scalar(select(Event.id).limit(1)) is not None:
            return 0
        return _import(session, events, now, demo=True).created

    try:
        return db.transaction(unit)
    except IntegrityError:
        # Another process found the database empty at the same moment and was faster.
        return 0


def _import(
    session: Session, events: Sequence[EventData], now: datetime, *, demo: bool = False
) -> ImportResult:
    # Every change of stock begins with the event's row, so its lock keeps held and sold still.
    query = select(Event).where(Event.slug.in_([data.slug for data in events]))
    locked = query.order_by(Event.id).with_for_update().options(selectinload(Event.ticket_types))
    existing = {event.slug: event for event in session.scalars(locked)}
    errors: list[str] = []
    for data in events:
        if data.slug in existing:
            errors += _conflicts(session, existing[data.slug], data)
    if errors:
        raise CatalogueError(errors)
    for data in events:
        event = existing.get(data.slug)
        if event:
            # A file of the organiser's makes it theirs, even if it changes nothing else.
            event.demo = demo
        if event and _event_data(event) == data:
            continue
        event = event or Event(demo=demo)
        for name in _EVENT_FIELDS:
            setattr(event, name, getattr(data, name))
        by_name = {each.name: each for each in event.ticket_types}
        for position, planned in enumerate(data.ticket_types):
            ticket_type = by_name.get(planned.name) or TicketType(event=event)
            for name in _TYPE_FIELDS:
                setattr(ticket_type, name, getattr(planned, name))
            ticket_type.position = position
        event.updated_at = now
        session.add(event)
    return ImportResult(created=len(events) - len(existing), updated=len(existing))


def _conflicts(session: Session, event: Event, data: EventData) -> list[str]:
    """Where the file contradicts the tickets that are held or sold.

    Removes the ticket types that the file leaves out, unless somebody ever ordered them.
    """
    errors = []
    where, reserved = f"event '{event.slug}': ", event.held + event.sold
    if data.currency != event.currency and reserved:
        errors.append(
            f"{where}currency: must stay {event.currency.upper()} while {reserved} tickets are"
            " held or sold"
        )
    if data.capacity is not None and data.capacity < reserved:
        errors.append(
            f"{where}capacity: must be at least {reserved}, as many tickets are held or sold"
        )
    planned = {each.name: each for each in data.ticket_types}
    for ticket_type in list(event.ticket_types):
        field = f"{where}ticket_types['{ticket_type.name}']"
        reserved = ticket_type.held + ticket_type.sold
        if ticket_type.name in planned:
            capacity = planned[ticket_type.name].capacity
            if capacity is not None and capacity < reserved:
                errors.append(
                    f"{field}.capacity: must be at least {reserved}: as many are held or sold"
                )
        elif reserved:
            errors.append(
                f"{field}: must stay in the file, {reserved} of its tickets are held or sold;"
                f" capacity: {reserved} ends its sale"
            )
        else:
            try:
                with session.begin_nested():
                    event.ticket_types.remove(ticket_type)
                    session.flush()
            except IntegrityError:
                errors.append(
                    f"{field}: must stay in the file, there are past orders of it;"
                    " capacity: 0 ends its sale"
                )
    return errors


def _event_data(event: Event) -> EventData:
    """The event as a file would have it; what is in the database is not checked again."""
    types = [
        TicketTypeData.model_construct(**{name: getattr(each, name) for name in _TYPE_FIELDS})
        for each in event.ticket_types
    ]
    values = {name: getattr(event, name) for name in _EVENT_FIELDS}
    return EventData.model_construct(**values, ticket_types=types)


def _row(data: EventData) -> dict[str, Any]:
    """The fields in their order, as they are written: local times, major units, nothing empty."""
    zone = ZoneInfo(data.time_zone)

    def written(name: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return format_local(value, zone)
        if name == "price":
            return to_major(value, data.currency)
        if name == "currency":
            return value.upper()
        if name == "ticket_types":
            return [fields(each) for each in value]
        return value.replace("\r\n", "\n") if isinstance(value, str) else value

    def fields(row: EventData | TicketTypeData) -> dict[str, Any]:
        return {name: written(name, value) for name, value in row if value not in (None, "")}

    return fields(data)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes paragraphs as blocks, and amounts as they are."""

    def represent_text(self, value: str) -> Any:
        return self.represent_scalar(f"{_TAG}str", value, "|" if "\n" in value else None)

    def represent_amount(self, value: Decimal) -> Any:
        return self.represent_scalar(f"{_TAG}{'float' if '.' in str(value) else 'int'}", str(value))


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(Decimal, _Dumper.represent_amount)
