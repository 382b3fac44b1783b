"""The shop's time. All of it is UTC; time zones are for display only."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """The current time plus `offset`, which is called each time: it follows a sandbox's clock."""

    def __init__(self, offset: Callable[[], timedelta] | None = None) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        moment = datetime.now(UTC)
        return moment + self._offset() if self._offset else moment


def from_unix(seconds: int) -> datetime:
    """Stripe's Unix seconds as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def parse_timespan(text: str) -> timedelta:
    """The span in '30d', '12h' or '45m' (days, hours, minutes). Raises `ValueError` for others.

    At most four digits, so that adding the span to a date of today cannot overflow.
    """
    match = re.fullmatch(r"([0-9]{1,4})([dhm])", text)
    if not match:
        raise ValueError(f"'{text[:40]}' is not a time span such as 30d, 12h or 45m")
    unit = {"d": "days", "h": "hours", "m": "minutes"}[match[2]]
    return timedelta(**{unit: int(match[1])})
