"""What one buyer, one browser and one address may reserve and get of an event.

Decided in the transaction that places the order, after it has locked the event's row: orders of one
event are counted one after the other, however many are placed at once. What an address may hold
unpaid grows with what was paid from it, so that a crowd behind one address buys, and who reserves
without paying soon reserves no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from limits import RateLimitItem, parse_many
from sqlalchemy import ColumnElement, and_, case, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderKey, OrderStatus
from tmt.core.database import table_of
from tmt.core.email_address import buyer_email
from tmt.core.errors import DomainError, RateLimited
from tmt.core.ids import keyed_hash
from tmt.shop import Shop

# An address may hold this part of the places that are left, whatever the setting says.
_SHARE = 8
# A network has so many times an address's room, and so many times its orders.
_NETWORK_ROOM, _NETWORK_ORDERS = 2, 4
# A ticket that was paid from an address makes room for so many unpaid ones, for an hour.
_EARNED, _EARNED_FOR = 2, timedelta(hours=1)
# A first order of this size has room of its own when an address is full.
_SMALL = 2
_RETRY_AFTER = 60
_UNPAID = (OrderStatus.HELD, OrderStatus.PROCESSING)
_OPEN = (*_UNPAID, OrderStatus.PAID)


class BuyerLimit(DomainError):
    """The buyer would have more tickets of the event than one buyer may have."""


class TooManyUnpaid(RateLimited):
    """As many unpaid or free tickets of the event come from this address as may."""


@dataclass(frozen=True)
class Origin:
    """Where an order comes from: the client's address, its network, its browser's session."""

    address: str
    network: str
    session: str


@dataclass(frozen=True)
class _Usage:
    """What a key has of an event: tickets, and those of them that are unpaid or free; and how many
    were paid lately. A ticket of an order that was extended counts twice as unpaid."""

    tickets: int = 0
    unpaid: int = 0
    free: int = 0
    paid_lately: int = 0


@dataclass(frozen=True)
class _Room:
    """How many tickets of an event an address may have; 0 places stand for no limit."""

    base: int
    step: int
    places: int

    @classmethod
    def of(cls, event: Event, setting: int, times: int = 1) -> _Room:
        limits = [event.capacity] if event.capacity is not None else []
        types = [each.capacity for each in event.ticket_types]
        if None not in types:
            limits.append(sum(capacity or 0 for capacity in types))
        places = min(limits, default=0)
        step = setting * times
        if limits:
            step = min(step, max(places - event.sold, 0) * times // _SHARE)
        return cls(max(event.max_per_order, step), max(step, _SMALL), places)


def admit(session: Session, shop: Shop, order: Order, origin: Origin) -> bool:
    """Counts a new order for its buyer; whether its e-mail address must be confirmed first.

    In the transaction that has held the order's tickets. Raises `BuyerLimit`, `TooManyUnpaid` or
    `RateLimited`.
    """
    keys, tickets = _keys(shop, origin, order), sum(order.quantities.values())
    _check_rate(session, shop, keys, order.created_at)
    usage = _usage(session, order, list(keys.values()))
    of = {kind: usage.get(key, _Usage()) for kind, key in keys.items()}
    event, setting = order.event, shop.settings.unpaid_per_address
    most = event.max_per_buyer or (event.max_per_order if setting and not order.total else None)
    for kind in ("buyer", "session"):
        had = of[kind].tickets if event.max_per_buyer else of[kind].free
        if most is not None and had + tickets > most:
            raise BuyerLimit(f"{had} and {tickets} tickets of {event.slug} by one {kind}")
    must_confirm = not order.total and event.confirm_email
    if setting:
        if not order.total and not must_confirm:
            must_confirm = _needs_proof(event, setting, of, tickets)
        if order.total or must_confirm:
            _check_unpaid(event, setting, of, tickets)
    rows = [
        {
            "order_id": order.id,
            "key": key,
            "event_id": order.event_id,
            "tickets": tickets,
            "created_at": order.created_at,
        }
        for key in set(keys.values())
    ]
    session.execute(insert(table_of(OrderKey)), rows)
    return must_confirm


def may_extend(session: Session, shop: Shop, order: Order) -> bool:
    """Whether the order's address has room for its tickets a second time, or holds nothing else."""
    setting = shop.settings.unpaid_per_address
    if not setting:
        return True
    own = session.scalars(select(OrderKey.key).where(OrderKey.order_id == order.id)).all()
    usage = _usage(session, order, [key for key in own if key[0] in "an"])
    tickets = sum(order.quantities.values())
    for key, used in usage.items():
        room = _Room.of(order.event, setting, 1 if key[0] == "a" else _NETWORK_ROOM)
        most = room.base + room.step + _EARNED * used.paid_lately
        if used.unpaid and used.unpaid + 2 * tickets > most:
            return False
    return True


def is_from(session: Session, shop: Shop, order: Order, session_name: str) -> bool:
    """Whether this browser's session placed the order."""
    key = _hashed(shop, "session", session_name)
    return session.get(OrderKey, (order.id, key)) is not None


