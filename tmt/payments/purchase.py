"""Buying: the order, its payment and, if it costs nothing, its fulfilment, in one transaction."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tmt.checkout.buyer_limits import Origin, admit, is_from
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.models import Order
from tmt.checkout.orders import find_by_checkout_token, place_order
from tmt.checkout.pricing import BenefitsOf
from tmt.checkout.states import Trigger
from tmt.core import outbox
from tmt.core.errors import DomainError
from tmt.customers.models import Customer
from tmt.payments.intents import add_payment
from tmt.payments.sync import fulfill
from tmt.shop import Shop

log = structlog.get_logger(__name__)


class CheckoutTokenUsed(DomainError):
    """Another browser's session has placed an order with this checkout token."""


def purchase(
    shop: Shop,
    slug: str,
    request: CheckoutRequest,
    locale: str,
    origin: Origin | None = None,
    customer: Customer | None = None,
    benefits_of: BenefitsOf | None = None,
) -> Order:
    """Reserves the tickets and writes the order, once for each checkout token.

    The same token gives the same order again, to the session that placed it. The PaymentIntent is
    created when the pay page is first opened. Without an `origin` no limits of buyers apply. The
    order is of the `customer` who is signed in, with the benefits that these have, or else of the
    one with its e-mail address.
    Raises what `place_order` and `admit` raise, or `CheckoutTokenUsed`, with nothing reserved.
    """

    def unit(session: Session) -> Order:
        order = place_order(session, shop, slug, request, locale, customer, benefits_of)
        must_confirm = origin is not None and admit(session, shop, order, origin)
        if order.total:
            add_payment(session, shop, order, order.created_at)
        elif must_confirm:
            payload, now = {"order": order.id}, order.created_at
            outbox.put(session, "confirm_email", f"confirm_email-{order.token}", payload, now)
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
            if origin and not is_from(reading, shop, existing, origin.session):
                raise CheckoutTokenUsed(f"order {existing.code}") from None
        return existing
    log.info("order.placed", order=order.code, amount=order.total, currency=order.currency)
    return order
