"""Placing and finding orders."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload

from tmt.catalog import listing, stock
from tmt.catalog.models import Event
from tmt.checkout.forms import CheckoutRequest, email_key
from tmt.checkout.models import Order, OrderLine
from tmt.checkout.states import HELD
from tmt.core.errors import NotFound, Refusal
from tmt.core.ids import new_order_code, new_token, plausible_token
from tmt.core.money import check_chargeable
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# Run in the transaction that places an order: what the packages above have to add to it.
Placed = Callable[[Session, Order], None]


class NotOnSale(Refusal):
    """A ticket type is not this event's, or cannot be bought now or in this number."""


class PriceChanged(Refusal):
    """The price that the buyer saw is not the price any more."""


def place_order(
    shop: Shop, slug: str, request: CheckoutRequest, locale: str, placed: Placed
) -> Order:
    """Holds the places and writes the order, in one transaction, once per checkout token.

    The same token gives the same order again. Raises `NotFound`, `NotOnSale`, `PriceChanged`,
    `money.AmountOutOfRange` or `stock.SoldOut`, each with nothing held.
    """

    def unit(session: Session) -> Order:
        event = listing.find_event(session, slug)
        order = _new_order(shop, event, request, locale)
        stock.hold(session, event.id, request.quantities)
        session.add(order)
        session.flush()
        placed(session, order)
        return order

    try:
        order = shop.db.transaction(unit)
    except (IntegrityError, Refusal):
        # The token's order stands already, and perhaps it has the last places.
        with shop.db.reading() as reading:
            standing = find_by_checkout_token(reading, request.checkout_token)
        if standing is None:
            raise
        return standing
    log.info("order.placed", order=order.code, amount=order.total, currency=order.currency)
    return order


def find_order(session: Session, token: str) -> Order:
    """The order that this token opens, with lines and event; `NotFound` for anything else."""
    if plausible_token(token):
        query = select(Order).where(Order.token == token)
        order = session.scalar(query.options(*_WHOLE))
        if order:
            return order
    raise NotFound("no order of this token")


def get_order(session: Session, order_id: int) -> Order:
    """The order of this id, with lines and event."""
    return session.scalars(select(Order).where(Order.id == order_id).options(*_WHOLE)).one()


def find_by_checkout_token(session: Session, checkout_token: str) -> Order | None:
    """The order that was placed with this checkout token, if there is one."""
    if not plausible_token(checkout_token):
        return None
    # Nearly always there is none, which is found out fastest without asking for all of it.
    order_id = session.scalar(select(Order.id).where(Order.checkout_token == checkout_token))
    return None if order_id is None else get_order(session, order_id)


def newest_orders_of(session: Session, email: str, limit: int = 20) -> list[int]:
    """The ids of the newest orders of an address."""
    query = select(Order.id).where(Order.email_key == email_key(email))
    return list(session.scalars(query.order_by(Order.created_at.desc()).limit(limit)))


_WHOLE = (selectinload(Order.lines), joinedload(Order.event))


def _new_order(shop: Shop, event: Event, request: CheckoutRequest, locale: str) -> Order:
    now = shop.clock.now()
    lines = _lines(event, request, shop)
    total = sum(line.total for line in lines)
    check_chargeable(total, event.currency)
    return Order(
        code=new_order_code(),
        token=new_token(),
        checkout_token=request.checkout_token,
        event=event,
        status=HELD,
        name=request.name,
        email=request.email,
        email_key=email_key(request.email),
        locale=locale,
        total=total,
        currency=event.currency,
        livemode=shop.settings.livemode,
        created_at=now,
        expires_at=now + timedelta(minutes=shop.settings.hold_minutes),
        lines=lines,
    )


def _lines(event: Event, request: CheckoutRequest, shop: Shop) -> list[OrderLine]:
    """The order's lines at the prices of the database, checked against the event as it is now."""
    now, few = shop.clock.now(), shop.settings.few_left
    standing = {offer.id: offer for offer in listing.offers(event, now, few=few)}
    count = sum(request.quantities.values())
    if not 1 <= count <= event.max_per_order:
        raise NotOnSale(f"{count} places in one order of {event.slug}")
    lines = []
    for type_id, quantity in sorted(request.quantities.items()):
        offer = standing.get(type_id)
        if offer is None or quantity < 1:
            raise NotOnSale(f"ticket type {type_id} of {event.slug}")
        if offer.state == listing.SaleState.SOLD_OUT or 0 < offer.max < quantity:
            raise stock.SoldOut(type_id)
        if not offer.state.is_buyable:
            raise NotOnSale(f"ticket type {type_id} of {event.slug} is {offer.state}")
        if request.shown_prices.get(type_id) != offer.price:
            raise PriceChanged(f"ticket type {type_id} of {event.slug}")
        holders = list(request.holders.get(type_id, ()))
        lines.append(
            OrderLine(
                ticket_type_id=type_id,
                name=offer.name,
                unit_price=offer.price,
                quantity=quantity,
                holders=holders,
            )
        )
    return lines
