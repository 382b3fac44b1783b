"""Settling: the one place where an order becomes paid.

Webhook, return page, order page, the JSON endpoint and the end of a hold all bring what Stripe
says of a PaymentIntent here. Whoever comes first does it, under the order's lock, in one
transaction; the others find it done. A PaymentIntent pays an order only if its id is stored on
that order, and only with the order's amount and currency.
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
from tmt.catalog.listing import takes_place
from tmt.checkout.models import Order
from tmt.checkout.states import (
    CANCELED,
    ENDED,
    EXPIRED,
    HELD,
    PAID,
    PROCESSING,
    REFUNDED,
    Cause,
    move,
)
from tmt.core import metrics, outbox
from tmt.gateway import contract
from tmt.gateway.contract import PaymentIntent
from tmt.payments.disputes import apply_disputes
from tmt.payments.ledger import disputes_of, left_of, locked_payment
from tmt.payments.models import Payment
from tmt.payments.notices import notify
from tmt.payments.refunds import owe_refund
from tmt.shop import Shop
from tmt.tickets.issue import issue

log = structlog.get_logger(__name__)


# What the organiser is told of money that goes back at once.
NOTICES = {
    "mismatch": "amount_mismatch",
    "paid_twice": "paid_twice",
    "too_late": "too_late",
    "no_event": "no_event",
}
_CARD_TAKES = timedelta(minutes=10)


class Outcome(StrEnum):
    """What settling found or did."""

    NOT_OURS = "not_ours"
    UNCHANGED = "unchanged"
    PAID = "paid"
    PROCESSING = "processing"
    FAILED = "failed"
    ENDED = "ended"
    REFUNDING = "refunding"


@dataclass(frozen=True)
class _Case:
    """One PaymentIntent against its locked payment and order."""

    session: Session
    shop: Shop
    order: Order
    payment: Payment
    intent: PaymentIntent
    cause: Cause
    now: datetime


def settle(
    shop: Shop,
    intent: PaymentIntent,
    cause: Cause,
    also: Callable[[Session], None] | None = None,
) -> Outcome:
    """Applies what Stripe says of the PaymentIntent, any number of times, in any order.

    `also` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def unit(session: Session) -> tuple[Outcome, str | None]:
        found = locked_payment(session, intent.id)
        outcome, code = Outcome.NOT_OURS, None
        if found:
            order, payment = found
            code = order.code
            case = _Case(session, shop, order, payment, intent, cause, shop.clock.now())
            outcome = _apply(case)
        if also:
            also(session)
        return outcome, code

    outcome, code = shop.db.transaction(unit)
    if outcome not in (Outcome.NOT_OURS, Outcome.UNCHANGED):
        metrics.settled.labels(outcome.value, cause.value).inc()
        log.info(
            f"payment.{outcome}",
            order=code,
            payment_intent=intent.id,
            amount=intent.amount,
            currency=intent.currency,
            cause=cause.value,
        )
        shop.jobs.nudge("outbox")
    return outcome


def is_ours(shop: Shop, payment_intent: str) -> bool:
    """Whether a PaymentIntent of this id is stored on one of the shop's orders."""
    query = select(Payment.id).where(Payment.payment_intent == payment_intent)
    with shop.db.reading() as session:
        return session.scalar(query) is not None


def is_awaited(shop: Shop, code: object) -> bool:
    """Whether the held order of this code waits for a PaymentIntent that it has not stored."""
    query = (
        select(Payment.id)
        .join(Order, Order.id == Payment.order_id)
        .where(Order.code == str(code), Order.status == HELD, Payment.payment_intent.is_(None))
    )
    with shop.db.reading() as session:
        return session.scalar(query) is not None


def settle_free(session: Session, order: Order, now: datetime) -> None:
    """Pays an order over nothing, in the transaction that places it."""
    _pay(session, order, Cause.FREE, now)


def _apply(case: _Case) -> Outcome:
    if case.payment.status == contract.SUCCEEDED:
        return Outcome.UNCHANGED
    if case.intent.status == contract.SUCCEEDED:
        return _succeeded(case)
    if case.payment.status == contract.CANCELED:
        return Outcome.UNCHANGED
    before = case.payment.error_code
    case.payment.status = case.intent.status
    case.payment.error_code = case.intent.error_code
    if case.intent.status == contract.CANCELED:
        return _canceled(case)
    if case.intent.status == contract.PROCESSING:
        return _processing(case)
    if case.order.status == PROCESSING:
        return _bank_refused(case)
    return Outcome.FAILED if case.intent.error_code not in (None, before) else Outcome.UNCHANGED


