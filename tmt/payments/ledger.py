"""What has come in for an order and gone out again: computed of the rows each time, never kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tmt.catalog import stock
from tmt.checkout.models import Order
from tmt.checkout.states import PAID, REFUNDED, Cause, locked_order, move
from tmt.gateway.contract import SUCCEEDED
from tmt.payments.models import COUNTED, DISPUTE_OVER, Dispute, Payment, Refund
from tmt.tickets.issue import void

log = structlog.get_logger(__name__)

LOST = "lost"


def locked_payment(session: Session, payment_intent: str) -> tuple[Order, Payment] | None:
    """Order and payment of this PaymentIntent, locked in this sequence; None if it is not ours."""
    order_id = session.scalar(_ORDER_OF, {"payment_intent": payment_intent})
    if order_id is None:
        return None
    order = locked_order(session, order_id)
    return order, session.scalars(_PAYMENT, {"payment_intent": payment_intent}).one()


def payments_of(session: Session, order_id: int) -> Sequence[Payment]:
    """The order's payments, newest first."""
    query = select(Payment).where(Payment.order_id == order_id).order_by(Payment.id.desc())
    return session.scalars(query).all()


def refunds_of(session: Session, order_id: int) -> Sequence[Refund]:
    """The order's refunds, oldest first."""
    query = select(Refund).join(Payment, Payment.id == Refund.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Refund.id)).all()


def disputes_of(session: Session, order_id: int) -> Sequence[Dispute]:
    """The order's disputes, oldest first."""
    query = select(Dispute).join(Payment, Payment.id == Dispute.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Dispute.id)).all()


def is_disputed(session: Session, order_id: int) -> bool:
    """Whether a dispute over the order's money is undecided."""
    return any(d.status not in DISPUTE_OVER for d in disputes_of(session, order_id))


def left_of(session: Session, payment: Payment) -> int:
    """What is left of what the payment brought (minor units): no refund or bank has taken it.

    Refunds that are on their way count as gone.
    """
    if payment.status != SUCCEEDED:
        return 0
    gone = session.scalar(_GONE, {"payment": payment.id}) or 0
    return max(payment.amount_received - gone, 0)


def net_paid(session: Session, order: Order) -> int:
    """What is left of everything that was paid for the order, in its currency (minor units)."""
    payments = payments_of(session, order.id)
    return sum(left_of(session, p) for p in payments if p.received_currency == order.currency)


def end_if_nothing_is_left(session: Session, order: Order, cause: Cause, now: datetime) -> bool:
    """Ends a paid order of which all the money has gone back: no valid ticket, no taken place."""
    if order.status != PAID or net_paid(session, order) > 0:
        return False
    return_places(session, order, None)
    move(session, order, REFUNDED, cause, now)
    log.info("order.refunded", order=order.code, cause=cause.value)
    return True


def return_places(session: Session, order: Order, numbers: Sequence[int] | None) -> None:
    """Makes tickets of the order void (all, or those of these numbers), their places free."""
    places = void(session, order.id, numbers)
    if places:
        stock.restock(session, order.event_id, places)


def _sum(column: InstrumentedAttribute[int], *where: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.coalesce(func.sum(column), 0)).where(*where).scalar_subquery()


# Built once: they run for all that is paid.
_ORDER_OF = select(Payment.order_id).where(Payment.payment_intent == bindparam("payment_intent"))
_PAYMENT = (
    select(Payment)
    .where(Payment.payment_intent == bindparam("payment_intent"))
    .with_for_update()
    .execution_options(populate_existing=True)
)
_GONE = select(
    _sum(Refund.amount, Refund.payment_id == bindparam("payment"), Refund.status.in_(COUNTED))
    + _sum(Dispute.amount, Dispute.payment_id == bindparam("payment"), Dispute.status == LOST)
)
