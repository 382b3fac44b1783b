"""Sync: applies a PaymentIntent to its order. `fulfill` is the one place where an order is paid.

Webhook, return page, pay page, the JSON endpoint, the reconciler and the end of a hold all call
`sync_payment_intent` with what they read from Stripe. The first one applies it, under the order's
lock, in one transaction; the others find it done. A PaymentIntent pays an order only if
its id is stored on that order, and only with the order's amount and currency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.catalog.listing import is_upcoming
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.states import Trigger, transition
from tmt.core import metrics, outbox
from tmt.gateway.types import PaymentIntent, PaymentIntentStatus
from tmt.payments.alerts import raise_alert
from tmt.payments.balances import get_disputes, lock_payment, remaining
from tmt.payments.disputes import apply_disputes
from tmt.payments.models import Payment
from tmt.payments.refunds import request_refund
from tmt.shop import Shop
from tmt.tickets.issue import issue

log = structlog.get_logger(__name__)

# The alert for each reason why a payment is refunded at once.
_ALERTS = {"mismatch": "amount_mismatch", "too_late": "too_late", "no_event": "no_event"}
# A card payment has succeeded or failed by then; only a bank debit is worth a mail.
_PROCESSING_MAIL_DELAY = timedelta(minutes=10)


class Outcome(StrEnum):
    """What a sync found or did."""

    UNKNOWN_INTENT = "unknown_intent"
    UNCHANGED = "unchanged"
    PAID = "paid"
    PROCESSING = "processing"
    FAILED = "failed"
    ENDED = "ended"
    REFUNDING = "refunding"


@dataclass(frozen=True)
class SyncContext:
    """One PaymentIntent with its locked payment and order."""

    session: Session
    shop: Shop
    order: Order
    payment: Payment
    intent: PaymentIntent
    trigger: Trigger
    now: datetime


def sync_payment_intent(
    shop: Shop,
    intent: PaymentIntent,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> Outcome:
    """Applies the PaymentIntent to its order, any number of times, in any order.

    `in_transaction` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def unit(session: Session) -> tuple[Outcome, str | None]:
        locked = lock_payment(session, intent.id)
        outcome, code = Outcome.UNKNOWN_INTENT, None
        if locked:
            order, payment = locked
            code = order.code
            outcome = _apply(
                SyncContext(session, shop, order, payment, intent, trigger, shop.clock.now())
            )
        if in_transaction:
            in_transaction(session)
        return outcome, code

    outcome, code = shop.db.transaction(unit)
    if outcome not in (Outcome.UNKNOWN_INTENT, Outcome.UNCHANGED):
        metrics.syncs.labels(outcome.value, trigger.value).inc()
        log.info(
            f"payment.{outcome}",
            order=code,
            payment_intent=intent.id,
            amount=intent.amount,
            currency=intent.currency,
            trigger=trigger.value,
        )
        shop.jobs.trigger("outbox")
    return outcome


def fulfill(session: Session, order: Order, trigger: Trigger, now: datetime) -> None:
    """Makes a locked order paid: stock sold, tickets issued, confirmation in the outbox."""
    stock.sell(session, order.event_id, order.quantities)
    issue(session, order, now)
    transition(session, order, OrderStatus.PAID, trigger, now)
    outbox.put(session, "confirmation", f"confirmation-{order.token}", {"order": order.id}, now)


def is_known_intent(shop: Shop, payment_intent: str) -> bool:
    """Whether a PaymentIntent of this id is stored on one of the shop's orders."""
    query = select(Payment.id).where(Payment.payment_intent_id == payment_intent)
    with shop.db.reading() as session:
        return session.scalar(query) is not None


def expects_intent(shop: Shop, code: object) -> bool:
    """Whether the held order of this code has not stored the id of its PaymentIntent yet."""
    query = (
        select(Payment.id)
        .join(Order, Order.id == Payment.order_id)
        .where(
            Order.code == str(code),
            Order.status == OrderStatus.HELD,
            Payment.payment_intent_id.is_(None),
        )
    )
    with shop.db.reading() as session:
        return session.scalar(query) is not None


