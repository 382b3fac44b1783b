"""The sandbox as a test drives it: its clock, and a method for each fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tmt.sandbox import Sandbox


@dataclass
class Driver:
    """A started sandbox. Each fault affects the next `times` calls or deliveries that match.

    `times=None` has it last until `calm`. Calls are named "POST /v1/payment_intents", events
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
        """Clears all faults."""
        self.box.faults.clear()

    def lose_answer(self, call: str, times: int | None = 1) -> None:
        """Stripe executes the call, but its answer is lost."""
        self.box.faults.arm("lose_answer", call, times)

    def refuse(self, call: str, status: int = 500, times: int | None = 1) -> None:
        """Stripe answers 429, 500 or 502 and does nothing."""
        self.box.faults.arm(str(status), call, times)

    def deliver_early(self, call: str, times: int | None = 1) -> None:
        """The events of the call arrive before its answer."""
        self.box.faults.arm("early_webhooks", call, times)

    def drop_webhooks(self, events: str = "*", times: int | None = None) -> None:
        """They never arrive; by default none at all."""
        self.box.faults.arm("drop", events, times)
