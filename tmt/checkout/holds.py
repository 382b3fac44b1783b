"""How long an order's tickets stay reserved for its payment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog.listing import is_upcoming
from tmt.checkout.buyer_limits import may_extend
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.checkout.states import lock_order
from tmt.core.errors import DomainError
from tmt.shop import Shop

_BATCH = 500


class NoMoreTime(DomainError):
    """The hold cannot be extended: it has ended, or has been extended often enough."""


def extend(shop: Shop, order_id: int) -> datetime:
    """Restarts the hold's full time now and returns its new end. Raises `NoMoreTime`."""

    def unit(session: Session) -> datetime:
        now = shop.clock.now()
        order = lock_order(session, order_id)
        is_open = can_be_paid(order, now) and extensions_left(shop, order)
        if not is_open or not may_extend(session, shop, order):
            raise NoMoreTime(f"order {order.code}")
        order.extensions += 1
        order.expires_at = now + timedelta(minutes=shop.settings.hold_minutes)
        return order.expires_at

    return shop.db.transaction(unit)


def can_be_paid(order: Order, now: datetime) -> bool:
    """Whether the buyer can pay the order now, or get more time for it."""
    in_time = order.status == OrderStatus.HELD and order.expires_at > now
    return in_time and is_upcoming(order.event, now)


def extensions_left(shop: Shop, order: Order) -> int:
    """How often the buyer can still extend the hold."""
    return max(shop.settings.hold_extensions - order.extensions, 0)


def overdue(session: Session, shop: Shop, now: datetime, limit: int = _BATCH) -> Sequence[int]:
    """The ids of held orders that have expired, oldest first, of this mode and account only."""
    query = select(Order.id).where(
        Order.status == OrderStatus.HELD, Order.expires_at <= now, own_orders(shop.db.account)
    )
    return session.scalars(query.order_by(Order.expires_at).limit(limit)).all()
