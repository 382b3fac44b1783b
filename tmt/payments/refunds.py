"""Refunds: the row first, in the transaction that decides; the call second; the result last.

A row reserves its amount from the moment it is written, so that never more goes back than came.
What Stripe says of a refund, of ours or one made in its dashboard, is booked under its id, and
totals are computed of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import Cause
from tmt.core import outbox
from tmt.core.errors import NotYet
from tmt.gateway import contract
from tmt.gateway.contract import Gateway, KeysRefused, Misused, WrongState
from tmt.payments import attempts
from tmt.payments.ledger import (
    end_if_nothing_is_left,
    is_disputed,
    left_of,
    locked_payment,
    net_paid,
)
from tmt.payments.models import REQUESTED, Payment, Refund
from tmt.payments.notices import notify
from tmt.shop import Shop

log = structlog.get_logger(__name__)

FAILED = ("failed", "canceled")
# Why a refund that the shop did not make is there.
ELSEWHERE = "elsewhere"
# Why all of a payment goes back that no order could use; the buyer is told when it is decided.
TOLD_LATE = ("too_late", "no_event", "mismatch")
# Why the shop gives back all that is left of a payment, however much that is.
IN_FULL = (*TOLD_LATE, "paid_twice")
# What Stripe takes as a reason; the shop's other reasons stay in the shop.
STRIPE_REASONS = ("requested_by_customer", "duplicate", "fraudulent")
# A refund moves forward only; one that has succeeded can still fail, weeks later.
_RANK = {
    REQUESTED: 0,
    "pending": 1,
    "requires_action": 1,
    "succeeded": 2,
    "failed": 3,
    "canceled": 3,
}


class WaitsForDispute(NotYet):
    """The payment is disputed: until that is decided, nothing is refunded."""


def owe_refund(
    session: Session,
    payment: Payment,
    amount: int,
    reason: str,
    now: datetime,
    tickets: Sequence[int] = (),
) -> Refund:
    """Writes down that the buyer gets the amount (minor units) back; the jobs send it.

    Over nothing it only records which tickets became void.
    """
    refund = Refund(
        payment_id=payment.id,
        status=REQUESTED if amount else "succeeded",
        reason=reason,
        amount=amount,
        currency=payment.received_currency,
        tickets=list(tickets),
        created_at=now,
        changed_at=now,
        **attempts.new_attempt("refund", _params(payment, amount, reason), now),
    )
    session.add(refund)
    session.flush()
    if amount:
        outbox.put(session, "refund", f"refund-{refund.id}", {"refund": refund.id}, now)
    return refund


def send_refund(shop: Shop, gateway: Gateway, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: asks Stripe for the refund, once, and books the answer."""
    with shop.db.reading() as session:
        refund = session.get_one(Refund, payload["refund"])
        payment = session.get_one(Payment, refund.payment_id)
        disputed = is_disputed(session, payment.order_id)
    if refund.status != REQUESTED:
        return
    if disputed:
        raise WaitsForDispute(f"refund {refund.id} waits: {payment.payment_intent} is disputed")
    assert payment.payment_intent, "money was received without a PaymentIntent"
    try:
        made = _ask(shop, gateway, refund, payment, payment.payment_intent)
    except KeysRefused:
        raise
    except (WrongState, Misused) as error:
        # Somebody was faster, in Stripe's dashboard; or a dispute was. What is there is booked
        # first, so that the shop knows how much is left.
        for other in gateway.list_refunds(payment_intent=payment.payment_intent):
            book_refund(shop, other, Cause.RECONCILER)
        code = error.code or error.name
        shop.db.transaction(lambda s: _refused(s, shop, refund.id, code))
        return
    book_refund(shop, made, Cause.STAFF)


