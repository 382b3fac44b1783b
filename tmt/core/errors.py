"""What the shop refuses, by name. Only `tmt/web.py` turns these into HTTP answers."""

from __future__ import annotations


class DomainError(Exception):
    """A rule of the shop forbids it. The message is for developers and logs: no personal data."""

    @property
    def name(self) -> str:
        return type(self).__name__


class NotFound(DomainError):
    """There is nothing under this address or id, or nothing that the caller may see."""


class Unavailable(DomainError):
    """Something outside (Stripe, mail, the database) does not answer; trying again may help."""


class RateLimited(DomainError):
    """Something was done too often; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RetryLater(DomainError):
    """A queued row has to wait for something else; it is tried again without an end."""


class PermanentFailure(Exception):
    """A queued row that will never succeed: it is parked at once, for a person to look at."""
