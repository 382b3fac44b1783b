"""The end of holds of orders of another mode or Stripe account, whose keys this process has not.

Their PaymentIntents cannot be canceled with other keys. Their holds end all the same, but later, so
that a process with their keys comes first: a payment that succeeds after that goes the way of every
late one, and the reconciler of their own mode cancels what is still open.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Select, and_, not_, or_, select
from sqlalchemy.orm import Session

from tmt.catalog import stock
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.payments.models import Payment
from tmt.payments.slips import NOT_THE_BUYERS
from tmt.shop import Shop

log = structlog.get_logger(__name__)

_BATCH = 500
_GRACE, _LIVE_GRACE, _DEBIT_GRACE = timedelta(hours=1), timedelta(days=1), timedelta(days=14)


def overdue_elsewhere(
    session: Session, shop: Shop, now: datetime, limit: int = _BATCH
) -> Sequence[int]:
    """The ids of unpaid orders of other modes and accounts that nobody else has ended.

    A process with their keys would have ended them when their time was up: they are left to it
    for an hour, where money is real for a day, and test debits that are processing for two weeks.
    A real payment that is processing at a bank is never one of them.
    """
    query = _foreign(shop, _is_forgotten(now)).order_by(Order.expires_at)
    return session.scalars(query.limit(limit)).all()


def end_elsewhere(shop: Shop, order_id: int, trigger: Trigger) -> bool:
    """Ends such a hold; its payment keeps its status. Whether it did.

    By `EXPIRY` only what `overdue_elsewhere` finds; by a buyer or an operator at once, unless a
    real payment is processing.
    """

    def unit(session: Session) -> str | None:
        order, now = lock_order(session, order_id), shop.clock.now()
        is_expired = trigger == Trigger.EXPIRY
        condition = _is_forgotten(now) if is_expired else _can_be_ended()
        if session.scalar(_foreign(shop, condition).where(Order.id == order_id)) is None:
            return None
        stock.release(session, order.event_id, order.quantities)
        to = OrderStatus.EXPIRED if is_expired else OrderStatus.CANCELED
        transition(session, order, to, trigger, now)
        return order.code

    code = shop.db.transaction(unit)
    if code:
        log.warning("hold.ended_elsewhere", order=code, trigger=trigger.value)
    return code is not None


def _foreign(shop: Shop, condition: ColumnElement[bool]) -> Select[int]:
    query = select(Order.id).outerjoin(Payment, Payment.order_id == Order.id)
    return query.where(not_(own_orders(shop.db.account)), condition)


def _waits_for_buyer() -> ColumnElement[bool]:
    waits_elsewhere = and_(
        Order.status == OrderStatus.PROCESSING, Payment.status.not_in(NOT_THE_BUYERS)
    )
    return or_(Order.status == OrderStatus.HELD, waits_elsewhere)


def _can_be_ended() -> ColumnElement[bool]:
    is_test_debit = and_(Order.status == OrderStatus.PROCESSING, Order.livemode.is_(False))
    return or_(_waits_for_buyer(), is_test_debit)


def _is_forgotten(now: datetime) -> ColumnElement[bool]:
    is_left_alone = or_(
        and_(Order.livemode.is_(False), Order.expires_at <= now - _GRACE),
        Order.expires_at <= now - _LIVE_GRACE,
    )
    is_old = Order.expires_at <= now - _DEBIT_GRACE
    return or_(and_(_waits_for_buyer(), is_left_alone), and_(_can_be_ended(), is_old))
