"""The catalogue as a YAML file: imported, exported, and the demo events.

What a file may say is in `file_format.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from tmt.catalog.changes import Appointment, cancellation, kind_of_change, record_change
from tmt.catalog.file_format import (
    CatalogueError,
    EventData,
    PlanData,
    TicketTypeData,
    read_catalogue,
)
from tmt.catalog.local_time import format_local
from tmt.catalog.models import ChangeKind, Event, EventStatus, TicketType, folded
from tmt.catalog.plans import Counts, all_plans, import_plans, plan_data, plan_row
from tmt.core.database import Database
from tmt.core.money import to_major

_TAG = "tag:yaml.org,2002:"

DEMO = Path(__file__).with_name("demo.yaml")

_EVENT_FIELDS = [name for name in EventData.model_fields if name != "ticket_types"]
_TYPE_FIELDS = list(TicketTypeData.model_fields)


@dataclass(frozen=True)
class PlannedChange:
    """What an import does to an event that people have tickets for."""

    event_id: int
    slug: str
    kind: ChangeKind
    before: Appointment
    after: Appointment


@dataclass(frozen=True)
class ImportResult:
    """How many events an import created, changed, and found as in the file; what buyers hear of."""

    created: int
    updated: int
    unchanged: int = 0
    changes: tuple[PlannedChange, ...] = ()
    plans: Counts = field(default_factory=Counts)


def import_catalogue(
    db: Database,
    events: Sequence[EventData],
    now: datetime,
    *,
    planned: Sequence[PlanData] = (),
    dry_run: bool = False,
    with_mail: bool = True,
    expected: tuple[PlannedChange, ...] | None = None,
) -> ImportResult:
    """Creates the events and plans that are not there and updates those that are, by their slug.

    One transaction. Ticket types are matched by key, else by name. A change that buyers must hear
    of (`changes.py`) is recorded, and the jobs do what follows from it. With `dry_run` everything
    is checked and nothing written. Raises `CatalogueError`, with nothing imported, when an event
    could not keep what is held or sold of it, or when the changes would not be the `expected` ones.
    """

    def unit(session: Session) -> ImportResult:
        result = _import(session, events, now, with_mail=with_mail)
        result = replace(result, plans=import_plans(session, planned, now))
        if expected is not None and result.changes != expected:
            raise CatalogueError(["the shop has changed since you were asked: import it again"])
        if dry_run:
            raise _DryRun(result)
        return result

    try:
        return db.transaction(unit)
    except _DryRun as ended:
        return ended.result
    except IntegrityError as error:
        message = "something in this file was created by somebody else just now: import it again"
        raise CatalogueError([message]) from error


class _DryRun(Exception):
    """Ends the transaction of a dry run with nothing written."""

    def __init__(self, result: ImportResult) -> None:
        self.result = result


def export_catalogue(session: Session) -> str:
    """All events and plans, drafts too, as a file that imports to the same; soonest first."""
    query = select(Event).order_by(Event.starts_at, Event.slug)
    events = session.scalars(query.options(selectinload(Event.ticket_types))).all()
    # Written one by one for the blank line between them.
    options = {"Dumper": _Dumper, "allow_unicode": True, "width": 1_000_000, "sort_keys": False}
    items = [yaml.dump([_row(_event_data(event))], **options) for event in events]
    text = "events:\n" + "\n".join(items) if items else "events: []\n"
    if rows := [plan_row(plan_data(plan)) for plan in all_plans(session)]:
        text += "\nplans:\n" + "\n".join(yaml.dump([row], **options) for row in rows)
    return text


def seed_demo(db: Database, now: datetime) -> int:
    """Imports the demo events if there is no event at all; how many it imported."""
    events = read_catalogue(DEMO.read_text("utf-8"), DEMO.name, now).events

    def unit(session: Session) -> int:
        if session.scalar(select(Event.id).limit(1)) is not None:
            return 0
        return _import(session, events, now, with_mail=False, demo=True).created

    try:
        return db.transaction(unit)
    except IntegrityError:
        # Another process found the database empty at the same moment and was faster.
        return 0


def _import(
    session: Session,
    events: Sequence[EventData],
    now: datetime,
    *,
    with_mail: bool,
    demo: bool = False,
) -> ImportResult:
    # Every change of stock begins with the event's row, so its lock keeps held and sold still.
    query = select(Event).where(Event.slug.in_([data.slug for data in events]))
    locked = query.order_by(Event.id).with_for_update().options(selectinload(Event.ticket_types))
    existing = {event.slug: event for event in session.scalars(locked)}
    errors: list[str] = []
    matches: dict[str, list[TicketType | None]] = {}
    for data in events:
        event = existing.get(data.slug)
        matches[data.slug] = [None] * len(data.ticket_types)
        if event:
            matches[data.slug], problems = _match(event, data)
            errors += problems or _conflicts(session, event, data, matches[data.slug])
    if errors:
        raise CatalogueError(errors)
    updated, changes = 0, []
    for data in events:
        data = _with_keys(data, matches[data.slug])
        event = existing.get(data.slug)
        if event:
            # A file of the organiser's makes it theirs, even if it changes nothing else.
            event.demo = demo
        if event is None:
            session.add(_apply(Event(demo=demo), data, matches[data.slug], now))
        elif _event_data(event) != data:
            updated += 1
            before, kind = Appointment.of(event), kind_of_change(event, data, now)
            session.add(_apply(event, data, matches[data.slug], now))
            if kind and event.held + event.sold:
                record_change(session, event, kind, now, before=before, with_mail=with_mail)
                after = Appointment.of(event)
                changes.append(PlannedChange(event.id, event.slug, kind, before, after))
    unchanged = len(existing) - updated
    return ImportResult(len(events) - len(existing), updated, unchanged, tuple(changes))


def _apply(
    event: Event, data: EventData, matches: Sequence[TicketType | None], now: datetime
) -> Event:
    """Makes the event as the file has it."""
    watched = ("title", "status", *(field.name for field in fields(Appointment)))
    if event.id and any(getattr(event, name) != getattr(data, name) for name in watched):
        event.sequence += 1
    for name in _EVENT_FIELDS:
        setattr(event, name, getattr(data, name))
    for position, (planned, ticket_type) in enumerate(zip(data.ticket_types, matches, strict=True)):
        ticket_type = ticket_type or TicketType(event=event)
        for name in _TYPE_FIELDS:
            setattr(ticket_type, name, getattr(planned, name))
        ticket_type.position = position
    event.updated_at = now
    return event


def _match(event: Event, data: EventData) -> tuple[list[TicketType | None], list[str]]:
    """The event's ticket type for each one of the file, None for a new one; and errors.

    The key decides, and the name where it is left out or new. A type without key that is new
    beside one that is gone may be that one with another name, so it is an error.
    """
    by_key = {each.key: each for each in event.ticket_types}
    matches = [by_key.get(planned.key or "") for planned in data.ticket_types]
    free = {each.name: each for each in event.ticket_types if each not in matches}
    for index, planned in enumerate(data.ticket_types):
        if matches[index] is None:
            matches[index] = free.pop(planned.name, None)
    pairs = zip(data.ticket_types, matches, strict=True)
    new = [planned.name for planned, match in pairs if match is None and planned.key is None]
    return matches, [
        f"event '{event.slug}': ticket_types['{gone.name}']: is not in the file, and '{new[0]}' is"
        f" new there: write 'key: {gone.key}' with '{new[0]}' if it is the same type with another"
        " name, and a key of its own if it is not"
        for gone in (free.values() if new else ())
    ]


def _with_keys(data: EventData, matches: Sequence[TicketType | None]) -> EventData:
    """The event with a key for each ticket type: its own, the one it has, or one from its name."""
    in_use = {each.key for each in (*data.ticket_types, *matches) if each}
    rows = []
    for planned, match in zip(data.ticket_types, matches, strict=True):
        key = planned.key or (match.key if match else None)
        if key is None:
            stem = re.sub("[^a-z0-9]+", "-", folded(planned.name)).strip("-")[:60].strip("-")
            numbered = (f"{stem or 'type'}-{number}" for number in count(2))
            key = next(each for each in chain([stem or "type"], numbered) if each not in in_use)
            in_use.add(key)
        rows.append(planned.model_copy(update={"key": key}))
    return data.model_copy(update={"ticket_types": rows})


def _conflicts(
    session: Session, event: Event, data: EventData, matches: Sequence[TicketType | None]
) -> list[str]:
    """Where the file contradicts what is held or sold, or what buyers have been informed of.

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
    if data.status == EventStatus.DRAFT != event.status and reserved:
        errors.append(
            f"{where}status: must not be draft while {reserved} tickets are held or sold; canceled"
            " ends it for their buyers too"
        )
    if event.status == EventStatus.CANCELED != data.status and cancellation(session, event.id):
        errors.append(
            f"{where}status: must stay canceled, its buyers have been informed and refunded; if it"
            " takes place after all, give it another slug"
        )
    for planned, ticket_type in zip(data.ticket_types, matches, strict=True):
        reserved = ticket_type.held + ticket_type.sold if ticket_type else 0
        if planned.capacity is not None and planned.capacity < reserved:
            errors.append(
                f"{where}ticket_types['{planned.name}'].capacity: must be at least {reserved}: as"
                " many are held or sold"
            )
    for ticket_type in [each for each in event.ticket_types if each not in matches]:
        field, reserved = (
            f"{where}ticket_types['{ticket_type.name}']",
            ticket_type.held + ticket_type.sold,
        )
        if reserved:
            errors.append(
                f"{field}: must stay in the file, {reserved} of its tickets are held or sold;"
                f" capacity: {reserved} ends its sale"
            )
            continue
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
            return [written_row(each) for each in value]
        return value.replace("\r\n", "\n") if isinstance(value, str) else value

    def written_row(row: EventData | TicketTypeData) -> dict[str, Any]:
        shown = ((name, value) for name, value in row if value is not False)
        return {name: written(name, value) for name, value in shown if value not in (None, "")}

    return written_row(data)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes paragraphs as blocks, and amounts as they are."""

    def represent_text(self, value: str) -> Any:
        return self.represent_scalar(f"{_TAG}str", value, "|" if "\n" in value else None)

    def represent_amount(self, value: Decimal) -> Any:
        return self.represent_scalar(f"{_TAG}{'float' if '.' in str(value) else 'int'}", str(value))


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(Decimal, _Dumper.represent_amount)