def _succeeded(case: _Case) -> Outcome:
    payment, intent, order = case.payment, case.intent, case.order
    payment.status, payment.succeeded_at, payment.error_code = intent.status, case.now, None
    payment.amount_received, payment.received_currency = intent.amount_received, intent.currency
    case.session.flush()
    reason = _why_not(case)
    if reason:
        return _give_back(case, reason)
    if order.status in ENDED and not _taken_again(case):
        return _give_back(case, "too_late")
    _pay(case.session, order, case.cause, case.now)
    # A dispute can have been told before the payment that it is about.
    if disputes_of(case.session, order.id):
        apply_disputes(case.session, case.shop, order)
    return Outcome.PAID


def _why_not(case: _Case) -> str | None:
    """Why the money that has come cannot pay its order, if so."""
    payment, intent, order = case.payment, case.intent, case.order
    if (intent.amount_received, intent.currency) != (payment.amount, payment.currency):
        return "mismatch"
    if order.status in (PAID, REFUNDED):
        return "paid_twice"
    if left_of(case.session, payment) == 0:
        # Given back already, in Stripe's dashboard or by a bank: told before the payment was.
        return "gone_again"
    if not takes_place(order.event, case.now):
        return "no_event"
    return None


def _taken_again(case: _Case) -> bool:
    """Holds the places of an ended order again, if there are as many."""
    try:
        with case.session.begin_nested():
            stock.hold(case.session, case.order.event_id, case.order.places)
    except stock.SoldOut:
        return False
    return True


def _pay(session: Session, order: Order, cause: Cause, now: datetime) -> None:
    stock.sell(session, order.event_id, order.places)
    issue(session, order, now)
    move(session, order, PAID, cause, now)
    key = f"confirmation-{order.token}"
    outbox.put(session, "confirmation", key, {"order": order.id}, now)


def _give_back(case: _Case, reason: str) -> Outcome:
    """Owes the buyer all that was received; an order that nothing else paid ends as refunded."""
    order, payment = case.order, case.payment
    left = left_of(case.session, payment)
    if left > 0:
        owe_refund(case.session, payment, left, reason, case.now)
        details = {"amount": left, "currency": payment.received_currency}
        notify(case.session, NOTICES[reason], str(payment.id), order, case.now, **details)
    if order.status not in (PAID, REFUNDED):
        if order.status in (HELD, PROCESSING):
            stock.release(case.session, order.event_id, order.places)
        move(case.session, order, REFUNDED, case.cause, case.now)
        if left > 0:
            money = {"amount": left, "currency": payment.received_currency}
            payload = {"order": order.id, "reason": reason, **money}
            key = f"refunded-{order.token}"
            outbox.put(case.session, "refunded_late", key, payload, case.now)
    return Outcome.REFUNDING


def _processing(case: _Case) -> Outcome:
    if case.order.status != HELD:
        return Outcome.UNCHANGED
    move(case.session, case.order, PROCESSING, case.cause, case.now)
    # A card is through before this is due; only who waits for a bank is written to.
    key, payload = f"processing-{case.payment.id}", {"order": case.order.id}
    due = case.now + _CARD_TAKES
    outbox.put(case.session, "on_its_way", key, payload, case.now, due=due)
    return Outcome.PROCESSING


def _bank_refused(case: _Case) -> Outcome:
    if case.order.status == PROCESSING:
        move(case.session, case.order, HELD, case.cause, case.now)
        key, payload = f"bank_refused-{case.order.token}", {"order": case.order.id}
        outbox.put(case.session, "bank_refused", key, payload, case.now)
    return Outcome.FAILED


def _canceled(case: _Case) -> Outcome:
    """Nobody can pay it any more: the hold ends, and the places are for sale again."""
    if case.order.status not in (HELD, PROCESSING):
        return Outcome.UNCHANGED
    late = case.order.expires_at <= case.now and case.cause != Cause.BUYER
    stock.release(case.session, case.order.event_id, case.order.places)
    move(case.session, case.order, EXPIRED if late else CANCELED, case.cause, case.now)
    return Outcome.ENDED
