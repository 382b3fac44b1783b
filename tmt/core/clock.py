"""The shop's time. All of it is UTC; zones are for showing only."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time; `offset` is asked at each call, so that a sandbox's clock can lead it."""

    def __init__(self, offset: Callable[[], timedelta] | None = None) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        moment = datetime.now(UTC)
        return moment + self._offset() if self._offset else moment


def from_unix(seconds: int) -> datetime:
    """Stripe's Unix seconds as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def parse_timespan(text: str) -> timedelta:
    """The span in '30d', '12h' or '45m' (days, hours, minutes). Raises `ValueError` for any other.

    At most four digits, so that the span can be added to any date of today.
    """
    written = re.fullmatch(r"([0-9]{1,4})([dhm])", text)
    if not written:
        raise ValueError(f"'{text[:40]}' is not a time span such as 30d, 12h or 45m")
    unit = {"d": "days", "h": "hours", "m": "minutes"}[written[2]]
    return timedelta(**{unit: int(written[1])})
