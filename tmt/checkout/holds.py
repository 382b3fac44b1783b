"""How long an order's tickets stay reserved for its payment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, not_, or_, select
from sqlalchemy.orm import Session

from tmt.catalog.listing import is_upcoming
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.checkout.states import lock_order
from tmt.core.errors import DomainError
from tmt.shop import Shop

_BATCH = 500
_GRACE, _LIVE_GRACE, _DEBIT_GRACE = timedelta(hours=1), timedelta(days=1), timedelta(days=14)


class NoMoreTime(DomainError):
    """The hold cannot be extended: it has ended, or has been extended often enough."""


def extend(shop: Shop, order_id: int) -> datetime:
    """Restarts the hold's full time now and returns its new end. Raises `NoMoreTime`."""

    def unit(session: Session) -> datetime:
        now = shop.clock.now()
        order = lock_order(session, order_id)
        is_open = (
            order.status == OrderStatus.HELD
            and order.expires_at > now
            and is_upcoming(order.event, now)
        )
        if not is_open or not extensions_left(shop, order):
            raise NoMoreTime(f"order {order.code}")
        order.extensions += 1
        order.expires_at = now + timedelta(minutes=shop.settings.hold_minutes)
        return order.expires_at

    return shop.db.transaction(unit)


def extensions_left(shop: Shop, order: Order) -> int:
    """How often the buyer can still extend the hold."""
    return max(shop.settings.hold_extensions - order.extensions, 0)


def overdue(session: Session, shop: Shop, now: datetime, limit: int = _BATCH) -> Sequence[int]:
    """The ids of held orders that have expired, oldest first, of this mode and account only."""
    query = select(Order.id).where(
        Order.status == OrderStatus.HELD, Order.expires_at <= now, own_orders(shop.db.account)
    )
    return session.scalars(query.order_by(Order.expires_at).limit(limit)).all()


def overdue_elsewhere(
    session: Session, shop: Shop, now: datetime, only: int | None = None
) -> Sequence[int]:
    """The ids of unpaid orders of other modes and accounts that nobody else has ended.

    A process with their keys would have ended them when their time was up: they are left to it
    for an hour, where money is real for a day, and test debits that are processing for two weeks.
    A real payment that is processing is never one of them. With `only`, that order alone.
    """
    left_alone = or_(
        and_(Order.livemode.is_(False), Order.expires_at <= now - _GRACE),
        Order.expires_at <= now - _LIVE_GRACE,
    )
    forgotten_debit = and_(
        Order.status == OrderStatus.PROCESSING,
        Order.livemode.is_(False),
        Order.expires_at <= now - _DEBIT_GRACE,
    )
    is_held = and_(Order.status == OrderStatus.HELD, left_alone)
    query = select(Order.id).where(not_(own_orders(shop.db.account)), or_(is_held, forgotten_debit))
    if only is not None:
        query = query.where(Order.id == only)
    return session.scalars(query.order_by(Order.expires_at).limit(_BATCH)).all()
