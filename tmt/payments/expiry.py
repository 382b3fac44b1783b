"""The end of a hold: only when nobody can pay for it any more.

A PaymentIntent that Stripe has confirmed as canceled ends the hold; one that succeeded meanwhile
settles the order; one on its way keeps the places; no answer keeps them too, until the next try.
"""

from __future__ import annotations

import structlog
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.checkout.holds import overdue
from tmt.checkout.states import CANCELED, EXPIRED, HELD, Cause, locked_order, move
from tmt.gateway import contract
from tmt.gateway.contract import Gateway, StripeUnavailable, WrongState
from tmt.payments.settle import settle
from tmt.payments.start import newest_payment
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# So many orders that Stripe does not answer about are no longer about the orders.
_PATIENCE = 3


def end_overdue_holds(shop: Shop, gateway: Gateway) -> None:
    """Ends every hold whose time is up, each on its own; for the jobs, every minute."""
    with shop.db.reading() as session:
        orders = overdue(session, shop.clock.now(), shop.settings.livemode)
    silent = 0
    for order_id in orders:
        try:
            end_hold(shop, gateway, order_id, Cause.EXPIRY)
        except StripeUnavailable:
            silent += 1
            if silent == _PATIENCE:
                # The others would wait as long; the next minute is the next try.
                log.warning("holds.stripe_silent", overdue=len(orders))
                return
        except Exception as error:  # noqa: BLE001 - one bad order must not keep the others
            log.warning("hold.not_ended", order_id=order_id, error=f"{type(error).__name__}")


def end_hold(shop: Shop, gateway: Gateway, order_id: int, cause: Cause) -> None:
    """Ends the order's hold, by its expiry or because the buyer gives up.

    When the PaymentIntent turns out to be paid or on its way, the order is settled as such
    instead. Raises `GatewayError` with the hold kept when Stripe does not say.
    """
    unpaid = shop.db.transaction(lambda s: _end_unpaid(s, shop, order_id, cause))
    if unpaid is None:
        return
    # Looked at first: a bank debit on its way can be canceled too, and must not be.
    intent = gateway.retrieve_payment_intent(unpaid)
    if intent.status not in (contract.PROCESSING, contract.SUCCEEDED, contract.CANCELED):
        try:
            intent = gateway.cancel_payment_intent(unpaid)
        except WrongState:
            intent = gateway.retrieve_payment_intent(unpaid)
    settle(shop, intent, cause)


def _end_unpaid(session: Session, shop: Shop, order_id: int, cause: Cause) -> str | None:
    """Ends a hold that no PaymentIntent stands behind; else the id of the one to cancel."""
    order, now = locked_order(session, order_id), shop.clock.now()
    if order.status != HELD or (cause == Cause.EXPIRY and order.expires_at > now):
        return None
    payment = newest_payment(session, order_id)
    if payment and payment.payment_intent and payment.status != contract.CANCELED:
        return payment.payment_intent
    if payment:
        payment.status = contract.CANCELED
    stock.release(session, order.event_id, order.places)
    move(session, order, EXPIRED if cause == Cause.EXPIRY else CANCELED, cause, now)
    log.info("hold.ended", order=order.code, cause=cause.value)
    return None
