"""Events for tests: as rows, and as a catalogue file that is written field by field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tmt.catalog import listing, stock
from tmt.catalog.file_format import CatalogueError, EventData, read_catalogue
from tmt.catalog.import_export import export_catalogue
from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.core.database import Database

NOW = datetime(2027, 1, 10, 23, 30, tzinfo=UTC)

LINES = {
    "slug": "noche-de-luna",
    "title": "Noche de Luna",
    "status": "published",
    "language": "es",
    "starts_at": "2027-03-05 21:00",
    "ends_at": "2027-03-05 23:30",
    "time_zone": "Europe/Madrid",
    "venue": "Teatro del Aljibe",
    "address": "Calle Mayor 1",
    "city": "Madrid",
    "currency": "EUR",
    "max_per_order": "6",
}
TYPE = {"name": "General", "price": "45.00"}


# For what is the same in each database.
one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def written(*types: dict[str, str], **event: str | None) -> str:
    """A file of one event, each value as it would be typed; None leaves the field out."""
    fields = {**LINES, **event}
    lines = [f"  {name}: {value}" for name, value in fields.items() if value is not None]
    rows = []
    for each in types or ({},):
        row = [f"{name}: {value}" for name, value in {**TYPE, **each}.items()]
        rows.append("  - " + "\n    ".join(row))
    return "\n".join(["events:", "-" + lines[0][1:], *lines[1:], "  ticket_types:", *rows, ""])


def parse_one(*types: dict[str, str], **event: str | None) -> EventData:
    (data,) = read_catalogue(written(*types, **event), "events.yaml", NOW).events
    return data


def errors_of(text: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(text, "events.yaml", NOW)
    assert all(error in str(caught.value) for error in caught.value.errors)
    return caught.value.errors


def exported(db: Database) -> str:
    with db.reading() as session:
        return export_catalogue(session)


def event_row(db: Database) -> Event:
    with db.reading() as session:
        return listing.find_event(session, LINES["slug"])


def hold(db: Database, name: str, count: int) -> None:
    event = event_row(db)
    (type_id,) = [each.id for each in event.ticket_types if each.name == name]
    db.transaction(lambda session: stock.hold(session, event.id, {type_id: count}))


def new_type(**values: Any) -> TicketType:
    defaults = {"name": "General", "price": 4500, "capacity": None, "held": 0, "sold": 0}
    return TicketType(**{**defaults, **values})


def new_event(slug: str = "noche", *types: TicketType, **values: Any) -> Event:
    defaults: dict[str, Any] = {
        "title": slug.title(),
        "description": "",
        "venue": "Sala",
        "address": "Calle 1",
        "city": "Madrid",
        "starts_at": NOW + timedelta(days=9),
        "ends_at": NOW + timedelta(days=10),
        "time_zone": "Europe/Madrid",
        "language": "es",
        "currency": "eur",
        "capacity": None,
        "held": 0,
        "sold": 0,
        "max_per_order": 6,
        "status": EventStatus.PUBLISHED,
        "updated_at": NOW,
    }
    event = Event(slug=slug, **{**defaults, **values})
    event.ticket_types = list(types) or [new_type()]
    for position, ticket_type in enumerate(event.ticket_types):
        ticket_type.position = position
    return event
