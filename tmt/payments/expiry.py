"""The end of a hold: only when nobody can pay for it any more.

A PaymentIntent that Stripe has confirmed as canceled ends the hold; one that succeeded meanwhile
pays the order; one that is processing keeps the hold; no answer keeps it too, until the next try.
An order that has not stored a PaymentIntent ends without a call to Stripe.

An order of another mode or account, whose keys this process has not, cannot be canceled at Stripe.
Its hold ends all the same, later: a payment that succeeds after that goes the way of a late one,
and the reconciler of its own mode cancels what is still open.
"""

from __future__ import annotations

import structlog
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.checkout.holds import overdue, overdue_elsewhere
from tmt.checkout.models import OrderStatus
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.gateway.errors import InvalidState, StripeUnreachable
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import PaymentIntentStatus
from tmt.payments.balances import get_payment
from tmt.payments.sync import sync_payment_intent
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# After so many orders without an answer, Stripe is down and the next run is the next try.
_MAX_UNREACHABLE = 3


def end_overdue_holds(shop: Shop, gateway: Gateway) -> None:
    """Ends every hold whose time is up, each on its own; for the jobs, every minute."""
    with shop.db.reading() as session:
        orders = overdue(session, shop, shop.clock.now())
        elsewhere = overdue_elsewhere(session, shop, shop.clock.now())
    for order_id in elsewhere:
        _end_elsewhere(shop, order_id)
    unreachable = 0
    for order_id in orders:
        try:
            end_hold(shop, gateway, order_id, Trigger.EXPIRY)
        except StripeUnreachable:
            unreachable += 1
            if unreachable == _MAX_UNREACHABLE:
                log.warning("holds.stripe_unreachable", overdue=len(orders))
                return
        except Exception as error:  # noqa: BLE001 - one bad order must not stop the others
            log.warning("hold.end_failed", order_id=order_id, error=type(error).__name__)


def end_hold(shop: Shop, gateway: Gateway, order_id: int, trigger: Trigger) -> None:
    """Ends the order's hold, because its time is up or the buyer gives up.

    When the PaymentIntent turns out to be paid or processing, the order is synced with it instead.
    Raises `GatewayError`, with the hold kept, when Stripe does not answer.
    """
    payment_intent = shop.db.transaction(lambda s: _end_without_stripe(s, shop, order_id, trigger))
    if payment_intent is None:
        return
    # Retrieved first: a bank debit that is processing can be canceled too, and must not be.
    intent = gateway.retrieve_payment_intent(payment_intent)
    waits = intent.status == PaymentIntentStatus.PROCESSING or not intent.status.is_known
    if not waits and not intent.status.is_final:
        try:
            intent = gateway.cancel_payment_intent(payment_intent)
        except InvalidState:
            intent = gateway.retrieve_payment_intent(payment_intent)
    sync_payment_intent(shop, intent, trigger)


def _end_elsewhere(shop: Shop, order_id: int) -> None:
    """Ends the hold of an order of another mode or account; its payment keeps its status."""

    def unit(session: Session) -> str | None:
        order, now = lock_order(session, order_id), shop.clock.now()
        if not overdue_elsewhere(session, shop, now, order_id):
            return None
        stock.release(session, order.event_id, order.quantities)
        transition(session, order, OrderStatus.EXPIRED, Trigger.EXPIRY, now)
        return order.code

    if code := shop.db.transaction(unit):
        log.warning("hold.ended_elsewhere", order=code, trigger=Trigger.EXPIRY.value)


def _end_without_stripe(
    session: Session, shop: Shop, order_id: int, trigger: Trigger
) -> str | None:
    """Ends a hold that has no PaymentIntent; otherwise the id of the one to cancel first."""
    order, now = lock_order(session, order_id), shop.clock.now()
    expired = trigger == Trigger.EXPIRY
    if order.status != OrderStatus.HELD or (expired and order.expires_at > now):
        return None
    payment = get_payment(session, order_id)
    if payment:
        if payment.payment_intent_id and payment.status != PaymentIntentStatus.CANCELED:
            return payment.payment_intent_id
        payment.status = PaymentIntentStatus.CANCELED
    stock.release(session, order.event_id, order.quantities)
    to = OrderStatus.EXPIRED if expired else OrderStatus.CANCELED
    transition(session, order, to, trigger, now)
    log.info("hold.ended", order=order.code, trigger=trigger.value)
    return None
