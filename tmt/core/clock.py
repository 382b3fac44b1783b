"""The shop's time. All of it is UTC; zones are for showing only."""

from __future__ import annotations

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
