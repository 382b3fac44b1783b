"""An order's PaymentIntent: written down with the order, made at Stripe, handed to the page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import HELD, Cause, locked_order
from tmt.core.db import InsertOnce
from tmt.gateway.contract import Gateway, PaymentIntent
from tmt.payments import attempts
from tmt.payments.methods import too_slow_for
from tmt.payments.models import NEW, Payment
from tmt.payments.settle import settle, settle_free
from tmt.shop import Shop

_INSERT = InsertOnce(Payment, "idempotency_key")
# Seconds by which Stripe's clock and ours may differ.
_CLOCKS_DIFFER = 600


def begin(session: Session, shop: Shop, order: Order, now: datetime) -> None:
    """In the transaction that places the order: its Payment, or its settling if it is free."""
    if order.total == 0:
        settle_free(session, order, now)
        return
    _INSERT.run(
        session,
        {
            "order_id": order.id,
            "status": NEW,
            "amount": order.total,
            "currency": order.currency,
            "amount_received": 0,
            "created_at": now,
            **attempts.new_attempt(f"order-{order.code}", _params(order, shop), now),
        },
    )


def newest_payment(session: Session, order_id: int) -> Payment | None:
    """The payment that counts for the order now; None for an order that costs nothing."""
    query = select(Payment).where(Payment.order_id == order_id).order_by(Payment.id.desc())
    return session.scalar(query.limit(1))


def current_intent(
    shop: Shop, gateway: Gateway, order: Order, cause: Cause
) -> PaymentIntent | None:
    """The order's PaymentIntent as Stripe has it now, settled; made first if there is none yet.

    Every tab and every reload gets the same one: it is made with the key that was written down
    with the order. None when the order has nothing to pay or has ended. Raises `GatewayError`.
    """
    with shop.db.reading() as session:
        payment = newest_payment(session, order.id)
    if payment is None:
        return None
    if payment.payment_intent:
        intent = gateway.retrieve_payment_intent(payment.payment_intent)
    else:
        made = _make(shop, gateway, order, payment)
        if made is None:
            return None
        intent = made
    settle(shop, intent, cause)
    return intent


def _make(shop: Shop, gateway: Gateway, order: Order, payment: Payment) -> PaymentIntent | None:
    if order.status != HELD or order.expires_at <= shop.clock.now():
        return None
    intent = _create_once(shop, gateway, order, payment)
    if shop.db.transaction(lambda s: _keep(s, payment.id, intent)):
        return intent
    # The order ended meanwhile. Nobody was told the secret, so nobody can have paid it.
    gateway.cancel_payment_intent(intent.id)
    return None


def _create_once(shop: Shop, gateway: Gateway, order: Order, payment: Payment) -> PaymentIntent:
    metadata = {"platform": "TMT", "order": order.code, "payment": str(payment.id)}

    def create(key: str) -> PaymentIntent:
        return gateway.create_payment_intent(
            payment.amount,
            payment.currency,
            description=f"{shop.settings.shop_name} {order.code}",
            metadata=metadata,
            idempotency_key=key,
            excluded_methods=too_slow_for(order),
        )

    def look_up() -> PaymentIntent | None:
        since = int(payment.created_at.timestamp()) - _CLOCKS_DIFFER
        known = gateway.list_payment_intents(since)
        return next((pi for pi in known if dict(pi.metadata) == metadata), None)

    return attempts.once(shop, payment, _params(order, shop), create, look_up)


def _params(order: Order, shop: Shop) -> dict[str, Any]:
    """What decides whether a repetition is the same call."""
    return {
        "amount": order.total,
        "currency": order.currency,
        "shop": shop.settings.shop_name,
        "excluded": too_slow_for(order),
    }


def _keep(session: Session, payment_id: int, intent: PaymentIntent) -> bool:
    """Stores the PaymentIntent's id on its order, if the order is still held."""
    payment = session.get_one(Payment, payment_id)
    order = locked_order(session, payment.order_id)
    session.refresh(payment, with_for_update=True)
    if payment.payment_intent is None and order.status == HELD:
        payment.payment_intent, payment.status = intent.id, intent.status
    return payment.payment_intent == intent.id
