"""What has come in for an order and gone back: computed from the rows each time, never stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tmt.catalog import stock
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.gateway.types import LOST_DISPUTES, PaymentIntentStatus
from tmt.payments.models import FAILED_REFUNDS, Dispute, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.issue import void

log = structlog.get_logger(__name__)


def lock_payment(session: Session, payment_intent: str) -> tuple[Order, Payment] | None:
    """Order and payment of this PaymentIntent, locked in this sequence; None if it is not ours."""
    order_id = session.scalar(_ORDER_ID, {"payment_intent": payment_intent})
    if order_id is None:
        return None
    order = lock_order(session, order_id)
    return order, session.scalars(_PAYMENT, {"payment_intent": payment_intent}).one()


def record(
    shop: Shop,
    payment_intent: str | None,
    apply: Callable[[Session, Order, Payment], None],
    in_transaction: Callable[[Session], None] | None = None,
) -> bool:
    """Applies news about a payment under its order's lock; false if the payment is not ours.

    `in_transaction` runs in the same transaction, whatever the outcome. Makes no network call.
    """

    def unit(session: Session) -> bool:
        locked = lock_payment(session, payment_intent) if payment_intent else None
        if locked:
            apply(session, *locked)
        if in_transaction:
            in_transaction(session)
        return locked is not None

    is_ours = shop.db.transaction(unit)
    if is_ours:
        shop.jobs.trigger("outbox")
    return is_ours


def get_payment(session: Session, order_id: int) -> Payment | None:
    """The order's payment; None for an order that costs nothing."""
    return session.scalar(select(Payment).where(Payment.order_id == order_id))


def get_refunds(session: Session, order_id: int) -> Sequence[Refund]:
    """The order's refunds, oldest first."""
    query = select(Refund).join(Payment, Payment.id == Refund.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Refund.id)).all()


def get_disputes(session: Session, order_id: int) -> Sequence[Dispute]:
    """The order's disputes, oldest first."""
    query = select(Dispute).join(Payment, Payment.id == Dispute.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Dispute.id)).all()


def is_disputed(session: Session, order_id: int) -> bool:
    """Whether nothing of the order can be refunded, because a dispute over it is undecided."""
    return any(dispute.blocks_refunds for dispute in get_disputes(session, order_id))


def remaining(session: Session, payment: Payment) -> int:
    """What is left of the payment's money (minor units): neither refunded nor lost to a dispute.

    Refunds that Stripe has not completed count as gone.
    """
    if payment.status != PaymentIntentStatus.SUCCEEDED:
        return 0
    # PostgreSQL's sums of large integers are decimal numbers.
    lost = int(session.scalar(_REFUNDED_OR_LOST, {"payment": payment.id}) or 0)
    return max(payment.amount_received - lost, 0)


def net_paid(session: Session, order: Order) -> int:
    """What is left of the order's money, in its currency (minor units)."""
    payment = get_payment(session, order.id)
    if payment is None or payment.received_currency != order.currency:
        return 0
    return remaining(session, payment)


def close_if_fully_refunded(
    session: Session, order: Order, trigger: Trigger, now: datetime
) -> bool:
    """Closes a paid order whose money is all gone: tickets void, stock for sale again."""
    if order.status != OrderStatus.PAID or net_paid(session, order) > 0:
        return False
    void_and_restock(session, order, None)
    transition(session, order, OrderStatus.REFUNDED, trigger, now)
    log.info("order.refunded", order=order.code, trigger=trigger.value)
    return True


def void_and_restock(session: Session, order: Order, numbers: Sequence[int] | None) -> None:
    """Makes tickets of the order void (all, or those of these numbers) and restocks them."""
    quantities = void(session, order.id, numbers)
    if quantities:
        stock.restock(session, order.event_id, quantities)


def _sum(column: InstrumentedAttribute[int], *where: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.coalesce(func.sum(column), 0)).where(*where).scalar_subquery()


# Built once: they run for every payment.
_ORDER_ID = select(Payment.order_id).where(Payment.payment_intent_id == bindparam("payment_intent"))
_PAYMENT = (
    select(Payment)
    .where(Payment.payment_intent_id == bindparam("payment_intent"))
    .with_for_update()
    .execution_options(populate_existing=True)
)
_REFUNDED_OR_LOST = select(
    _sum(
        Refund.amount,
        Refund.payment_id == bindparam("payment"),
        Refund.status.not_in(FAILED_REFUNDS),
    )
    + _sum(
        Dispute.amount,
        Dispute.payment_id == bindparam("payment"),
        Dispute.status.in_(LOST_DISPUTES),
    )
)
