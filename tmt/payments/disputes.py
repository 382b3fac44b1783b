"""Disputes: payments that the buyer's bank claims back, and what that does to the tickets.

While one is undecided nothing is refunded, and the tickets open no door (unless a setting says
otherwise). A won one makes them valid again; a lost one ends the order, as the money is gone. An
inquiry (Stripe's `warning_…`) moves no money and is only recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.gateway.types import DisputeStatus, RefundStatus, StripeDispute
from tmt.payments.alerts import raise_alert
from tmt.payments.balances import close_if_fully_refunded, get_disputes, record
from tmt.payments.models import Dispute, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.issue import block, unblock

log = structlog.get_logger(__name__)


def record_dispute(
    shop: Shop,
    dispute: StripeDispute,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> bool:
    """Records what Stripe says of the dispute, any number of times; false if it is not ours.

    `in_transaction` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def apply(session: Session, order: Order, payment: Payment) -> None:
        _record(session, shop, order, payment, dispute, trigger)

    return record(shop, dispute.payment_intent, apply, in_transaction)


def apply_disputes(session: Session, shop: Shop, order: Order) -> None:
    """Blocks or unblocks the tickets of a locked order, as its disputes require."""
    undecided = [d.status for d in get_disputes(session, order.id) if not d.status.is_closed]
    money_is_withheld = any(not status.is_inquiry for status in undecided)
    if shop.settings.block_disputed and money_is_withheld:
        block(session, order.id)
    elif not undecided:
        unblock(session, order.id)


def _record(
    session: Session,
    shop: Shop,
    order: Order,
    payment: Payment,
    dispute: StripeDispute,
    trigger: Trigger,
) -> None:
    now = shop.clock.now()
    query = select(Dispute).where(Dispute.stripe_id == dispute.id).with_for_update()
    row = session.scalar(query)
    previous = row.status if row else None
    if previous is not None and (previous == dispute.status or previous.is_closed):
        # What is decided stays decided, whatever an older answer of Stripe's says.
        return
    if row is None:
        row = Dispute(
            payment_id=payment.id,
            stripe_id=dispute.id,
            reason=dispute.reason[:80],
            amount=dispute.amount,
            currency=dispute.currency,
            created_at=now,
        )
        session.add(row)
    row.status, row.updated_at = dispute.status, now
    session.flush()
    status = str(dispute.status)
    log.warning("dispute.changed", order=order.code, dispute=dispute.id, status=status)
    apply_disputes(session, shop, order)
    if dispute.status == DisputeStatus.LOST:
        # Refunds that were not sent yet are not sent any more: the bank has the money.
        session.execute(
            update(Refund)
            .where(Refund.payment_id == payment.id, Refund.status == RefundStatus.REQUESTED)
            .values(status=RefundStatus.CANCELED, failure_reason="dispute_lost", updated_at=now)
        )
        close_if_fully_refunded(session, order, trigger, now)

    details = {"amount": dispute.amount, "currency": dispute.currency, "dispute": dispute.id}
    if dispute.status in (DisputeStatus.LOST, DisputeStatus.WON):
        kind = f"dispute_{dispute.status}"
        raise_alert(session, kind, dispute.id, order, now, **details, reason=row.reason)
    elif previous is None and not dispute.status.is_closed:
        raise_alert(session, "dispute_opened", dispute.id, order, now, **details, reason=row.reason)
    if not dispute.status.is_known:
        raise_alert(session, "unknown_status", dispute.id, order, now, **details, status=status)