def _apply(context: SyncContext) -> Outcome:
    order, payment, intent = context.order, context.payment, context.intent
    if payment.status == PaymentIntentStatus.SUCCEEDED:
        if payment.verified_at is None and not intent.from_event:
            _verify(context)
        return Outcome.UNCHANGED
    if intent.status == PaymentIntentStatus.SUCCEEDED:
        return _succeeded(context)
    if payment.status == PaymentIntentStatus.CANCELED:
        return Outcome.UNCHANGED
    previous_error = payment.error_code
    payment.status, payment.error_code = intent.status, intent.error_code
    if intent.status == PaymentIntentStatus.CANCELED:
        return _canceled(context)
    if intent.status == PaymentIntentStatus.PROCESSING:
        return _processing(context)
    if not intent.status.is_known:
        details = {"payment_intent": intent.id, "status": str(intent.status)}
        raise_alert(context.session, "unknown_status", intent.id, order, context.now, **details)
        return Outcome.UNCHANGED
    if order.status == OrderStatus.PROCESSING:
        # The bank refused: there is time for another method while the hold lasts.
        transition(context.session, order, OrderStatus.HELD, context.trigger, context.now)
        key, payload = f"payment_failed-{order.token}", {"order": order.id}
        outbox.put(context.session, "payment_failed", key, payload, context.now)
        return Outcome.FAILED
    if intent.error_code not in (None, previous_error):
        return Outcome.FAILED
    return Outcome.UNCHANGED


def _verify(context: SyncContext) -> None:
    """Compares a payment that a webhook reported with what Stripe itself says of it."""
    payment, intent = context.payment, context.intent
    at_stripe = (intent.status, intent.amount_received, intent.currency)
    if at_stripe == (payment.status, payment.amount_received, payment.received_currency):
        payment.verified_at = context.now
        return
    details = {"payment_intent": intent.id, "status": str(intent.status)}
    raise_alert(
        context.session, "payment_not_confirmed", intent.id, context.order, context.now, **details
    )


def _succeeded(context: SyncContext) -> Outcome:
    session, order = context.session, context.order
    payment, intent = context.payment, context.intent
    payment.status, payment.succeeded_at, payment.error_code = intent.status, context.now, None
    payment.amount_received, payment.received_currency = intent.amount_received, intent.currency
    payment.verified_at = None if intent.from_event else context.now
    session.flush()
    if (intent.amount_received, intent.currency) != (payment.amount, payment.currency):
        return _close_and_refund(context, "mismatch")
    if remaining(session, payment) == 0:
        # Refunded in Stripe's dashboard, or lost in a dispute, before its success was applied.
        return _close_and_refund(context, "already_refunded")
    if not is_upcoming(order.event, context.now):
        return _close_and_refund(context, "no_event")
    if order.status.is_abandoned and not _hold_again(context):
        return _close_and_refund(context, "too_late")
    fulfill(session, order, context.trigger, context.now)
    # Stripe may have reported a dispute before the payment that it is about.
    if get_disputes(session, order.id):
        apply_disputes(session, context.shop, order)
    return Outcome.PAID


def _hold_again(context: SyncContext) -> bool:
    """Holds the stock of an order whose hold had ended; false if there is not enough left."""
    try:
        with context.session.begin_nested():
            stock.hold(context.session, context.order.event_id, context.order.quantities)
    except stock.SoldOut:
        return False
    return True


def _close_and_refund(context: SyncContext, reason: str) -> Outcome:
    """Ends the order as refunded, and refunds what is left of the payment."""
    session, order, payment, now = context.session, context.order, context.payment, context.now
    amount = remaining(session, payment)
    if order.status.holds_stock:
        stock.release(session, order.event_id, order.quantities)
    transition(session, order, OrderStatus.REFUNDED, context.trigger, now)
    if amount > 0:
        request_refund(session, payment, amount, reason, now)
        money = {"amount": amount, "currency": payment.received_currency}
        raise_alert(session, _ALERTS[reason], str(payment.id), order, now, **money)
        key, payload = f"refunded-{order.token}", {"order": order.id, "reason": reason, **money}
        outbox.put(session, "refunded_late", key, payload, now)
    return Outcome.REFUNDING


def _processing(context: SyncContext) -> Outcome:
    if context.order.status != OrderStatus.HELD:
        return Outcome.UNCHANGED
    now = context.now
    transition(context.session, context.order, OrderStatus.PROCESSING, context.trigger, now)
    key, payload = f"processing-{context.payment.id}", {"order": context.order.id}
    due = now + _PROCESSING_MAIL_DELAY
    outbox.put(context.session, "payment_processing", key, payload, now, due=due)
    return Outcome.PROCESSING


def _canceled(context: SyncContext) -> Outcome:
    """Nobody can pay it any more: the hold ends, and the stock is for sale again."""
    order, now = context.order, context.now
    if not order.status.holds_stock:
        return Outcome.UNCHANGED
    expired = order.expires_at <= now and context.trigger != Trigger.BUYER
    stock.release(context.session, order.event_id, order.quantities)
    to = OrderStatus.EXPIRED if expired else OrderStatus.CANCELED
    transition(context.session, order, to, context.trigger, now)
    return Outcome.ENDED
