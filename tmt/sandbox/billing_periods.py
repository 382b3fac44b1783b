"""The periods of subscriptions: boundaries at equal intervals from an anchor, in UTC."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

from tmt.sandbox.objects import DAY, Json

_SECONDS = {"day": DAY, "week": 7 * DAY}
_MONTHS = {"month": 1, "year": 12}


def next_boundary(anchor: int, recurring: Json, after: int) -> int:
    """The first boundary later than `after`; all times are Unix seconds.

    A month without the anchor's day ends at its last day: the 31st is followed by the 28th or 29th
    of February, and by the 31st of March.
    """
    interval, count = str(recurring["interval"]), int(recurring["interval_count"])
    if seconds := _SECONDS.get(interval):
        step = seconds * count
        return anchor + ((after - anchor) // step + 1) * step
    months = _MONTHS[interval] * count
    first, now = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(after, UTC)
    passed = (now.year - first.year) * 12 + now.month - first.month
    number = passed // months
    while (boundary := _later(first, number * months)) <= after:
        number += 1
    return boundary


def _later(first: datetime, months: int) -> int:
    """The moment so many months later, in Unix seconds."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    day = min(first.day, monthrange(year, month + 1)[1])
    return int(first.replace(year=year, month=month + 1, day=day).timestamp())