def book_refund(
    shop: Shop,
    seen: contract.Refund,
    cause: Cause,
    also: Callable[[Session], None] | None = None,
) -> bool:
    """Records what Stripe says of the refund, any number of times; False if it is not ours.

    `also` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def unit(session: Session) -> bool:
        found = locked_payment(session, seen.payment_intent) if seen.payment_intent else None
        if found:
            _book(session, shop, *found, seen, cause)
        if also:
            also(session)
        return found is not None

    ours = shop.db.transaction(unit)
    if ours:
        shop.jobs.nudge("outbox")
    return ours


def _ask(
    shop: Shop, gateway: Gateway, refund: Refund, payment: Payment, payment_intent: str
) -> contract.Refund:
    params = _params(payment, refund.amount, refund.reason)

    def create(key: str) -> contract.Refund:
        return gateway.create_refund(
            payment_intent,
            refund.amount,
            reference=str(refund.id),
            reason=refund.reason if refund.reason in STRIPE_REASONS else None,
            idempotency_key=key,
        )

    def look_up() -> contract.Refund | None:
        known = gateway.list_refunds(payment_intent=payment_intent)
        return next((r for r in known if r.reference == str(refund.id)), None)

    return attempts.once(shop, refund, params, create, look_up)


def _params(payment: Payment, amount: int, reason: str) -> dict[str, Any]:
    return {"payment_intent": payment.payment_intent, "amount": amount, "reason": reason}


def _refused(session: Session, shop: Shop, refund_id: int, code: str) -> None:
    """Stripe will not make this refund: it gives nothing, and a person must know."""
    payment = session.get_one(Payment, session.get_one(Refund, refund_id).payment_id)
    assert payment.payment_intent
    found = locked_payment(session, payment.payment_intent)
    assert found
    order, payment = found
    refund = session.get_one(Refund, refund_id, with_for_update=True)
    if refund.status != REQUESTED:
        return
    refund.status, refund.failure_reason = "failed", code[:80]
    refund.changed_at = shop.clock.now()
    session.flush()
    log.warning("refund.refused", order=order.code, refund=refund.id, code=code)
    left = left_of(session, payment)
    if refund.reason in IN_FULL and 0 < left < refund.amount:
        # A part was given back elsewhere meanwhile: the rest is still owed.
        owe_refund(session, payment, left, refund.reason, shop.clock.now())
    elif left > 0:
        _tell_failed(session, order, refund, shop.clock.now())


def _book(
    session: Session,
    shop: Shop,
    order: Order,
    payment: Payment,
    seen: contract.Refund,
    cause: Cause,
) -> None:
    now = shop.clock.now()
    row = _row_of(session, payment, seen)
    first_heard = row is None or row.refund is None
    if row is None:
        row = _made_elsewhere(payment, seen, now)
        session.add(row)
    elif not first_heard and not _goes_on(row.status, seen.status):
        return
    row.refund, row.status, row.changed_at = seen.id, seen.status, now
    row.failure_reason = seen.failure_reason[:80] if seen.failure_reason else None
    session.flush()
    log.info("refund.booked", order=order.code, refund=seen.id, status=seen.status)
    ended = end_if_nothing_is_left(session, order, cause, now)
    if seen.status in FAILED:
        _tell_failed(session, order, row, now)
    elif first_heard:
        _tell_made(session, order, row, ended, now)


def _goes_on(before: str, after: str) -> bool:
    """Whether a refund can have come from one status to the other."""
    if before == after or before in FAILED:
        return False
    return _RANK.get(after, 1) >= _RANK.get(before, 1)


def _row_of(session: Session, payment: Payment, seen: contract.Refund) -> Refund | None:
    """The row of this refund: by Stripe's id, or by what the shop wrote on it."""
    query = select(Refund).where(Refund.payment_id == payment.id).with_for_update()
    rows = session.scalars(query.execution_options(populate_existing=True)).all()
    known = (row for row in rows if row.refund == seen.id)
    sent = (row for row in rows if row.refund is None and str(row.id) == seen.reference)
    return next(known, None) or next(sent, None)


def _made_elsewhere(payment: Payment, seen: contract.Refund, now: datetime) -> Refund:
    return Refund(
        payment_id=payment.id,
        reason=ELSEWHERE,
        amount=seen.amount,
        currency=seen.currency,
        tickets=[],
        created_at=now,
        changed_at=now,
        key_made_at=now,
    )


def _tell_made(session: Session, order: Order, row: Refund, ended: bool, now: datetime) -> None:
    """The buyer hears of the money; the organiser, of a part that was given back elsewhere."""
    if row.reason not in TOLD_LATE:
        outbox.put(session, "refunded", f"refunded-{row.id}", {"refund": row.id}, now)
    if row.reason == ELSEWHERE and not ended and net_paid(session, order) > 0:
        details = {"amount": row.amount, "currency": row.currency, "refund": row.refund}
        notify(session, "refunded_elsewhere", str(row.refund), order, now, **details)


def _tell_failed(session: Session, order: Order, row: Refund, now: datetime) -> None:
    details = {"amount": row.amount, "currency": row.currency, "reason": row.failure_reason}
    notify(session, "refund_failed", str(row.id), order, now, **details, refund=row.refund)
