"""What the shop refuses, by name. Only `tmt/web.py` turns these into HTTP answers."""

from __future__ import annotations


class Refusal(Exception):
    """A rule of the shop says no. The message is for developers and logs: no personal data."""

    @property
    def name(self) -> str:
        return type(self).__name__


class NotFound(Refusal):
    """There is nothing under this address or id, or nothing that the caller may see."""


class Unavailable(Refusal):
    """Something outside (Stripe, mail, the database) does not answer; trying again may help."""


class TooMany(Refusal):
    """A limit on how often something may be done is reached; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotYet(Refusal):
    """It must wait for something that takes its time; until then it is tried again, without end."""


class Pointless(Exception):
    """Trying again cannot help: what is to be done waits for a person."""


class CommandError(Exception):
    """A command of the developer's or operator's cannot run: the message says what to do."""
