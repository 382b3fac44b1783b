"""Disputes: payments that the buyer's bank claims back, and what that does to the tickets.

While one is undecided the tickets open no door (unless a setting says otherwise), and nothing is
refunded unless Stripe says that it can be. A settled one makes the tickets valid again; a lost one
ends the order, as the money is gone. An inquiry (Stripe's `warning_…`) moves no money. No decision
is final: whatever Stripe says later is applied, and the tickets follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.catalog.listing import is_upcoming
from tmt.checkout.models import Order, OrderStatus, OrderTransition
from tmt.checkout.states import Trigger, transition
from tmt.core.errors import RetryLater
from tmt.core.money import format_money
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import DisputeMeaning, DisputeStatus, RefundStatus, StripeDispute
from tmt.payments.alerts import raise_alert
from tmt.payments.balances import (
    close_if_fully_refunded,
    get_disputes,
    get_refunds,
    record,
    remaining,
)
from tmt.payments.models import Dispute, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.issue import block, get_tickets, make_valid, unblock

log = structlog.get_logger(__name__)


class OutdatedAnswer(RetryLater):
    """Newer news of the dispute were applied while this answer of Stripe's was on its way."""


def sync_dispute(
    shop: Shop,
    gateway: Gateway,
    dispute_id: str,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> bool:
    """Reads the dispute from Stripe and applies what it is now; false if it is not ours.

    `in_transaction` runs in the same transaction, whatever the outcome. Safe to repeat. Raises
    `GatewayError`, and `OutdatedAnswer` when another process was faster with newer news.
    """
    read_at = shop.clock.now()
    dispute = gateway.retrieve_dispute(dispute_id)

    def apply(session: Session, order: Order, payment: Payment) -> None:
        _record(session, shop, order, payment, dispute, trigger, read_at)

    return record(shop, dispute.payment_intent, apply, in_transaction)


def apply_disputes(session: Session, shop: Shop, order: Order) -> None:
    """Blocks or unblocks the tickets of a locked order, as its disputes require."""
    meanings = {dispute.status.meaning for dispute in get_disputes(session, order.id)}
    if shop.settings.block_disputed and DisputeMeaning.UNDECIDED in meanings:
        block(session, order.id)
    else:
        unblock(session, order.id)


def _record(
    session: Session,
    shop: Shop,
    order: Order,
    payment: Payment,
    dispute: StripeDispute,
    trigger: Trigger,
    read_at: datetime,
) -> None:
    now = shop.clock.now()
    query = select(Dispute).where(Dispute.stripe_id == dispute.id).with_for_update()
    row = session.scalar(query)
    if row is None:
        previous = None
        row = Dispute(payment_id=payment.id, stripe_id=dispute.id, created_at=now)
        session.add(row)
    else:
        previous = row.status
        before = row.status, row.amount, row.is_charge_refundable
        if before == (dispute.status, dispute.amount, dispute.is_charge_refundable):
            return
        if row.updated_at > read_at:
            raise OutdatedAnswer(f"dispute {dispute.id} has changed since it was read")
    row.status, row.updated_at = dispute.status, now
    row.amount, row.currency = dispute.amount, dispute.currency
    row.reason, row.is_charge_refundable = dispute.reason[:80], dispute.is_charge_refundable
    session.flush()
    status = str(dispute.status)
    log.warning("dispute.changed", order=order.code, dispute=dispute.id, status=status)
    # A change of status is reported each time, also when a dispute comes back to one.
    key = f"{dispute.id}-{now:%Y%m%d%H%M%S%f}"
    details = {
        "amount": dispute.amount,
        "currency": dispute.currency,
        "dispute": dispute.id,
        "reason": row.reason,
    }
    if previous != dispute.status:
        if dispute.status.meaning == DisputeMeaning.LOST:
            _withdraw_requested_refunds(session, order, payment, now, details)
            close_if_fully_refunded(session, order, trigger, now)
        is_late = (
            dispute.status.meaning == DisputeMeaning.SETTLED
            and order.status == OrderStatus.REFUNDED
            and remaining(session, payment) > 0
            and not _reinstate(session, order, trigger, now)
        )
        if is_late:
            raise_alert(session, "dispute_won_late", key, order, now, **details)
        elif kind := _alert_kind(previous, dispute.status):
            waiting = _waiting_refunds(session, order)
            raise_alert(session, kind, key, order, now, **details, **waiting)
        if not dispute.status.is_known:
            raise_alert(session, "unknown_status", key, order, now, **details, status=status)
    apply_disputes(session, shop, order)


def _alert_kind(previous: DisputeStatus | None, status: DisputeStatus) -> str | None:
    """The alert for a change of a dispute's status, if a person must see it."""
    if status in (DisputeStatus.LOST, DisputeStatus.WON):
        return f"dispute_{status}"
    if status.is_closed:
        return None
    if previous is None or (previous.is_inquiry and not status.is_inquiry):
        return "dispute_opened"
    return "dispute_reopened" if previous.is_closed else None


def _withdraw_requested_refunds(
    session: Session, order: Order, payment: Payment, now: datetime, details: Mapping[str, Any]
) -> None:
    """Cancels refunds that were not sent yet, as the bank has the money; a person must know."""
    query = select(Refund).where(
        Refund.payment_id == payment.id, Refund.status == RefundStatus.REQUESTED
    )
    for refund in session.scalars(query.with_for_update()).all():
        refund.status, refund.failure_reason = RefundStatus.CANCELED, "dispute_lost"
        refund.updated_at = now
        session.flush()
        promised: dict[str, Any] = {
            "amount": refund.amount,
            "currency": refund.currency,
            "dispute": details["dispute"],
            "taken_by_the_bank": format_money(details["amount"], details["currency"], "en"),
        }
        if refund.tickets:
            promised["tickets"] = ", ".join(map(str, refund.tickets))
        raise_alert(session, "refund_withdrawn", str(refund.id), order, now, **promised)


def _waiting_refunds(session: Session, order: Order) -> dict[str, str]:
    """For an alert: the refunds that were requested and wait for the dispute."""
    waiting = [r for r in get_refunds(session, order.id) if r.status == RefundStatus.REQUESTED]
    if not waiting:
        return {}
    total = sum(refund.amount for refund in waiting)
    return {"refunds_that_wait": format_money(total, waiting[0].currency, "en")}


def _reinstate(session: Session, order: Order, trigger: Trigger, now: datetime) -> bool:
    """Makes the tickets that a lost dispute made void valid again, if they are still for sale.

    Not those that a person had refunded, and none of an order that a person has ended.
    """
    ended_by = session.scalars(
        select(OrderTransition.triggered_by)
        .where(
            OrderTransition.order_id == order.id,
            OrderTransition.to_status == OrderStatus.REFUNDED,
        )
        .order_by(OrderTransition.id.desc())
        .limit(1)
    ).first()
    refunded = {number for r in get_refunds(session, order.id) for number in r.tickets}
    tickets = [t for t in get_tickets(session, order.id) if t.number not in refunded]
    if not tickets or ended_by == Trigger.STAFF or not is_upcoming(order.event, now):
        return False
    quantities = Counter(ticket.ticket_type_id for ticket in tickets)
    try:
        with session.begin_nested():
            stock.hold(session, order.event_id, quantities)
    except stock.SoldOut:
        return False
    stock.sell(session, order.event_id, quantities)
    make_valid(session, order.id, [ticket.number for ticket in tickets])
    transition(session, order, OrderStatus.PAID, trigger, now)
    log.info("order.reinstated", order=order.code, trigger=trigger.value)
    return True
