"""The end of a hold: only when nobody can pay for it any more.

A PaymentIntent that Stripe has confirmed as canceled ends the hold; one that succeeded meanwhile
pays the order; one that is processing keeps the hold; no answer keeps it too, until the next try.
So does a slip that the buyer can still pay, and what Stripe asks of them that is not known here.
An order that has not stored a PaymentIntent ends without a call to Stripe.

For orders of another mode or account see `foreign_holds.py`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.checkout.holds import overdue
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import is_own_order, own_orders
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.gateway.errors import InvalidState, StripeNotFound, StripeUnreachable
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import ActionPlace, PaymentIntent, PaymentIntentStatus
from tmt.payments.alerts import alert_missing
from tmt.payments.balances import get_payment
from tmt.payments.foreign_holds import end_elsewhere, overdue_elsewhere
from tmt.payments.models import Payment
from tmt.payments.slips import NOT_THE_BUYERS, waits_until
from tmt.payments.sync import read_payment_intent, sync_payment_intent
from tmt.shop import Shop

log = structlog.get_logger(__name__)

_MAX_SLIPS = 500
_MISSING_GRACE = timedelta(hours=1)


def has_overdue_holds(shop: Shop) -> bool:
    """Whether the time of any hold or slip is up."""
    now = shop.clock.now()
    queries = (overdue, _overdue_slips, overdue_elsewhere)
    with shop.db.reading() as session:
        return any(query(session, shop, now, limit=1) for query in queries)


def end_overdue_holds(shop: Shop, gateway: Gateway) -> None:
    """Ends every hold whose time is up, each on its own; for the jobs, every minute.

    With a gateway that asks Stripe no more once it has not answered, the other holds still end that
    need no call.
    """
    now = shop.clock.now()
    with shop.db.reading() as session:
        orders = [*overdue(session, shop, now), *_overdue_slips(session, shop, now)]
        elsewhere = overdue_elsewhere(session, shop, now)
    for order_id in elsewhere:
        end_elsewhere(shop, order_id, Trigger.EXPIRY)
    # Those that Stripe is silent about must not keep the same others each time.
    random.shuffle(orders)
    unreachable = 0
    for order_id in orders:
        try:
            end_hold(shop, gateway, order_id, Trigger.EXPIRY)
        except StripeUnreachable:
            unreachable += 1
        except Exception as error:  # noqa: BLE001 - one bad order must not stop the others
            log.warning("hold.end_failed", order_id=order_id, error=type(error).__name__)
    if unreachable:
        log.warning("holds.stripe_unreachable", overdue=unreachable)


def end_hold(shop: Shop, gateway: Gateway, order_id: int, trigger: Trigger) -> None:
    """Ends the order's hold, because its time is up or the buyer gives up.

    When the PaymentIntent turns out to be paid or processing, the order is synced with it instead.
    That of another mode or account ends only if the buyer gives it up. Raises `GatewayError`, with
    the hold kept, when Stripe does not answer; when it does not know the PaymentIntent, see
    `_end_missing`.
    """
    with shop.db.reading() as session:
        is_own = is_own_order(session, order_id)
    if not is_own:
        if trigger == Trigger.BUYER:
            end_elsewhere(shop, order_id, trigger)
        return
    payment_intent = shop.db.transaction(lambda s: _end_without_stripe(s, shop, order_id, trigger))
    if payment_intent is None:
        return
    # Retrieved first: a bank debit that is processing can be canceled too, and must not be.
    try:
        intent = read_payment_intent(shop, gateway, payment_intent)
    except StripeNotFound:
        if not shop.db.transaction(lambda s: _end_missing(s, shop, order_id, trigger)):
            raise
        return
    if not intent.status.is_final and not _must_wait(intent, trigger, shop.clock.now()):
        try:
            intent = gateway.cancel_payment_intent(payment_intent)
        except InvalidState:
            intent = read_payment_intent(shop, gateway, payment_intent)
    sync_payment_intent(shop, intent, trigger)


def _must_wait(intent: PaymentIntent, trigger: Trigger, now: datetime) -> bool:
    """Whether a PaymentIntent that is not final must not be canceled yet.

    The buyer may give up what waits for them alone, and nobody needs it for a canceled event;
    Stripe refuses if it has been paid, or is a slip that cannot be taken back.
    """
    if intent.status == PaymentIntentStatus.PROCESSING or not intent.status.is_known:
        return True
    if trigger in (Trigger.BUYER, Trigger.EVENT):
        return False
    deadline = waits_until(intent)
    return intent.action_place == ActionPlace.UNKNOWN or (deadline is not None and now < deadline)


def _overdue_slips(
    session: Session, shop: Shop, now: datetime, limit: int = _MAX_SLIPS
) -> Sequence[int]:
    """The ids of orders that waited for the buyer elsewhere until now, oldest first."""
    query = (
        select(Order.id)
        .join(Payment, Payment.order_id == Order.id)
        .where(
            Order.status == OrderStatus.PROCESSING,
            Order.expires_at <= now,
            own_orders(shop.db.account),
            Payment.status.not_in(NOT_THE_BUYERS),
        )
    )
    return session.scalars(query.order_by(Order.expires_at).limit(limit)).all()


def _end_without_stripe(
    session: Session, shop: Shop, order_id: int, trigger: Trigger
) -> str | None:
    """Ends a hold that has no PaymentIntent; otherwise the id of the one to cancel first."""
    order, now = lock_order(session, order_id), shop.clock.now()
    payment = get_payment(session, order_id)
    expired = trigger == Trigger.EXPIRY
    if not _waits_for_buyer(order, payment, trigger) or (expired and order.expires_at > now):
        return None
    if payment:
        if payment.payment_intent_id and payment.status != PaymentIntentStatus.CANCELED:
            return payment.payment_intent_id
        payment.status = PaymentIntentStatus.CANCELED
    stock.release(session, order.event_id, order.quantities)
    to = OrderStatus.EXPIRED if expired else OrderStatus.CANCELED
    transition(session, order, to, trigger, now)
    log.info("hold.ended", order=order.code, trigger=trigger.value)
    return None


def _end_missing(session: Session, shop: Shop, order_id: int, trigger: Trigger) -> bool:
    """Ends a hold whose PaymentIntent does not exist at Stripe, with an alert; whether it did.

    Nobody can pay it with these keys. A hold that only ran out is kept for an hour more, in which
    keys that were mistaken for others can be put right.
    """
    order, now = lock_order(session, order_id), shop.clock.now()
    payment = get_payment(session, order_id)
    if payment is None or not _waits_for_buyer(order, payment, trigger):
        return True
    alert_missing(session, order, payment, now)
    expired = trigger == Trigger.EXPIRY
    if expired and now < order.expires_at + _MISSING_GRACE:
        return False
    stock.release(session, order.event_id, order.quantities)
    to = OrderStatus.EXPIRED if expired else OrderStatus.CANCELED
    transition(session, order, to, trigger, now)
    log.warning("hold.ended_missing", order=order.code, trigger=trigger.value)
    return True


def _waits_for_buyer(order: Order, payment: Payment | None, trigger: Trigger) -> bool:
    """Whether the order waits for its buyer, and no bank has to decide first."""
    return order.status == OrderStatus.HELD or (
        order.status == OrderStatus.PROCESSING
        and trigger in (Trigger.EXPIRY, Trigger.BUYER, Trigger.EVENT)
        and payment is not None
        and payment.status not in NOT_THE_BUYERS
    )
