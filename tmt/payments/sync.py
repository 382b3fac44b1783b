"""Sync: applies a PaymentIntent to its order. `fulfill` is the one place where an order is paid.

Webhook, return page, pay page, the JSON endpoint, the reconciler and the end of a hold all call
`sync_payment_intent` with what they read from Stripe. The first one applies it, under the order's
lock, in one transaction; the others find it done. A PaymentIntent pays an order only if
its id is stored on that order, and only with the order's amount and currency.

Answers of Stripe's may overtake each other. One that succeeded or was canceled stays true; any
other is applied only if nothing else was since it was asked for, which `Payment.version` shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from tmt.gateway.errors import AuthenticationFailed, InvalidRequest
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import ActionPlace, NextAction, PaymentIntent, PaymentIntentStatus
from tmt.payments.alerts import raise_alert
from tmt.payments.balances import get_disputes, lock_payment, remaining
from tmt.payments.declines import put_decline_mail, put_off_decline_mail
from tmt.payments.disputes import apply_disputes
from tmt.payments.models import Payment
from tmt.payments.refunds import request_refund
from tmt.payments.refusals import report_refusal
from tmt.payments.slips import method_without_refunds, slip_expiry, waits_until
from tmt.shop import Shop
from tmt.tickets.issue import issue

log = structlog.get_logger(__name__)

# The alert for each reason why a payment is refunded at once.
_ALERTS = {"mismatch": "amount_mismatch", "too_late": "too_late", "no_event": "no_event"}
# A card payment has succeeded or failed by then; only a bank debit is worth a mail.
_PROCESSING_MAIL_DELAY = timedelta(minutes=10)
# An action that is not known, or a slip that Stripe will not cancel, is looked at again so often.
_LOOK_AGAIN = timedelta(hours=1)
# How often a read that was overtaken is repeated at once.
_READS = 3


class Outcome(StrEnum):
    """What a sync found or did; `STALE` is what was overtaken, and not applied."""

    UNKNOWN_INTENT = "unknown_intent"
    UNCHANGED = "unchanged"
    STALE = "stale"
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


def read_payment_intent(shop: Shop, gateway: Gateway, payment_intent: str) -> PaymentIntent:
    """The PaymentIntent as Stripe has it now, to be synced; raises `GatewayError`."""
    query = select(Payment.version).where(Payment.payment_intent_id == payment_intent)
    with shop.db.reading() as session:
        version = session.scalar(query)
    try:
        return replace(gateway.retrieve_payment_intent(payment_intent), version=version)
    except InvalidRequest as error:
        # A wrong id is a caller's mistake; the shop's own PaymentIntents must be readable.
        if version is not None and not isinstance(error, AuthenticationFailed):
            report_refusal(shop, "payment_intents.retrieve", error)
        raise


def sync_from_stripe(
    shop: Shop,
    gateway: Gateway,
    payment_intent: str,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> tuple[PaymentIntent, Outcome]:
    """Retrieves the PaymentIntent and syncs it; again when something else was faster.

    The outcome is `STALE` only if that happened several times in a row. Raises `GatewayError`.
    """
    for _ in range(_READS):
        intent = read_payment_intent(shop, gateway, payment_intent)
        outcome = sync_payment_intent(shop, intent, trigger, in_transaction)
        if outcome != Outcome.STALE:
            break
    return intent, outcome


def sync_payment_intent(
    shop: Shop,
    intent: PaymentIntent,
    trigger: Trigger,
    in_transaction: Callable[[Session], None] | None = None,
) -> Outcome:
    """Applies the PaymentIntent to its order, any number of times, in any order.

    `in_transaction` runs in the same transaction, whatever the outcome but `STALE`. Makes no
    network call.
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
        if in_transaction and outcome != Outcome.STALE:
            in_transaction(session)
        return outcome, code

    outcome, code = shop.db.transaction(unit)
    if outcome not in (Outcome.UNKNOWN_INTENT, Outcome.UNCHANGED, Outcome.STALE):
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


def _is_news(payment: Payment, intent: PaymentIntent) -> bool:
    """Whether the PaymentIntent says anything that its row does not."""
    action, slip = intent.next_action, intent.slip
    at_stripe = (intent.status, intent.error_code, intent.payment_method)
    in_row = (payment.status, payment.error_code, payment.payment_method_id)
    if at_stripe != in_row or (action.type if action else None) != payment.next_action:
        return True
    return slip is not None and (slip.url, slip_expiry(slip)) != (
        payment.slip_url,
        payment.slip_expires_at,
    )


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
    news = _is_news(payment, intent)
    if news and intent.status != PaymentIntentStatus.CANCELED and intent.version != payment.version:
        return Outcome.STALE
    new_error = intent.error_code not in (None, payment.error_code)
    new_attempt = payment.payment_method_id not in (None, intent.payment_method)
    payment.version += news
    payment.status, payment.error_code = intent.status, intent.error_code
    payment.payment_method_id = intent.payment_method
    payment.next_action = intent.next_action.type if intent.next_action else None
    if intent.status == PaymentIntentStatus.CANCELED:
        return _canceled(context)
    if intent.status == PaymentIntentStatus.PROCESSING:
        return _processing(context, new_attempt)
    if intent.slip:
        return _slip(context, intent.slip, new_attempt)
    if not intent.status.is_known:
        details = {"payment_intent": intent.id, "status": str(intent.status)}
        raise_alert(context.session, "unknown_status", intent.id, order, context.now, **details)
        return Outcome.UNCHANGED
    if intent.action_place == ActionPlace.UNKNOWN:
        return _unknown_action(context)
    if order.status == OrderStatus.PROCESSING and intent.error_code:
        return _refused(context)
    if order.status == OrderStatus.HELD:
        _buyer_tried(context, new_error)
    if order.status == OrderStatus.PROCESSING and payment.slip_type and news:
        # The buyer is trying another way instead of the slip: that takes minutes, not days.
        order.expires_at = min(order.expires_at, context.now + _hold(context))
    return Outcome.FAILED if new_error else Outcome.UNCHANGED


