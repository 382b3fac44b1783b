"""The end of a trial: no more trouble, time for everything to settle, until nothing is due."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import func, select
from stripe import StripeClient

from tests.chaos.sandbox import Stripe
from tests.chaos.servers import Place
from tests.chaos.tally import ORDERED, Tally
from tmt.checkout.models import Order, OrderStatus
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.gateway.types import CLOSED_DISPUTES
from tmt.payments.models import Dispute, Refund
from tmt.shop import Shop

# A debit takes up to 14 days, may be disputed then, which is decided after 14 more, and what is
# refunded late is on its way for three; the rest is for the shop's own repetitions.
_MOST_DAYS = 60
# The most that Stripe takes at once, in minor units.
_FORTUNE = 99_999_999
_RESTLESS_REFUNDS = ("requested", "pending", "requires_action")
_RESTLESS_ORDERS = (OrderStatus.HELD, OrderStatus.PROCESSING)


def come_to_rest(place: Place, shop: Shop, tally: Tally) -> None:
    """Ends all trouble and lets days pass, each with its jobs, until nothing moves any more.

    What still does after two months is a breach.
    """
    stripe = Stripe(place)
    tally.count("faults struck", _struck(stripe, tally))
    stripe.order("faults/clear")
    # Stripe pays out what is there each night: without money of its own, refunds would wait.
    for currency in ("eur", "usd"):
        _pay_in(place, currency)
    stripe.order("clock", advance="2h")
    for day in range(_MOST_DAYS):
        shop.jobs.run_all()
        left = restless(shop, stripe)
        if not left and day > 1:
            tally.count("days until all was quiet", day)
            return
        stripe.order("clock", advance="1d")
        time.sleep(0.2)
    tally.breach(f"after {_MOST_DAYS} quiet days there is still: {', '.join(left)} (I7)")


def restless(shop: Shop, stripe: Stripe) -> list[str]:
    """What is still to happen, in words."""
    counts = {
        "orders held or processing": select(func.count()).where(Order.status.in_(_RESTLESS_ORDERS)),
        "refunds not decided": select(func.count()).where(Refund.status.in_(_RESTLESS_REFUNDS)),
        "disputes not decided": select(func.count()).where(Dispute.status.not_in(CLOSED_DISPUTES)),
        "events not handled": select(func.count()).where(InboxRow.done_at.is_(None)),
        "outbox rows not done": select(func.count()).where(OutboxRow.done_at.is_(None)),
    }
    with shop.db.reading() as session:
        found = {name: session.scalar(query) or 0 for name, query in counts.items()}
    disputes = stripe.objects("dispute")
    found["disputes open at Stripe"] = sum(d["status"] not in CLOSED_DISPUTES for d in disputes)
    refunds = stripe.objects("refund")
    found["refunds pending at Stripe"] = sum(r["status"] == "pending" for r in refunds)
    return [f"{number} {name}" for name, number in found.items() if number]


def _struck(stripe: Stripe, tally: Tally) -> int:
    """How many calls and deliveries have suffered."""
    return tally.counts.pop(ORDERED, 0) - sum(int(fault["times"]) for fault in stripe.armed())


def _pay_in(place: Place, currency: str) -> None:
    """Somebody pays the organiser a fortune for something else, on the same Stripe account."""
    client = StripeClient(place.secret_key, base_addresses={"api": place.stripe_url})
    card: Any = {"payment_method": "pm_card_bypassPending", "confirm": True}
    more = {"amount": _FORTUNE, "currency": currency, "return_url": place.shop_url}
    client.v1.payment_intents.create(card | more)