def purge_order_keys(shop: Shop) -> None:
    """Deletes the keys of orders whose event is over; a job."""
    over = select(Event.id).where(Event.ends_at < shop.clock.now())
    statement = delete(OrderKey).where(OrderKey.event_id.in_(over))
    shop.db.transaction(lambda session: session.execute(statement))


def _needs_proof(event: Event, setting: int, of: dict[str, _Usage], tickets: int) -> bool:
    """Whether so many free tickets went to the address that others must confirm theirs.

    Half of the places is the most that one address gets. Raises `TooManyUnpaid`.
    """
    needed = False
    for kind, times in (("address", 1), ("network", _NETWORK_ROOM)):
        room, total = _Room.of(event, setting, times), of[kind].free + tickets
        needed = needed or total > room.base
        if room.places and total > max(room.base, room.places // 2):
            raise TooManyUnpaid(f"{total} free tickets of {event.slug}", _RETRY_AFTER)
    return needed


def _check_unpaid(event: Event, setting: int, of: dict[str, _Usage], tickets: int) -> None:
    unpaid = of["session"].unpaid
    if unpaid + tickets > event.max_per_order:
        raise TooManyUnpaid(f"{unpaid} unpaid tickets of one session", _RETRY_AFTER)
    is_small = tickets <= _SMALL and not unpaid
    for kind, times in (("address", 1), ("network", _NETWORK_ROOM)):
        room, used = _Room.of(event, setting, times), of[kind]
        most = room.base + _EARNED * used.paid_lately + (room.step if is_small else 0)
        if used.unpaid + tickets > most:
            raise TooManyUnpaid(f"{used.unpaid} unpaid tickets of one {kind}", _RETRY_AFTER)


def _check_rate(session: Session, shop: Shop, keys: dict[str, str], now: datetime) -> None:
    """Limits the orders of an address and its network; those that were paid do not count.

    A free order counts, and so does each extension.
    """
    counts = [("address", 1)]
    if keys["network"] != keys["address"]:
        counts.append(("network", _NETWORK_ORDERS))
    for item in parse_many(shop.settings.orders_per_address):
        for kind, times in counts:
            _check_window(session, keys[kind], item, times, now)


def _check_window(
    session: Session, key: str, item: RateLimitItem, times: int, now: datetime
) -> None:
    window = timedelta(seconds=item.get_expiry())
    unpaid = Order.status.not_in((OrderStatus.PAID, OrderStatus.REFUNDED))
    query = (
        select(func.sum(1 + Order.extensions), func.min(OrderKey.created_at))
        .join(Order, Order.id == OrderKey.order_id)
        .where(OrderKey.key == key, OrderKey.created_at > now - window)
        .where(or_(unpaid, Order.total == 0))
    )
    count, oldest = session.execute(query).one()
    if (count or 0) >= item.amount * times:
        left = (oldest + window - now).total_seconds()
        raise RateLimited(f"orders-address: {item}", retry_after=max(1, round(left)))


def _usage(session: Session, order: Order, keys: Sequence[str]) -> dict[str, _Usage]:
    """What the keys have of the order's event, without the order itself."""
    # A slip keeps tickets for days: for an address, twice what a card does, as an extension is.
    is_slip = and_(Order.status == OrderStatus.PROCESSING, ~OrderKey.key.startswith("s"))
    is_unpaid = Order.status.in_(_UNPAID)
    weight = case((or_(Order.extensions > 0, is_slip), 2), else_=1)
    since = order.created_at - _EARNED_FOR
    lately = and_(Order.status == OrderStatus.PAID, Order.total > 0, Order.paid_at > since)

    def summed(condition: ColumnElement[bool], value: Any = OrderKey.tickets) -> Any:
        return func.coalesce(func.sum(case((condition, value), else_=0)), 0)

    query = (
        select(
            OrderKey.key,
            func.sum(OrderKey.tickets),
            summed(is_unpaid, OrderKey.tickets * weight),
            summed(Order.total == 0),
            summed(lately),
        )
        .join(Order, Order.id == OrderKey.order_id)
        .where(OrderKey.event_id == order.event_id, OrderKey.key.in_(keys))
        .where(Order.status.in_(_OPEN), Order.id != order.id)
        .group_by(OrderKey.key)
    )
    return {key: _Usage(*map(int, sums)) for key, *sums in session.execute(query)}


def _keys(shop: Shop, origin: Origin, order: Order) -> dict[str, str]:
    """The order's keys by kind; for an IPv4 client the network is the address."""
    network = "network" if origin.network != origin.address else "address"
    return {
        "address": _hashed(shop, "address", origin.address),
        "network": _hashed(shop, network, origin.network),
        "session": _hashed(shop, "session", origin.session),
        "buyer": _hashed(shop, "buyer", buyer_email(order.email)),
    }


def _hashed(shop: Shop, kind: str, value: str) -> str:
    """The kind's first letter, and a hash that nobody without SECRET_KEY can search for."""
    return kind[0] + keyed_hash(shop.settings.secret_key, f"{kind} {value}", size=15)
