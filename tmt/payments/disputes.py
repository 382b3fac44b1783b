"""Disputes: what the buyer's bank wants back, recorded, with what it does to the tickets.

While one is undecided nothing is refunded, and the tickets open no door (unless a setting says
otherwise). A won one gives them back; a lost one ends the order, as the money is gone. An inquiry
(Stripe's `warning_…`) moves no money and is only recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import Cause
from tmt.gateway import contract
from tmt.payments.ledger import LOST, disputes_of, end_if_nothing_is_left, locked_payment
from tmt.payments.models import DISPUTE_OVER, REQUESTED, Dispute, Payment, Refund
from tmt.payments.notices import notify
from tmt.shop import Shop
from tmt.tickets.issue import block, unblock

log = structlog.get_logger(__name__)

_INQUIRY = "warning_"


def book_dispute(
    shop: Shop,
    seen: contract.Dispute,
    cause: Cause,
    also: Callable[[Session], None] | None = None,
) -> bool:
    """Records what Stripe says of the dispute, any number of times; False if it is not ours.

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


def apply_disputes(session: Session, shop: Shop, order: Order) -> None:
    """Brings the tickets of a locked order into line with its disputes."""
    undecided = [d for d in disputes_of(session, order.id) if d.status not in DISPUTE_OVER]
    # An inquiry has taken no money.
    money_is_held = any(not d.status.startswith(_INQUIRY) for d in undecided)
    if shop.settings.block_disputed and money_is_held:
        block(session, order.id)
    elif not undecided:
        unblock(session, order.id)


def _book(
    session: Session,
    shop: Shop,
    order: Order,
    payment: Payment,
    seen: contract.Dispute,
    cause: Cause,
) -> None:
    now = shop.clock.now()
    row = session.scalar(select(Dispute).where(Dispute.dispute == seen.id).with_for_update())
    before = row.status if row else None
    if before == seen.status or before in DISPUTE_OVER:
        # What is decided stays so, whatever an older answer of Stripe's says.
        return
    if row is None:
        row = _new(payment, seen, now)
        session.add(row)
    row.status, row.changed_at = seen.status, now
    session.flush()
    log.warning("dispute.changed", order=order.code, dispute=seen.id, status=seen.status)
    apply_disputes(session, shop, order)
    if seen.status == LOST:
        _withdraw_requests(session, payment, now)
        end_if_nothing_is_left(session, order, cause, now)
    _tell(session, order, seen, before, now)


def _new(payment: Payment, seen: contract.Dispute, now: datetime) -> Dispute:
    return Dispute(
        payment_id=payment.id,
        dispute=seen.id,
        status=seen.status,
        reason=seen.reason[:80],
        amount=seen.amount,
        currency=seen.currency,
        created_at=now,
        changed_at=now,
    )


def _withdraw_requests(session: Session, payment: Payment, now: datetime) -> None:
    """Refunds that were not sent yet are not sent any more: the bank has the money."""
    session.execute(
        update(Refund)
        .where(Refund.payment_id == payment.id, Refund.status == REQUESTED)
        .values(status="canceled", failure_reason="dispute_lost", changed_at=now)
    )


def _tell(
    session: Session, order: Order, seen: contract.Dispute, before: str | None, now: datetime
) -> None:
    kind = {"lost": "dispute_lost", "won": "dispute_won"}.get(seen.status)
    if kind is None and before is None and seen.status not in DISPUTE_OVER:
        kind = "dispute_opened"
    if kind:
        details = {"amount": seen.amount, "currency": seen.currency, "dispute": seen.id}
        notify(session, kind, seen.id, order, now, **details, reason=seen.reason[:80])
