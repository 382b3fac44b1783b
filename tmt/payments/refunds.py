"""Refunds: the row first, in the transaction that decides; the call second; the result last.

A row reserves its amount from the moment it is written, so that no more is refunded than was
received. What Stripe says of a refund, of ours or one created in its dashboard, is recorded under
Stripe's id, and totals are computed from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import account_of_order, is_own_order
from tmt.checkout.states import Trigger, lock_order
from tmt.core import outbox
from tmt.core.errors import DomainError, NotFound, PermanentFailure, RetryLater
from tmt.core.money import format_code
from tmt.gateway.errors import (
    AuthenticationFailed,
    InvalidRequest,
    InvalidState,
    StripeNotFound,
)
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import RefundStatus, StripeRefund
from tmt.payments.alerts import raise_alert
from tmt.payments.balances import (
    close_if_fully_refunded,
    get_disputes,
    get_payment,
    is_disputed,
    lock_payment,
    net_paid,
    record,
    remaining,
    void_and_restock,
)
from tmt.payments.idempotency import create_idempotently, new_call
from tmt.payments.models import Payment, Refund
from tmt.payments.slips import method_without_refunds
from tmt.shop import Shop
from tmt.tickets.issue import get_tickets

log = structlog.get_logger(__name__)

# The reason of a refund that the shop did not create.
EXTERNAL = "external"
# Reasons why the shop itself refunds all that is left of a payment that no order could use,
# however much that is. The buyer is informed when it is decided.
UNUSABLE_PAYMENT = ("too_late", "no_event", "mismatch")
# The event was canceled: all that is left is refunded, and a mail of the change says so.
EVENT_CANCELED = "event_canceled"
# Why a refund failed that Stripe does not make, by the name of Stripe's error.
_NOT_REFUNDABLE = "charge_not_refundable"
# The reasons that Stripe accepts; the shop's others are not sent.
STRIPE_REASONS = ("requested_by_customer", "duplicate", "fraudulent")


class NotRefundable(DomainError):
    """The order was never paid, or all of its money has been refunded."""


class ForeignOrder(DomainError):
    """The order was paid in another mode or to another Stripe account than that of the keys."""


class OrderDisputed(DomainError):
    """A dispute over the order is undecided: answer it in Stripe's dashboard instead."""


class AmountTooLarge(DomainError):
    """More than what is left of what was paid."""


class NoSuchTicket(DomainError):
    """The order has no such ticket, or it is void."""


class WaitsForDispute(RetryLater):
    """The payment is disputed: until that is decided, nothing is refunded."""


@dataclass(frozen=True)
class RefundPlan:
    """A refund as it would be issued now: its amount (minor units), and the tickets that become
    void with it. `is_everything` ends the order; `left` is what could be refunded at most.
    `by_hand` names the method, if Stripe refunds none of its payments."""

    amount: int
    left: int
    currency: str
    tickets: tuple[int, ...]
    is_everything: bool
    by_hand: str | None = None


