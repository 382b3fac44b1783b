"""Placing and finding orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select, true, update
from sqlalchemy.orm import Session, joinedload, selectinload

from tmt.catalog import listing, stock
from tmt.catalog.models import Event
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.checkout.pricing import Benefits, BenefitsOf, price_lines
from tmt.checkout.states import lock_order
from tmt.config import Settings
from tmt.core import outbox
from tmt.core.database import account_of, belongs_to
from tmt.core.email_address import email_key
from tmt.core.errors import DomainError, NotFound
from tmt.core.ids import is_token, new_order_code, new_token
from tmt.core.money import check_chargeable
from tmt.core.outbox import OutboxRow
from tmt.customers.accounts import customer_for, lock_customer
from tmt.customers.models import Customer
from tmt.shop import Shop

log = structlog.get_logger(__name__)


class NotOnSale(DomainError):
    """A ticket type is not this event's, or cannot be bought now or in this number."""


class PriceChanged(DomainError):
    """The price is not the one that the buyer saw."""


class EmailFixed(DomainError):
    """The order's e-mail address cannot be changed any more."""


def place_order(
    session: Session,
    shop: Shop,
    slug: str,
    request: CheckoutRequest,
    locale: str,
    customer: Customer | None = None,
    benefits_of: BenefitsOf | None = None,
) -> Order:
    """Reserves the tickets and writes the order, in the caller's transaction.

    It is the order of `customer`, or else of the one with its e-mail address, who may be new.
    Prices come from the database, and for a customer who is signed in from what `benefits_of` says,
    whose memberships are locked; they must equal those that the buyer saw. The checkout token is
    unique: a second order of the same token raises `IntegrityError`. Raises `NotFound`,
    `NotOnSale`, `PriceChanged`, `money.AmountOutOfRange` or `stock.SoldOut`.
    """
    event = listing.find_event(session, slug)
    owner = customer and lock_customer(session, customer.id)
    benefits = Benefits()
    if owner and benefits_of:
        benefits = benefits_of(session, shop, owner, event, True)
    order = _new_order(shop, event, request, locale, benefits)
    order.customer_id = owner or customer_for(session, shop, order.email, order.name, locale)
    stock.hold(session, event.id, request.quantities)
    session.add(order)
    session.flush()
    return order


def find_order(session: Session, token: str) -> Order:
    """The order with this token, with lines and event; raises `NotFound`."""
    if is_token(token):
        query = select(Order).where(Order.token == token)
        order = session.scalar(query.options(*_WITH_LINES_AND_EVENT))
        if order:
            return order
    raise NotFound("no order of this token")


def get_order(session: Session, order_id: int) -> Order:
    """The order of this id, with lines and event."""
    return session.scalars(
        select(Order).where(Order.id == order_id).options(*_WITH_LINES_AND_EVENT)
    ).one()


def find_by_checkout_token(session: Session, checkout_token: str) -> Order | None:
    """The order that was placed with this checkout token, if there is one."""
    if not is_token(checkout_token):
        return None
    # Nearly always there is none, which this query finds out fastest.
    order_id = session.scalar(select(Order.id).where(Order.checkout_token == checkout_token))
    return None if order_id is None else get_order(session, order_id)


def renew_token(shop: Shop, code: str) -> Order:
    """Gives the order of this code a new token; whoever has the old one has lost access.

    Raises `NotFound`.
    """

    def unit(session: Session) -> int:
        order_id = session.scalar(select(Order.id).where(Order.code == code.strip().upper()))
        if order_id is None:
            raise NotFound(f"no order {code[:20]}")
        order = lock_order(session, order_id)
        before, order.token = order.token, new_token()
        # Mails about the order are keyed by its token: each is still sent once.
        rows = update(OutboxRow).where(OutboxRow.key.contains(before, autoescape=True))
        session.execute(rows.values(key=func.replace(OutboxRow.key, before, order.token)))
        return order_id

    order_id = shop.db.transaction(unit)
    with shop.db.reading() as session:
        order = get_order(session, order_id)
    log.info("order.link_renewed", order=order.code)
    return order


def newest_orders_of(session: Session, email: str, limit: int = 20) -> list[int]:
    """The ids of an e-mail address's newest orders."""
    query = select(Order.id).where(Order.email_key == email_key(email))
    return list(session.scalars(query.order_by(Order.created_at.desc()).limit(limit)))


def change_email(shop: Shop, order_id: int, email: str) -> None:
    """Corrects the buyer's address; the tickets of a paid order are sent to the new one.

    So is the link that confirms the address, of an order that waits for it. The order becomes that
    of the new address's customer, unless somebody with another address placed it, signed in.
    Nothing happens if it is the order's already. Raises `EmailFixed` when the order has ended.
    """

    def unit(session: Session) -> None:
        order = lock_order(session, order_id)
        if order.status.is_closed:
            raise EmailFixed(f"order {order.code} is {order.status}")
        if order.email == email:
            return
        _follow_email(session, shop, order, email)
        order.email, order.email_key = email, email_key(email)
        kind = "tickets_again" if order.status == OrderStatus.PAID else "confirm_email"
        if order.status == OrderStatus.PAID or not order.total:
            key = f"{kind}-{order.token}-{new_token()[:8]}"
            outbox.put(session, kind, key, {"order": order.id}, shop.clock.now())
        log.info("order.email_changed", order=order.code)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def _follow_email(session: Session, shop: Shop, order: Order, email: str) -> None:
    before = session.get(Customer, order.customer_id) if order.customer_id else None
    if before and before.email_key != order.email_key:
        return
    order.customer_id = customer_for(session, shop, email, order.name, order.locale)
    if before and before.id != order.customer_id and before.signed_in_at is None:
        session.flush()
        others = select(Order.id).where(Order.customer_id == before.id).limit(1)
        if session.scalar(others) is None:
            # A mistyped address is somebody else's, who must not read there whose order it was.
            before.name = ""


