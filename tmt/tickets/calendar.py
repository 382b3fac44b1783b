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
    that a calendar replaces what it has instead of adding a second one. `sequence` grows with each
    change of when, where and whether. `organizer` is a mail address, and may be empty.
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
    sequence: int = 0
    canceled: bool = False
    organizer: str = ""
    organizer_name: str = ""


def method(entry: CalendarEntry) -> str:
    """The METHOD (RFC 5546): what a calendar does with the entry. It is in the MIME type too."""
    return "CANCEL" if entry.canceled else "PUBLISH"


def render_calendar(entry: CalendarEntry) -> bytes:
    """The calendar file, in UTF-8: one entry, in local time, with its zone's rules beside it.

    Raises `zoneinfo.ZoneInfoNotFoundError` for a zone that does not exist.
    """
    # Imported only where it is used: it costs time at start and memory.
    from icalendar import Calendar, Event, vCalAddress

    zone = ZoneInfo(entry.time_zone)
    event = Event()
    event.add("uid", entry.uid)
    # The last change also stands for when the file was written, which orders files of the same
    # SEQUENCE (RFC 5546, 2.1.5): so the file is the same however often it is fetched.
    event.add("dtstamp", entry.updated_at.astimezone(UTC))
    event.add("last-modified", entry.updated_at.astimezone(UTC))
    # A METHOD needs it; the second form is what calendars write who have no address.
    organizer = vCalAddress(f"mailto:{entry.organizer}" if entry.organizer else "invalid:nomail")
    if entry.organizer_name:
        organizer.params["CN"] = entry.organizer_name
    event.add("organizer", organizer)
    event.add("dtstart", entry.starts_at.astimezone(zone))
    event.add("dtend", entry.ends_at.astimezone(zone))
    event.add("summary", entry.title)
    event.add("description", entry.description)
    event.add("location", entry.location)
    event.add("url", entry.url)
    event.add("sequence", entry.sequence)
    event.add("status", "CANCELLED" if entry.canceled else "CONFIRMED")
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", method(entry))
    calendar.add_component(event)
    # The rules of the years around the event are enough; the whole history would be 20 KB.
    margin = timedelta(days=366)
    calendar.add_missing_timezones(
        first_date=(entry.starts_at - margin).date(), last_date=(entry.ends_at + margin).date()
    )
    return bytes(calendar.to_ical())
