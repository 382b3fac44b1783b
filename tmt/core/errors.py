"""The shop's own errors. Only `tmt/web.py` turns them into HTTP responses."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class DomainError(Exception):
    """A rule of the shop forbids it. The message is for logs and holds no personal data."""

    @property
    def name(self) -> str:
        return type(self).__name__


class NotFound(DomainError):
    """Nothing has this address or id, or the caller may not see it."""


class Unavailable(DomainError):
    """A service (Stripe, mail, the database) does not respond; trying again may help.

    `concerns_all` is false when the service responded, and only this piece of work must wait;
    `was_tried` is false when it was not even asked, as it had not responded a moment before.
    `retry_after` is the shortest wait before the same piece of work is tried again.
    """

    concerns_all: ClassVar[bool] = True
    was_tried: ClassVar[bool] = True
    retry_after: ClassVar[timedelta] = timedelta()


class RateLimited(DomainError):
    """Something was done too often; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RetryLater(DomainError):
    """A queued row has to wait for something else; it is retried without a limit."""


class PermanentFailure(Exception):
    """A queued row can never succeed: it is parked at once, for a person to look at."""
