"""The shop's own errors. Only `tmt/web.py` turns them into HTTP responses."""

from __future__ import annotations


class DomainError(Exception):
    """A rule of the shop forbids it. The message is for logs and holds no personal data."""

    @property
    def name(self) -> str:
        return type(self).__name__


class NotFound(DomainError):
    """Nothing has this address or id, or the caller may not see it."""


class Unavailable(DomainError):
    """A service (Stripe, mail, the database) does not respond; trying again may help."""


class RateLimited(DomainError):
    """Something was done too often; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RetryLater(DomainError):
    """A queued row has to wait for something else; it is retried without a limit."""


class PermanentFailure(Exception):
    """A queued row can never succeed: it is parked at once, for a person to look at."""
