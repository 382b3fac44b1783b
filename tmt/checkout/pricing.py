"""What tickets cost: one pure function, for the event's page, its running total and the order.

Refunds go by the prices that the order's lines and tickets have from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from tmt.catalog.models import Event
from tmt.checkout.models import PriceReason
from tmt.core.money import less_percent
from tmt.shop import Shop


@dataclass(frozen=True)
class Grant:
    """So many tickets of an event at a lower price, by a membership and in one of its periods.

    `amount_off` is in minor units of the event's currency.
    """

    membership_id: int
    period_start: datetime
    reason: PriceReason
    places: int
    percent_off: int = 0
    amount_off: int = 0

    def price(self, list_price: int, currency: str) -> int:
        """What a ticket costs with it."""
        return max(less_percent(list_price, self.percent_off, currency) - self.amount_off, 0)


@dataclass(frozen=True)
class Benefits:
    """What the memberships of who is signed in give for an event now: lower prices, a presale."""

    grants: tuple[Grant, ...] = ()
    presale: timedelta = timedelta()

    @property
    def key(self) -> str:
        """Another one whenever a price may be another one; empty without lower prices."""
        text = repr(self.grants).encode()
        return hashlib.blake2b(text, digest_size=12).hexdigest() if self.grants else ""


# The benefits of a customer, whose uses are counted one after the other if they are locked:
# (session, shop, customer id, event, lock).
BenefitsOf = Callable[[Session, Shop, int, Event, bool], Benefits]


@dataclass(frozen=True)
class PricedLine:
    """Tickets of one type at one price (minor units), and what makes it lower than the list's."""

    ticket_type_id: int
    quantity: int
    list_price: int
    unit_price: int
    grant: Grant | None = None

    @property
    def total(self) -> int:
        return self.unit_price * self.quantity

    @property
    def reason(self) -> PriceReason | None:
        return self.grant.reason if self.grant else None


def price_lines(
    list_prices: Mapping[int, int],
    quantities: Mapping[int, int],
    grants: Sequence[Grant],
    currency: str,
) -> list[PricedLine]:
    """The lines of an order for so many tickets by type id, by type and the cheapest first.

    Each grant is used where it saves most, so the order of types in the form does not matter; one
    that saves nothing is not used up.
    """
    left = {type_id: count for type_id, count in quantities.items() if count > 0}
    places = {grant: grant.places for grant in grants}
    uses = [
        (grant.price(list_prices[type_id], currency), type_id, grant)
        for type_id in left
        for grant in places
    ]
    uses.sort(key=lambda use: (use[0] - list_prices[use[1]], use[1], use[2].membership_id))
    lines = []
    for price, type_id, grant in uses:
        count = min(left[type_id], places[grant])
        if count <= 0 or price >= list_prices[type_id]:
            continue
        left[type_id] -= count
        places[grant] -= count
        lines.append(PricedLine(type_id, count, list_prices[type_id], price, grant))
    for type_id, count in left.items():
        if count:
            price = list_prices[type_id]
            lines.append(PricedLine(type_id, count, price, price))
    return sorted(lines, key=lambda line: (line.ticket_type_id, line.unit_price))
