"""Refunds: the row first, in the transaction that decides; the call second; the result last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from tmt.core import outbox
from tmt.core.errors import Refusal
from tmt.core.ids import new_token
from tmt.gateway.contract import Gateway, WrongState
from tmt.payments.models import Payment, Refund
from tmt.shop import Shop

log = structlog.get_logger(__name__)

REQUESTED = "requested"


class RefundFailed(Refusal):
    """Stripe could not give the money back; the outbox row stays open for a person to see."""


def owe_refund(
    session: Session, payment: Payment, amount: int, currency: str, reason: str, now: datetime
) -> None:
    """Writes down that the buyer gets the amount (minor units) back; the jobs send it."""
    refund = Refund(
        payment_id=payment.id,
        idempotency_key=f"refund-{new_token()}",
        status=REQUESTED,
        reason=reason,
        amount=amount,
        currency=currency,
        created_at=now,
    )
    session.add(refund)
    session.flush()
    outbox.put(session, "refund", refund.idempotency_key, {"refund": refund.id}, now)


def send_refund(shop: Shop, gateway: Gateway, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: asks Stripe for the refund, with the row's key, and keeps the answer."""
    with shop.db.reading() as session:
        refund = session.get_one(Refund, payload["refund"])
        payment = session.get_one(Payment, refund.payment_id)
    assert payment.payment_intent, "money was received without a PaymentIntent"
    try:
        made = gateway.create_refund(payment.payment_intent, refund.amount, idempotency_key=key)
        result: tuple[str | None, str] = (made.id, made.status)
    except WrongState as error:
        # The organiser was faster, in Stripe's dashboard.
        log.warning("refund.already_done", payment_intent=payment.payment_intent, code=error.code)
        result = (None, "succeeded")

    def unit(session: Session) -> None:
        row = session.get_one(Refund, refund.id, with_for_update=True)
        row.refund, row.status = result

    shop.db.transaction(unit)
    if result[1] in ("failed", "canceled"):
        raise RefundFailed(f"refund {result[0]} of {payment.payment_intent} is {result[1]}")
    log.info(
        "refund.sent",
        payment_intent=payment.payment_intent,
        refund=result[0],
        amount=refund.amount,
        currency=refund.currency,
        reason=refund.reason,
    )
