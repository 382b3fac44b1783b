"""What must become of an order, stated once more and briefly: the shop is held to it.

Each order has a state here and one at Stripe. `learn` is all that the shop may conclude from what
Stripe says, `end` is the end of a hold. Time is in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

HOLD, EXTENSIONS = 15, 10
# At Stripe, a PaymentIntent that can still be paid or canceled.
OPEN = ("requires_payment_method", "requires_action")
TAKES_STOCK = ("held", "processing", "paid")


@dataclass
class Expected:
    """One order as it must be."""

    token: str
    quantities: tuple[int, int]
    ends: float
    status: str = "held"
    intent: str | None = None
    at_stripe: str = "requires_payment_method"
    extensions: int = 0
    declines: int = 0
    # A debit on its way: when it is decided, and how.
    decided: tuple[float, str] | None = None
    challenge: str = ""

    def learn(self, now: float, by_buyer: bool = False) -> None:
        """The shop learns the status of its PaymentIntent."""
        waits = self.status in ("held", "processing")
        if self.intent is None or not waits:
            return
        if self.at_stripe == "succeeded":
            self.status = "paid"
        elif self.at_stripe == "canceled":
            self.status = "canceled" if by_buyer or now < self.ends else "expired"
        else:
            self.status = "processing" if self.at_stripe == "processing" else "held"

    def end(self, now: float, by_buyer: bool = False) -> None:
        """The hold ends, by its time or by the buyer, unless it turns out to be paid for."""
        if self.status != "held" or (now < self.ends and not by_buyer):
            return
        if self.intent is None:
            self.status = "canceled" if by_buyer else "expired"
            return
        if self.at_stripe in OPEN:
            self.at_stripe = "canceled"
        self.learn(now, by_buyer)

    def begins_to_pay(self, now: float) -> bool:
        """Whether looking at the pay or return page makes its PaymentIntent."""
        return self.intent is None and self.status == "held" and now < self.ends

    def may_extend(self, now: float) -> bool:
        return self.status == "held" and now < self.ends and self.extensions < EXTENSIONS

    def pass_time(self, now: float) -> None:
        """A bank decides on a debit in its own time."""
        if self.decided and self.decided[0] <= now:
            self.at_stripe, self.decided = self.decided[1], None
