"""The end of a run: no more faults, and time for everything that is due, until nothing is left."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import func, select
from stripe import StripeClient

from tests.chaos.buyers import ORDERED, Tally, client_of
from tests.deployment import Deployment
from tests.sandbox_client import SandboxClient
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
_LARGE_AMOUNT = 99_999_999
_UNFINISHED_REFUNDS = ("requested", "pending", "requires_action")
_OPEN_ORDERS = (OrderStatus.HELD, OrderStatus.PROCESSING)


def drain(web: Deployment, shop: Shop, tally: Tally) -> None:
    """Ends all faults and lets days pass, each with its jobs, until nothing moves any more.

    What still does after two months is a breach.
    """
    stripe = client_of(web)
    tally.count("faults struck", _struck(stripe, tally))
    stripe.dashboard("faults/clear")
    # Stripe pays out what is there each night: without money of its own, refunds would wait.
    for currency in ("eur", "usd"):
        _pay_in(web, currency)
    stripe.dashboard("clock", advance="2h")
    for day in range(_MOST_DAYS):
        shop.jobs.run_all()
        left = unfinished(shop, stripe)
        if not left and day > 1:
            tally.count("days until all was quiet", day)
            return
        stripe.dashboard("clock", advance="1d")
        time.sleep(0.2)
    tally.breach(f"after {_MOST_DAYS} quiet days there is still: {', '.join(left)} (I7)")


def unfinished(shop: Shop, stripe: SandboxClient) -> list[str]:
    """What is still to happen, in words."""
    counts = {
        "orders held or processing": select(func.count()).where(Order.status.in_(_OPEN_ORDERS)),
        "refunds not decided": select(func.count()).where(Refund.status.in_(_UNFINISHED_REFUNDS)),
        "disputes not decided": select(func.count()).where(Dispute.status.not_in(CLOSED_DISPUTES)),
        "events not handled": select(func.count()).where(InboxRow.done_at.is_(None)),
        "outbox rows not done": select(func.count()).where(OutboxRow.done_at.is_(None)),
    }
    with shop.db.reading() as session:
        counts = {name: session.scalar(query) or 0 for name, query in counts.items()}
    disputes = stripe.objects("dispute")
    counts["disputes open at Stripe"] = sum(d["status"] not in CLOSED_DISPUTES for d in disputes)
    refunds = stripe.objects("refund")
    counts["refunds pending at Stripe"] = sum(r["status"] == "pending" for r in refunds)
    return [f"{number} {name}" for name, number in counts.items() if number]


def _struck(stripe: SandboxClient, tally: Tally) -> int:
    """How many calls and deliveries have suffered."""
    return tally.counts.pop(ORDERED, 0) - sum(
        int(fault["times"]) for fault in stripe.read("faults")
    )


def _pay_in(web: Deployment, currency: str) -> None:
    """Somebody pays the organiser a fortune for something else, on the same Stripe account."""
    client = StripeClient(web.secret_key, base_addresses={"api": web.stripe_url})
    card: Any = {"payment_method": "pm_card_bypassPending", "confirm": True}
    more = {"amount": _LARGE_AMOUNT, "currency": currency, "return_url": web.url}
    client.v1.payment_intents.create(card | more)
