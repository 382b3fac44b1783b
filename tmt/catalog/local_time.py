"""Times of a catalogue file: local to the event in the file, UTC everywhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from tmt.core.clock import parse_timespan

_ABSOLUTE = re.compile(
    r"(20[0-9]{2}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_RELATIVE = re.compile(r"([+-])([0-9]{1,4}d) ([0-9]{2}:[0-9]{2})")


def parse_local(text: str, zone: ZoneInfo | None, now: datetime) -> datetime:
    """The moment (UTC) of a time in this zone, absolute or counted in days from today.

    Without a zone only the form is checked. Raises `ValueError` with the rest of a sentence that
    begins with the field.
    """
    absolute, relative = _ABSOLUTE.fullmatch(text), _RELATIVE.fullmatch(text)
    if not absolute and not relative:
        raise ValueError(
            "must be local date and time, as 2027-03-05 21:00, or days from today, as +21d 21:00"
        )
    try:
        if absolute:
            local = datetime.fromisoformat(f"{absolute[1]}T{absolute[2]}{absolute[3] or ''}")
        elif relative:
            days = parse_timespan(relative[2]) * (-1 if relative[1] == "-" else 1)
            today = now.astimezone(zone or UTC).date()
            local = datetime.combine(today + days, time.fromisoformat(relative[3]))
    except ValueError:
        raise ValueError("is a date or time that does not exist") from None
    if local.tzinfo or zone is None:
        return local.astimezone(UTC) if local.tzinfo else local.replace(tzinfo=UTC)
    moments = _moments(local, zone)
    if not moments:
        raise ValueError(f"does not exist in {zone.key}: the clocks skip that hour")
    if len(moments) > 1:
        offset = moments[0].astimezone(zone).isoformat(" ", "minutes")
        raise ValueError(f"comes twice in {zone.key}: add the offset, such as {offset}")
    return moments[0]


def format_local(moment: datetime, zone: ZoneInfo) -> str:
    """The moment as `parse_local` reads it back, with the offset only where it is needed."""
    here = moment.astimezone(zone)
    naive = here.replace(tzinfo=None, fold=0)
    precision = "microseconds" if here.microsecond else "seconds" if here.second else "minutes"
    shown = here if len(_moments(naive, zone)) > 1 else naive
    return shown.isoformat(" ", precision)


def _moments(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The moments (UTC) at which the clocks of the zone show this: none, one or two."""
    folds = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return sorted({m for m in folds if m.astimezone(zone).replace(tzinfo=None) == local})
