"""An order's PaymentIntent: its row with the order, and its creation at Stripe."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import is_own_order
from tmt.checkout.states import Trigger, lock_order
from tmt.core.database import InsertIfAbsent
from tmt.gateway.errors import InvalidRequest
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import PaymentIntent, PaymentIntentStatus
from tmt.payments.balances import get_payment
from tmt.payments.idempotency import create_idempotently, new_call
from tmt.payments.methods import excluded_payment_methods, payment_method_options
from tmt.payments.models import Payment
from tmt.payments.ownership import claim_of, get_identity, metadata_for
from tmt.payments.refusals import report_refusal
from tmt.payments.sync import sync_from_stripe, sync_payment_intent
from tmt.shop import Shop

_INSERT = InsertIfAbsent(Payment, "idempotency_key")
# Seconds by which Stripe's clock and ours may differ.
_CLOCK_TOLERANCE = 600


def add_payment(session: Session, shop: Shop, order: Order, now: datetime) -> None:
    """Writes the order's Payment, in the transaction that places the order."""
    _INSERT.run(
        session,
        {
            "order_id": order.id,
            "status": PaymentIntentStatus.NEW,
            "amount": order.total,
            "currency": order.currency,
            "amount_received": 0,
            "version": 0,
            "attempt": 0,
            "created_at": now,
            **new_call(f"order-{order.code}", _hashed_params(shop, order), now),
        },
    )


def current_intent(
    shop: Shop, gateway: Gateway, order: Order, trigger: Trigger
) -> PaymentIntent | None:
    """The order's PaymentIntent as Stripe has it now, synced; created first if there is none.

    Every tab and every reload gets the same one: it is created with the key that was written with
    the order. None when the order has nothing to pay, has ended, or belongs to another mode or
    account. Raises `GatewayError`.
    """
    with shop.db.reading() as session:
        payment = get_payment(session, order.id) if is_own_order(session, order.id) else None
    if payment is None:
        return None
    if payment.payment_intent_id:
        intent, _ = sync_from_stripe(shop, gateway, payment.payment_intent_id, trigger)
        return intent
    if order.status != OrderStatus.HELD or order.expires_at <= shop.clock.now():
        return None
    intent = _create(shop, gateway, order, payment)
    if not shop.db.transaction(lambda s: _store_id(s, payment.id, intent)):
        # The order ended meanwhile. Nobody has its client secret, so nobody can have paid it.
        gateway.cancel_payment_intent(intent.id)
        return None
    sync_payment_intent(shop, replace(intent, version=payment.version), trigger)
    return intent


def _create(shop: Shop, gateway: Gateway, order: Order, payment: Payment) -> PaymentIntent:
    with shop.db.reading() as session:
        shop_id = get_identity(session).shop_id
    metadata = metadata_for(shop_id, order.code, payment)

    def create(key: str) -> PaymentIntent:
        return gateway.create_payment_intent(
            payment.amount,
            payment.currency,
            description=f"{shop.settings.shop_name} {order.code}",
            metadata=metadata,
            idempotency_key=key,
            excluded_methods=excluded_payment_methods(order),
            method_options=payment_method_options(order),
        )

    def look_up() -> PaymentIntent | None:
        since = int(payment.created_at.timestamp()) - _CLOCK_TOLERANCE
        intents = gateway.list_payment_intents(since, must_be_complete=True)
        return next((pi for pi in intents if _is_of(pi, payment, order, shop_id)), None)

    try:
        return create_idempotently(shop, payment, _hashed_params(shop, order), create, look_up)
    except InvalidRequest as error:
        report_refusal(shop, "payment_intents.create", error, order.id)
        raise


def _is_of(intent: PaymentIntent, payment: Payment, order: Order, shop_id: str) -> bool:
    """Whether an earlier try of the call created it, also one of an earlier version."""
    claim = claim_of(intent)
    return (
        claim is not None
        and claim.shop_id in (None, shop_id)
        and (claim.order_code, claim.payment_id) == (order.code, payment.id)
    )


def _hashed_params(shop: Shop, order: Order) -> dict[str, Any]:
    """The parameters whose change makes a repetition another call."""
    params = {
        "amount": order.total,
        "currency": order.currency,
        "shop": shop.settings.shop_name,
        "excluded": excluded_payment_methods(order),
        "metadata": "tmt_",
    }
    options = payment_method_options(order)
    return params | {"options": options} if options else params


def _store_id(session: Session, payment_id: int, intent: PaymentIntent) -> bool:
    """Stores the PaymentIntent's id on its order, if the order is still held."""
    payment = session.get_one(Payment, payment_id)
    order = lock_order(session, payment.order_id)
    session.refresh(payment, with_for_update=True)
    if payment.payment_intent_id is None and order.status == OrderStatus.HELD:
        payment.payment_intent_id, payment.status = intent.id, intent.status
    return payment.payment_intent_id == intent.id
