"""The mails about money, as outbox handlers; each reads the order as it is when it is sent."""

from __future__ import annotations

from typing import Any

from tmt.catalog.listing import is_upcoming
from tmt.checkout.models import OrderStatus
from tmt.checkout.orders import get_order
from tmt.core.mailer import Mailer
from tmt.payments.balances import get_payment
from tmt.payments.models import Payment, Refund
from tmt.payments.slips import has_slip, method_without_refunds, shown_slip
from tmt.shop import Shop
from tmt.tickets.mails import mail_context


def send_refunded_late(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """To a buyer whose payment could not be used: it is refunded in full, by hand if need be."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        by_hand = method_without_refunds(get_payment(session, order.id))
    money = {name: payload[name] for name in ("amount", "currency", "reason")}
    context = mail_context(shop, order) | money | {"by_hand": by_hand}
    mailer.send("refunded_late", key, order.email, order.locale, context)


def send_refunded(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """A refund that Stripe has accepted, or that the organiser has to make by hand."""
    with shop.db.reading() as session:
        refund = session.get_one(Refund, payload["refund"])
        payment = session.get_one(Payment, refund.payment_id)
        order = get_order(session, payment.order_id)
    by_hand = method_without_refunds(payment)
    if refund.status.is_failed and not by_hand:
        return
    context = mail_context(shop, order) | {"refund": refund, "by_hand": by_hand}
    mailer.send("refunded", key, order.email, order.locale, context)


def send_payment_processing(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """The bank is processing the payment, and the tickets stay reserved."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.status == OrderStatus.PROCESSING:
        mailer.send("payment_processing", key, order.email, order.locale, mail_context(shop, order))


def send_payment_slip(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """What the buyer pays elsewhere, where to find it, and until when; once for each slip."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        payment = get_payment(session, order.id)
    # Paid, lapsed or replaced meanwhile, or the event canceled: then other mails say so.
    is_current = payment is not None and payment.attempt == payload["attempt"]
    if payment is None or not is_current or not is_upcoming(order.event, shop.clock.now()):
        return
    if order.status == OrderStatus.PROCESSING and has_slip(payment):
        context = mail_context(shop, order) | {"slip": shown_slip(payment, shop.clock.now())}
        mailer.send("payment_slip", key, order.email, order.locale, context)


def send_payment_failed(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """The bank did not pay, or a slip lapsed; whether there is time for another method."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.status not in (OrderStatus.HELD, OrderStatus.EXPIRED):
        return
    still_held = order.status == OrderStatus.HELD and order.expires_at > shop.clock.now()
    was_slip = bool(payload.get("slip"))
    context = mail_context(shop, order) | {"still_held": still_held, "was_slip": was_slip}
    mailer.send("payment_failed", key, order.email, order.locale, context)
