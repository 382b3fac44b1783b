"""The sandbox as a test drives it: its clock, and trouble in one word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tmt.sandbox import Sandbox


@dataclass
class Driver:
    """A started sandbox. Each kind of trouble strikes the next `times` calls or deliveries.

    `times=None` has it strike until `calm`. Calls are named "POST /v1/payment_intents", events
    "payment_intent.succeeded"; `*` is a wildcard in both.
    """

    box: Sandbox

    def advance(self, **span: float) -> None:
        """Moves the clock by `days=5` or `hours=1`; what is due has happened when this returns."""
        self.box.advance(timedelta(**span).total_seconds())

    def deliver(self) -> None:
        """Returns once every event that is due has been sent."""
        self.box.deliver()

    def calm(self) -> None:
        """Ends all trouble."""
        self.box.faults.clear()

    def lose_answer(self, call: str, times: int | None = 1) -> None:
        """Stripe does it, but its answer is lost."""
        self.box.faults.arm("lose_answer", call, times)

    def refuse(self, call: str, status: int = 500, times: int | None = 1) -> None:
        """Stripe answers 429, 500 or 502 and does nothing."""
        self.box.faults.arm(str(status), call, times)

    def cut(self, call: str, times: int | None = 1) -> None:
        """The line is cut before Stripe does anything."""
        self.box.faults.arm("reset", call, times)

    def hang(self, call: str, seconds: float, times: int | None = 1) -> None:
        """Stripe says nothing for so long, and then the line is cut."""
        self.box.faults.arm("hang", call, times, seconds=seconds)

    def deliver_early(self, call: str, times: int | None = 1) -> None:
        """The events of the call arrive before its answer."""
        self.box.faults.arm("early_webhooks", call, times)

    def drop_webhooks(self, events: str = "*", times: int | None = None) -> None:
        """They never arrive; all of them unless told otherwise."""
        self.box.faults.arm("drop", events, times)

    def delay_webhooks(self, events: str = "*", times: int | None = 1, **span: float) -> None:
        """They arrive later: `hours=1`."""
        seconds = timedelta(**span).total_seconds()
        self.box.faults.arm("delay", events, times, seconds=seconds)

    def double_webhooks(self, events: str = "*", times: int | None = None) -> None:
        """Each arrives twice."""
        self.box.faults.arm("double", events, times)

    def reorder_webhooks(self, events: str = "*", times: int | None = 1) -> None:
        """They arrive after those that follow."""
        self.box.faults.arm("reorder", events, times)

    def forge_webhooks(self, events: str = "*", times: int | None = 1) -> None:
        """Signed by somebody else."""
        self.box.faults.arm("wrong_signature", events, times)

    def sign_with_old_secret(self, events: str = "*", times: int | None = 1) -> None:
        """Signed with the secret before the last roll."""
        self.box.faults.arm("old_secret", events, times)

    def write_oddly(self, events: str = "*", times: int | None = None) -> None:
        """Unusual but valid JSON."""
        self.box.faults.arm("odd_json", events, times)

    def skew_clock(self, seconds: float, events: str = "*", times: int | None = None) -> None:
        """The signatures' clock is off by so many seconds."""
        self.box.faults.arm("clock_skew", events, times, seconds=seconds)
