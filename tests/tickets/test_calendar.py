"""The calendar file, read back the way a calendar program reads it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from icalendar import Calendar

from tmt.tickets.calendar import CalendarEntry, render_calendar

ENTRY = CalendarEntry(
    uid="event-7@tickets.example.org",
    title="La noche; de los «tambores», a las 9",
    description="Puertas: 20:00\nEntradas en la web.",
    location="Teatro Circo Price, Ronda de Atocha 35, Madrid",
    starts_at=datetime(2026, 7, 12, 19, tzinfo=UTC),
    ends_at=datetime(2026, 7, 12, 23, 30, tzinfo=UTC),
    time_zone="Europe/Madrid",
    url="https://tickets.example.org/events/tambores",
    updated_at=datetime(2026, 5, 1, 8, 30, tzinfo=UTC),
)


def parse(content: bytes) -> tuple[Any, Any]:
    """The calendar and its one event; icalendar has no types for properties."""
    calendar = Calendar.from_ical(content)
    (event,) = calendar.walk("VEVENT")
    return calendar, event


def test_times_are_local_with_the_rules_of_the_zone() -> None:
    content = render_calendar(ENTRY)
    calendar, event = parse(content)
    assert b"DTSTART;TZID=Europe/Madrid:20260712T210000\r\n" in content
    assert b"DTEND;TZID=Europe/Madrid:20260713T013000\r\n" in content
    assert event.start.astimezone(UTC) == ENTRY.starts_at
    (zone,) = calendar.walk("VTIMEZONE")
    assert zone["TZID"] == "Europe/Madrid"
    assert zone.to_tz().utcoffset(datetime(2026, 7, 12, 21)) == timedelta(hours=2)
    assert zone.to_tz().utcoffset(datetime(2026, 12, 12, 21)) == timedelta(hours=1)


@pytest.mark.parametrize(
    "name", ["America/Mexico_City", "America/Argentina/Buenos_Aires", "Asia/Kolkata", "UTC"]
)
def test_the_time_is_the_same_in_every_zone(name: str) -> None:
    _, event = parse(render_calendar(replace(ENTRY, time_zone=name)))
    assert event.start.astimezone(UTC) == ENTRY.starts_at
    assert event.start.utcoffset() == ENTRY.starts_at.astimezone(ZoneInfo(name)).utcoffset()


def test_commas_line_breaks_and_accents_survive() -> None:
    _, event = parse(render_calendar(ENTRY))
    assert event["SUMMARY"] == ENTRY.title
    assert event["DESCRIPTION"] == ENTRY.description
    assert event["LOCATION"] == ENTRY.location
    assert event["URL"] == ENTRY.url


def test_a_text_cannot_inject_a_property() -> None:
    _, event = parse(
        render_calendar(
            replace(ENTRY, title="Rock\r\nATTENDEE:mailto:x@example.org", location="A\nURL:b")
        )
    )
    assert "ATTENDEE" not in event
    assert event["URL"] == ENTRY.url


def test_the_same_entry_gives_the_same_bytes() -> None:
    assert render_calendar(ENTRY) == render_calendar(ENTRY)
    _, event = parse(render_calendar(ENTRY))
    assert event["UID"] == ENTRY.uid
    assert event["DTSTAMP"].dt == ENTRY.updated_at
    assert event["STATUS"] == "CONFIRMED"


def test_a_canceled_entry_replaces_the_one_before() -> None:
    _, before = parse(render_calendar(ENTRY))
    calendar, after = parse(render_calendar(replace(ENTRY, canceled=True, sequence=1)))
    assert calendar["METHOD"] == "CANCEL"
    assert str(after["ORGANIZER"]) == "invalid:nomail"
    assert after["STATUS"] == "CANCELLED"
    assert after["UID"] == before["UID"]
    assert after["SEQUENCE"] > before["SEQUENCE"]


def test_no_line_is_longer_than_calendars_take() -> None:
    content = render_calendar(replace(ENTRY, title="Ñandú " * 60))
    assert content.endswith(b"END:VCALENDAR\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 75


def test_a_zone_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        render_calendar(replace(ENTRY, time_zone="Europe/Atlantis"))
