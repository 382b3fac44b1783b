"""Payments of this shop at Stripe that no order has: after a restored backup, or a lost row.

They are recognised by the shop's id in their metadata. Their tickets are with the buyers and their
places are for sale again, so nothing here decides by itself: it reports what is known, and refunds
when the organiser says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus
from tmt.core.clock import from_unix
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import LOST_DISPUTES, PaymentIntent, PaymentIntentStatus
from tmt.payments.alerts import raise_alert
from tmt.payments.models import OperatorAlert, Payment
from tmt.payments.ownership import claim_of
from tmt.shop import Shop

log = structlog.get_logger(__name__)

_ALERT = "unknown_payment"


def is_orphan(session: Session, intent: PaymentIntent, shop_id: str) -> bool:
    """Whether this shop created it for an order that has ended without storing its id."""
    claim = claim_of(intent)
    if claim is None or claim.shop_id not in (None, shop_id):
        return False
    query = (
        select(Payment.id)
        .join(Order, Order.id == Payment.order_id)
        .where(Order.code == claim.order_code, Order.status != OrderStatus.HELD)
        .where(Payment.id == claim.payment_id)
        .where(Payment.payment_intent_id.is_(None))
    )
    return session.scalar(query) is not None


def is_paid_for(intent: PaymentIntent, shop_id: str) -> bool:
    """Whether it was paid, and the shop of this id created it for an order."""
    claim = claim_of(intent)
    is_paid = intent.status == PaymentIntentStatus.SUCCEEDED
    return is_paid and claim is not None and claim.shop_id == shop_id


def without_order(session: Session, intents: Sequence[PaymentIntent]) -> list[PaymentIntent]:
    """Those that no order has stored, and that no person has settled (`flask alerts resolve`)."""
    ids = [intent.id for intent in intents]
    settled = select(OperatorAlert.key).where(
        OperatorAlert.key.in_([f"{_ALERT}-{intent_id}"[:120] for intent_id in ids]),
        OperatorAlert.resolved_at.is_not(None),
    )
    stored = set(
        session.scalars(select(Payment.payment_intent_id).where(Payment.payment_intent_id.in_(ids)))
    )
    keys = set(session.scalars(settled))
    return [i for i in intents if i.id not in stored and f"{_ALERT}-{i.id}"[:120] not in keys]


def alert_unknown(shop: Shop, intents: Sequence[PaymentIntent]) -> None:
    """Raises an alert for each, once, with what is known of it."""

    def unit(session: Session) -> None:
        for intent in intents:
            claim = claim_of(intent)
            details = {
                "payment_intent": intent.id,
                "amount": intent.amount_received,
                "currency": intent.currency,
                "created": f"{from_unix(intent.created):%Y-%m-%d %H:%M} UTC",
                "lost_order": claim.order_code[:20] if claim else "",
            }
            raise_alert(session, _ALERT, intent.id, None, shop.clock.now(), **details)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def left_at_stripe(gateway: Gateway, intent: PaymentIntent) -> int:
    """What is left of its money (minor units), neither refunded nor lost; raises `GatewayError`."""
    refunds = gateway.list_refunds(payment_intent=intent.id)
    disputes = gateway.list_disputes(payment_intent=intent.id)
    gone = sum(refund.amount for refund in refunds if not refund.status.is_failed)
    gone += sum(dispute.amount for dispute in disputes if dispute.status in LOST_DISPUTES)
    return max(intent.amount_received - gone, 0)


def refund_unknown(gateway: Gateway, intent: PaymentIntent) -> None:
    """Refunds what is left of it; safe to repeat. Raises `GatewayError`."""
    left = left_at_stripe(gateway, intent)
    if left:
        key = f"unknown-{intent.id}-{left}"
        gateway.create_refund(intent.id, left, reference=_ALERT, idempotency_key=key)
        log.warning(
            "audit.unknown_refunded",
            payment_intent=intent.id,
            amount=left,
            currency=intent.currency,
        )
