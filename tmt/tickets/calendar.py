"""The event as a calendar file (RFC 5545) that a buyer adds to their own calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

PRODUCT = "-//TMT//Tickets//EN"


@dataclass(frozen=True)
class CalendarEntry:
    """What the calendar shows. Times are aware; `time_zone` is the event's IANA name.

    `uid` is the same for every file of the same entry (RFC 7986, 5.3: no personal data in it), so
    that a calendar replaces what it has instead of adding a second one.
    """

    uid: str
    title: str
    description: str
    location: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    url: str
    updated_at: datetime


def render_calendar(entry: CalendarEntry, *, canceled: bool = False) -> bytes:
    """The calendar file, in UTF-8: one entry, in local time, with its zone's rules beside it.

    A canceled entry has a higher SEQUENCE, so that it replaces the one a calendar already holds.
    Raises `zoneinfo.ZoneInfoNotFoundError` for a zone that does not exist.
    """
    # Imported only where it is used: it costs time at start and memory.
    from icalendar import Calendar, Event

    zone = ZoneInfo(entry.time_zone)
    event = Event()
    event.add("uid", entry.uid)
    # Without METHOD, DTSTAMP is when the entry was last changed (RFC 5545, 3.8.7.2).
    event.add("dtstamp", entry.updated_at.astimezone(UTC))
    event.add("dtstart", entry.starts_at.astimezone(zone))
    event.add("dtend", entry.ends_at.astimezone(zone))
    event.add("summary", entry.title)
    event.add("description", entry.description)
    event.add("location", entry.location)
    event.add("url", entry.url)
    event.add("sequence", 1 if canceled else 0)
    event.add("status", "CANCELLED" if canceled else "CONFIRMED")
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add_component(event)
    # The rules of the years around the event are enough; the whole history would be 20 KB.
    margin = timedelta(days=366)
    calendar.add_missing_timezones(
        first_date=(entry.starts_at - margin).date(), last_date=(entry.ends_at + margin).date()
    )
    return bytes(calendar.to_ical())