def plan_refund(
    session: Session, order: Order, *, amount: int | None = None, tickets: Sequence[int] = ()
) -> RefundPlan:
    """What `issue_refund` would do with the order as it is; raises what it raises."""
    if order.status == OrderStatus.PROCESSING:
        raise NotRefundable(f"the payment of order {order.code} has not arrived yet: wait for it")
    if order.status not in (OrderStatus.PAID, OrderStatus.REFUNDED):
        raise NotRefundable(f"order {order.code} is {order.status}: nothing was paid for it")
    if order.total and not is_own_order(session, order.id):
        paid_with = account_of_order(order).rstrip(":")
        raise ForeignOrder(f"order {order.code} was paid with other keys: {paid_with}")
    if is_disputed(session, order.id):
        raise OrderDisputed(f"order {order.code} is disputed: respond to it in Stripe first")
    issued = {ticket.number: ticket for ticket in get_tickets(session, order.id)}
    numbers = tuple(sorted(set(tickets)))
    for number in numbers:
        if number not in issued:
            raise NoSuchTicket(f"order {order.code} has no ticket {number}: it has {len(issued)}")
        if issued[number].is_void:
            raise NoSuchTicket(f"ticket {number} of order {order.code} is void already")
    payment = get_payment(session, order.id)
    # Of a payment in another currency than the order's too, whose own refund has failed.
    left = remaining(session, payment) if payment else 0
    currency = (payment.received_currency if payment else None) or order.currency
    if order.status == OrderStatus.REFUNDED and left == 0:
        raise NotRefundable(f"order {order.code} is refunded already")
    by_hand = method_without_refunds(payment)
    if by_hand and order.status == OrderStatus.REFUNDED:
        raise NotRefundable(
            f"order {order.code} is closed, and Stripe refunds no {by_hand} payments: pay"
            f" {format_code(left, currency)} back another way, then: flask alerts resolve"
        )
    if amount == 0 and not numbers:
        raise NotRefundable("an amount of 0 refunds nothing: name the tickets that become void")
    total = amount
    if total is None:
        # What was refunded of a ticket's price before cannot be refunded again.
        price = sum(issued[number].price for number in numbers)
        total = min(price, left) if numbers else left
    if not 0 <= total <= left:
        available = format_code(left, currency)
        raise AmountTooLarge(f"order {order.code} has {available} left of what was paid for it")
    valid = {number for number, ticket in issued.items() if not ticket.is_void}
    # A free order ends with its last ticket, as it has no money to compute that from.
    ends = total == left if order.total else not amount and (not numbers or set(numbers) == valid)
    voided = tuple(sorted(valid)) if ends else numbers
    return RefundPlan(total, left, currency, voided, ends, by_hand if total else None)


def issue_refund(
    shop: Shop,
    code: str,
    *,
    amount: int | None = None,
    tickets: Sequence[int] = (),
    reason: str = "requested_by_customer",
) -> Refund | None:
    """Decides on a refund of the order; the jobs send it.

    Without amount and tickets all that is left is refunded and the order ends. With ticket numbers
    those tickets become void at once and are for sale again; the amount is then their price,
    unless one is given (minor units; 0 refunds no money). An amount alone leaves the tickets
    valid, unless nothing is left. None for an order that cost nothing.

    Raises `NotFound`, `NotRefundable`, `ForeignOrder`, `OrderDisputed`, `AmountTooLarge` or
    `NoSuchTicket`, with nothing done.
    """

    def unit(session: Session) -> Refund | None:
        now = shop.clock.now()
        order_id = session.scalar(select(Order.id).where(Order.code == code.upper()))
        if order_id is None:
            raise NotFound(f"no order {code[:20]}")
        order = lock_order(session, order_id)
        plan = plan_refund(session, order, amount=amount, tickets=tickets)
        numbers = sorted(set(tickets))
        refund = None
        payment = get_payment(session, order.id)
        if payment and (plan.amount or numbers):
            refund = request_refund(session, payment, plan.amount, reason, now, numbers)
        if numbers:
            void_and_restock(session, order, numbers)
        session.flush()
        if plan.is_everything:
            close_if_fully_refunded(session, order, Trigger.STAFF, now)
        return refund

    refund = shop.db.transaction(unit)
    shop.jobs.trigger("outbox")
    log.info("refund.requested", order=code, amount=refund.amount if refund else 0, reason=reason)
    return refund