def is_of(customer: Customer) -> ColumnElement[bool]:
    """A condition: the order is the customer's.

    Orders of a version without customers are those of their address.
    """
    by_address = and_(Order.customer_id.is_(None), Order.email_key == customer.email_key)
    return or_(Order.customer_id == customer.id, by_address)


def orders_of(session: Session, customer: Customer, limit: int = 200) -> Sequence[Order]:
    """The customer's newest orders, with lines and events; the newest first."""
    query = select(Order).where(is_of(customer)).options(*_WITH_LINES_AND_EVENT)
    return session.scalars(query.order_by(Order.id.desc()).limit(limit)).all()


def move_orders(session: Session, from_id: int, to_id: int) -> None:
    """Makes all orders of one customer those of another, who is the same person."""
    moved = update(Order).where(Order.customer_id == from_id)
    session.execute(moved.values(customer_id=to_id))


def own_orders(account: str) -> ColumnElement[bool]:
    """A condition: the order was taken in this mode and for this account, as `Database` has it.

    No other one can be charged, canceled or refunded with the keys in use.
    """
    livemode = Order.livemode == account.startswith("live:")
    return and_(livemode, belongs_to(Order.account, account)) if account else true()


def account_of_order(order: Order) -> str:
    """The mode and account whose processes can act on it, or the mode alone."""
    return order.account or ("live:" if order.livemode else "test:")


def is_own_order(session: Session, order_id: int) -> bool:
    """The same of one order, for the account that the session works for."""
    query = select(Order.id).where(Order.id == order_id, own_orders(account_of(session)))
    return session.scalar(query) is not None


def order_url(settings: Settings, order: Order) -> str:
    """The order's page as an absolute URL, for mails and Stripe."""
    return f"{settings.base_url}/orders/{order.token}"


def return_url(settings: Settings, order: Order) -> str:
    """Where Stripe sends the buyer's browser after a redirect."""
    return f"{order_url(settings, order)}/return"


_WITH_LINES_AND_EVENT = (selectinload(Order.lines), joinedload(Order.event))


def _new_order(
    shop: Shop, event: Event, request: CheckoutRequest, locale: str, benefits: Benefits
) -> Order:
    now = shop.clock.now()
    lines = _lines(event, request, shop, benefits)
    total = sum(line.total for line in lines)
    check_chargeable(total, event.currency)
    return Order(
        code=new_order_code(),
        token=new_token(),
        checkout_token=request.checkout_token,
        event=event,
        status=OrderStatus.HELD,
        name=request.name,
        email=request.email,
        email_key=email_key(request.email),
        locale=locale,
        total=total,
        currency=event.currency,
        livemode=shop.settings.livemode,
        account=shop.db.account or None,
        created_at=now,
        expires_at=now + timedelta(minutes=shop.settings.hold_minutes),
        lines=lines,
    )


def _lines(
    event: Event, request: CheckoutRequest, shop: Shop, benefits: Benefits
) -> list[OrderLine]:
    """The order's lines at the prices of the database, checked against the event as it is now."""
    now, few = shop.clock.now(), shop.settings.few_left
    offers = listing.offers(event, now, few=few, presale=benefits.presale)
    current = {offer.id: offer for offer in offers}
    count = sum(request.quantities.values())
    if not 1 <= count <= event.max_per_order:
        raise NotOnSale(f"{count} tickets in one order of {event.slug}")
    for type_id, quantity in sorted(request.quantities.items()):
        offer = current.get(type_id)
        if offer is None or quantity < 1:
            raise NotOnSale(f"ticket type {type_id} of {event.slug}")
        if offer.state == listing.SaleState.SOLD_OUT or 0 < offer.max < quantity:
            raise stock.SoldOut(type_id)
        if not offer.state.is_buyable:
            raise NotOnSale(f"ticket type {type_id} of {event.slug} is {offer.state}")
        if request.shown_prices.get(type_id) != offer.price:
            raise PriceChanged(f"ticket type {type_id} of {event.slug}")
    if request.shown_benefits != benefits.key:
        raise PriceChanged(f"the benefits of who buys for {event.slug}")
    prices = {offer.id: offer.price for offer in offers}
    holders = {type_id: list(names) for type_id, names in request.holders.items()}
    lines = []
    for line in price_lines(prices, request.quantities, benefits.grants, event.currency):
        names = holders.get(line.ticket_type_id, [])
        holders[line.ticket_type_id] = names[line.quantity :]
        lines.append(
            OrderLine(
                ticket_type_id=line.ticket_type_id,
                name=current[line.ticket_type_id].name,
                unit_price=line.unit_price,
                list_price=line.list_price,
                reason=line.reason,
                membership_id=line.grant.membership_id if line.grant else None,
                period_start=line.grant.period_start if line.grant else None,
                quantity=line.quantity,
                holders=names[: line.quantity],
            )
        )
    return lines
