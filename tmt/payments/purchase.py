"""Buying: the order, its payment and, if it costs nothing, its fulfilment, in one transaction."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.models import Order
from tmt.checkout.orders import find_by_checkout_token, place_order
from tmt.checkout.states import Trigger
from tmt.core.errors import DomainError
from tmt.payments.intents import add_payment
from tmt.payments.sync import fulfill
from tmt.shop import Shop

log = structlog.get_logger(__name__)


def purchase(shop: Shop, slug: str, request: CheckoutRequest, locale: str) -> Order:
    """Reserves the tickets and writes the order, once for each checkout token.

    The same token gives the same order again. The PaymentIntent is created when the pay page is
    first opened. Raises what `place_order` raises, with nothing reserved.
    """

    def unit(session: Session) -> Order:
        order = place_order(session, shop, slug, request, locale)
        if order.total:
            add_payment(session, shop, order, order.created_at)
        else:
            fulfill(session, order, Trigger.FREE, order.created_at)
        return order

    try:
        order = shop.db.transaction(unit)
    except (IntegrityError, DomainError):
        # The token's order may exist already, and may be the one that has the last tickets.
        with shop.db.reading() as reading:
            existing = find_by_checkout_token(reading, request.checkout_token)
        if existing is None:
            raise
        return existing
    log.info("order.placed", order=order.code, amount=order.total, currency=order.currency)
    return order