def _buyer_tried(context: SyncContext, was_declined: bool) -> None:
    """Sees to the mail that a buyer gets who was declined and has left."""
    session, order, now = context.session, context.order, context.now
    if was_declined:
        put_decline_mail(session, order, context.intent.method_types, now)
    elif context.trigger == Trigger.WEBHOOK:
        # Another try, and be it one that was declined for the same reason.
        put_off_decline_mail(session, order, now)


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
    paid_by = payment.slip_type if intent.payment_method == payment.payment_method_id else None
    _forget_slip(payment)
    payment.slip_type = paid_by
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
        if not method_without_refunds(payment):
            raise_alert(session, _ALERTS[reason], str(payment.id), order, now, **money)
        key, payload = f"refunded-{order.token}", {"order": order.id, "reason": reason, **money}
        outbox.put(session, "refunded_late", key, payload, now)
    return Outcome.REFUNDING


def _processing(context: SyncContext, new_attempt: bool) -> Outcome:
    """A bank is at it: with a debit, or with what the buyer paid elsewhere."""
    order, payment, now = context.order, context.payment, context.now
    if order.status != OrderStatus.HELD and not (
        order.status == OrderStatus.PROCESSING and new_attempt
    ):
        return Outcome.UNCHANGED
    _forget_slip(payment)
    _begin_attempt(context)
    key, payload = f"processing-{payment.id}-{payment.attempt}", {"order": order.id}
    due = now + _PROCESSING_MAIL_DELAY
    outbox.put(context.session, "payment_processing", key, payload, now, due=due)
    return Outcome.PROCESSING


def _slip(context: SyncContext, slip: NextAction, new_attempt: bool) -> Outcome:
    """The buyer has a voucher or a bank account to pay to: the tickets wait as long as that."""
    order, payment, now = context.order, context.payment, context.now
    if not order.status.holds_stock:
        return Outcome.UNCHANGED
    deadline = waits_until(context.intent)
    if deadline is None:
        raise ValueError(f"{slip.type} of {context.intent.id} waits for nothing")
    is_new = order.status == OrderStatus.HELD or new_attempt
    payment.slip_type, payment.slip_url = slip.type, slip.url
    payment.slip_expires_at = slip_expiry(slip)
    # After it, Stripe is asked to cancel; if it will not, it is asked again.
    order.expires_at = deadline if deadline > now else now + _LOOK_AGAIN
    if not is_new:
        return Outcome.UNCHANGED
    _begin_attempt(context)
    key = f"payment_slip-{payment.id}-{payment.attempt}"
    payload = {"order": order.id, "attempt": payment.attempt}
    outbox.put(context.session, "payment_slip", key, payload, now)
    return Outcome.PROCESSING


def _begin_attempt(context: SyncContext) -> None:
    context.payment.attempt += 1
    if context.order.status == OrderStatus.HELD:
        to = OrderStatus.PROCESSING
        transition(context.session, context.order, to, context.trigger, context.now)


def _unknown_action(context: SyncContext) -> Outcome:
    """Nobody here knows what the buyer has to do: canceling it might take a slip from their hand.

    When the hold's time is up, the order waits until Stripe says how it ended.
    """
    order, intent, now = context.order, context.intent, context.now
    if not order.status.holds_stock or order.expires_at > now:
        return Outcome.UNCHANGED
    order.expires_at = now + _LOOK_AGAIN
    kind = intent.next_action.type if intent.next_action else "none"
    details = {"payment_intent": intent.id, "next_action": kind}
    raise_alert(context.session, "unknown_action", intent.id, order, now, **details)
    if order.status == OrderStatus.PROCESSING:
        return Outcome.UNCHANGED
    _begin_attempt(context)
    return Outcome.PROCESSING


def _refused(context: SyncContext) -> Outcome:
    """A bank did not pay, or a slip lapsed: another method can be used while the hold lasts."""
    session, order, payment, now = context.session, context.order, context.payment, context.now
    was_slip, expiry = payment.slip_type is not None, payment.slip_expires_at
    if was_slip:
        # The hold was as long as the slip's. Who let it lapse has had time enough.
        order.expires_at = now if expiry and expiry <= now else now + _hold(context)
    _forget_slip(payment)
    transition(session, order, OrderStatus.HELD, context.trigger, now)
    key = f"payment_failed-{order.token}-{payment.attempt}"
    payload = {"order": order.id, "slip": was_slip}
    outbox.put(session, "payment_failed", key, payload, now)
    return Outcome.FAILED


def _hold(context: SyncContext) -> timedelta:
    return timedelta(minutes=context.shop.settings.hold_minutes)


def _forget_slip(payment: Payment) -> None:
    payment.slip_type = payment.slip_url = payment.slip_expires_at = None


def _canceled(context: SyncContext) -> Outcome:
    """Nobody can pay it any more: the hold ends, and the stock is for sale again."""
    order, now = context.order, context.now
    _forget_slip(context.payment)
    if not order.status.holds_stock:
        return Outcome.UNCHANGED
    expired = order.expires_at <= now and context.trigger != Trigger.BUYER
    stock.release(context.session, order.event_id, order.quantities)
    to = OrderStatus.EXPIRED if expired else OrderStatus.CANCELED
    transition(context.session, order, to, context.trigger, now)
    return Outcome.ENDED
