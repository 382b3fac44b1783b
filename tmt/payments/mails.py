"""The mails about money, as outbox handlers; each looks at the order as it is when it is sent."""

from __future__ import annotations

from typing import Any

from tmt.checkout.orders import get_order
from tmt.checkout.states import EXPIRED, HELD, PROCESSING
from tmt.core.letters import Letters
from tmt.payments.models import Payment, Refund
from tmt.payments.refunds import FAILED
from tmt.shop import Shop
from tmt.tickets.mails import context_of


def send_refunded_late(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """Tells a buyer whose payment could not be used that all of it comes back."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    told = {name: payload[name] for name in ("amount", "currency", "reason")}
    letters.send("refunded_late", key, order.email, order.locale, context_of(shop, order) | told)


def send_refunded(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """Tells the buyer of a refund that Stripe has taken on."""
    with shop.db.reading() as session:
        refund = session.get_one(Refund, payload["refund"])
        payment = session.get_one(Payment, refund.payment_id)
        order = get_order(session, payment.order_id)
    if refund.status in FAILED:
        return
    context = context_of(shop, order) | {"refund": refund}
    letters.send("refunded", key, order.email, order.locale, context)


def send_on_its_way(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """Tells the buyer that the bank is at work and the places are kept."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.status == PROCESSING:
        letters.send("on_its_way", key, order.email, order.locale, context_of(shop, order))


def send_bank_refused(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """Tells the buyer that the bank did not pay, and whether there is time for another way."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.status not in (HELD, EXPIRED):
        return
    still_held = order.status == HELD and order.expires_at > shop.clock.now()
    context = context_of(shop, order) | {"still_held": still_held}
    letters.send("bank_refused", key, order.email, order.locale, context)