def request_refund(
    session: Session,
    payment: Payment,
    amount: int,
    reason: str,
    now: datetime,
    tickets: Sequence[int] = (),
) -> Refund:
    """Writes a refund of the amount (minor units) and puts its call to Stripe into the outbox.

    With an amount of 0 it only records which tickets became void. Of a method that Stripe does not
    refund, a person must pay it back: that is an alert at once, and the job marks it as failed.
    """
    refund = Refund(
        payment_id=payment.id,
        status=RefundStatus.REQUESTED if amount else RefundStatus.SUCCEEDED,
        reason=reason,
        amount=amount,
        currency=payment.received_currency,
        tickets=list(tickets),
        created_at=now,
        updated_at=now,
        **new_call("refund", _hashed_params(payment, amount, reason), now),
    )
    session.add(refund)
    session.flush()
    if amount:
        outbox.put(session, "refund", f"refund-{refund.id}", {"refund": refund.id}, now)
    if amount and method_without_refunds(payment):
        _alert_by_hand(session, payment, refund, now)
        if reason not in (*UNUSABLE_PAYMENT, EVENT_CANCELED):
            _put_mail(session, refund, now)
    return refund


def send_refund(shop: Shop, gateway: Gateway, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: creates the refund at Stripe, once, and records the answer."""
    with shop.db.reading() as session:
        refund = session.get_one(Refund, payload["refund"])
        payment = session.get_one(Payment, refund.payment_id)
        disputed = is_disputed(session, payment.order_id)
    payment_intent = payment.payment_intent_id
    if refund.status != RefundStatus.REQUESTED:
        return
    if disputed:
        raise WaitsForDispute(f"refund {refund.id} waits: {payment_intent} is disputed")
    if payment_intent is None:
        raise PermanentFailure(f"refund {refund.id}: money was received without a PaymentIntent")
    if method_without_refunds(payment):
        failed = (shop, refund.id, payment_intent, _NOT_REFUNDABLE)
        shop.db.transaction(lambda s: _mark_failed(s, *failed))
        return

    def create(key: str) -> StripeRefund:
        return gateway.create_refund(
            payment_intent,
            refund.amount,
            reference=str(refund.id),
            reason=refund.reason if refund.reason in STRIPE_REASONS else None,
            idempotency_key=key,
        )

    def look_up() -> StripeRefund | None:
        refunds = gateway.list_refunds(payment_intent=payment_intent)
        return next((r for r in refunds if r.reference == str(refund.id)), None)

    params = _hashed_params(payment, refund.amount, refund.reason)
    try:
        created = create_idempotently(shop, refund, params, create, look_up)
    except AuthenticationFailed:
        raise
    except StripeNotFound:
        shop.db.transaction(lambda s: _alert_not_sent(s, shop, refund, payment))
        raise
    except (InvalidState, InvalidRequest) as error:
        # The payment was refunded in Stripe's dashboard or disputed meanwhile. Refunds that exist
        # there are recorded first, so that the shop knows how much is left.
        for other in gateway.list_refunds(payment_intent=payment_intent):
            record_refund(shop, other, Trigger.RECONCILER)
        reason = error.code or error.name
        shop.db.transaction(lambda s: _mark_failed(s, shop, refund.id, payment_intent, reason))
        return
    record_refund(shop, created, Trigger.STAFF)


def record_refund(
    shop: Shop,
    refund: StripeRefund,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> bool:
    """Records what Stripe says of the refund, any number of times; false if it is not ours.

    `in_transaction` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def apply(session: Session, order: Order, payment: Payment) -> None:
        _record(session, shop, order, payment, refund, trigger)

    return record(shop, refund.payment_intent, apply, in_transaction)


def _hashed_params(payment: Payment, amount: int, reason: str) -> dict[str, Any]:
    return {"payment_intent": payment.payment_intent_id, "amount": amount, "reason": reason}


def _mark_failed(
    session: Session, shop: Shop, refund_id: int, payment_intent: str, failure_reason: str
) -> None:
    """Stripe will not create this refund: it returns nothing, and a person must know."""
    locked = lock_payment(session, payment_intent)
    if locked is None:
        raise NotFound(f"no payment {payment_intent}")
    order, payment = locked
    refund = session.get_one(Refund, refund_id, with_for_update=True, populate_existing=True)
    if refund.status != RefundStatus.REQUESTED:
        return
    now = shop.clock.now()
    refund.status, refund.failure_reason = RefundStatus.FAILED, failure_reason[:80]
    refund.updated_at = now
    session.flush()
    log.warning("refund.rejected", order=order.code, refund=refund.id, code=failure_reason)
    left = remaining(session, payment)
    if refund.reason in (*UNUSABLE_PAYMENT, EVENT_CANCELED) and 0 < left < refund.amount:
        # A part was refunded elsewhere meanwhile: the rest is still due.
        request_refund(session, payment, left, refund.reason, now)
    elif left > 0 and failure_reason == _NOT_REFUNDABLE:
        _alert_by_hand(session, payment, refund, now)
    elif left > 0:
        _alert_failed(session, order, refund, now)


def _record(
    session: Session,
    shop: Shop,
    order: Order,
    payment: Payment,
    refund: StripeRefund,
    trigger: Trigger,
) -> None:
    now = shop.clock.now()
    rows = session.scalars(
        select(Refund)
        .where(Refund.payment_id == payment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    by_id = (row for row in rows if row.stripe_id == refund.id)
    by_reference = (r for r in rows if r.stripe_id is None and str(r.id) == refund.reference)
    row = next(by_id, None) or next(by_reference, None)
    is_new = row is None or row.stripe_id is None
    if row is None:
        row = Refund(
            payment_id=payment.id,
            reason=EXTERNAL,
            amount=refund.amount,
            currency=refund.currency,
            tickets=[],
            created_at=now,
            key_created_at=now,
        )
        session.add(row)
    elif not is_new and not refund.status.may_follow(row.status):
        return
    row.stripe_id, row.status, row.updated_at = refund.id, refund.status, now
    row.failure_reason = refund.failure_reason[:80] if refund.failure_reason else None
    session.flush()
    log.info("refund.recorded", order=order.code, refund=refund.id, status=str(refund.status))
    closed = close_if_fully_refunded(session, order, trigger, now)
    if refund.status.is_failed:
        _alert_failed(session, order, row, now)
    elif is_new:
        # Whose refund had to wait for a dispute is informed of it now.
        waited = row.reason == EVENT_CANCELED and get_disputes(session, order.id)
        if waited or row.reason not in (*UNUSABLE_PAYMENT, EVENT_CANCELED):
            _put_mail(session, row, now)
        if row.reason == EXTERNAL and not closed and net_paid(session, order) > 0:
            details = {"amount": row.amount, "currency": row.currency, "refund": row.stripe_id}
            raise_alert(session, "external_refund", str(row.stripe_id), order, now, **details)
    if not refund.status.is_known:
        details = {"refund": refund.id, "status": str(refund.status)}
        raise_alert(session, "unknown_status", refund.id, order, now, **details)


def _put_mail(session: Session, refund: Refund, now: datetime) -> None:
    outbox.put(session, "refunded", f"refunded-{refund.id}", {"refund": refund.id}, now)


def _alert_by_hand(session: Session, payment: Payment, refund: Refund, now: datetime) -> None:
    order = session.get_one(Order, payment.order_id)
    details = {
        "amount": refund.amount,
        "currency": refund.currency,
        "method": method_without_refunds(payment) or payment.payment_method_id,
        "reason": refund.reason,
    }
    raise_alert(session, "refund_by_hand", str(refund.id), order, now, **details)


def _alert_not_sent(session: Session, shop: Shop, refund: Refund, payment: Payment) -> None:
    order = lock_order(session, payment.order_id)
    details = {
        "amount": refund.amount,
        "currency": refund.currency,
        "payment_intent": payment.payment_intent_id,
    }
    raise_alert(session, "refund_not_sent", str(refund.id), order, shop.clock.now(), **details)


def _alert_failed(session: Session, order: Order, row: Refund, now: datetime) -> None:
    details = {"amount": row.amount, "currency": row.currency, "reason": row.failure_reason}
    raise_alert(session, "refund_failed", str(row.id), order, now, **details, refund=row.stripe_id)
