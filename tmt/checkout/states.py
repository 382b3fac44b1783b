"""The states of an order, and the one function that changes them.

held ──▶ paid, processing, expired, canceled; processing ──▶ paid, held, expired, canceled;
expired and canceled ──▶ paid when a late payment finds tickets left; each of them ──▶ refunded;
refunded ──▶ paid when a lost dispute is won after all.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus, OrderTransition
from tmt.core.errors import DomainError, NotFound

HELD, PROCESSING, PAID = OrderStatus.HELD, OrderStatus.PROCESSING, OrderStatus.PAID
EXPIRED, CANCELED = OrderStatus.EXPIRED, OrderStatus.CANCELED
REFUNDED = OrderStatus.REFUNDED


class Trigger(StrEnum):
    """What changed an order's status."""

    BUYER = "buyer"
    WEBHOOK = "webhook"
    RETURN_PAGE = "return_page"
    PAGE = "page"
    API = "api"
    EXPIRY = "expiry"
    RECONCILER = "reconciler"
    DECLINES = "declines"
    EVENT = "event"
    FREE = "free"
    STAFF = "staff"


# Whatever acts on the payment's state at Stripe.
_STRIPE = set(Trigger) - {Trigger.FREE, Trigger.STAFF}

TRANSITIONS: dict[tuple[OrderStatus, OrderStatus], set[Trigger]] = {
    (HELD, PAID): _STRIPE | {Trigger.FREE},
    (HELD, PROCESSING): _STRIPE,
    (HELD, EXPIRED): _STRIPE,
    (HELD, CANCELED): _STRIPE | {Trigger.STAFF},
    (HELD, REFUNDED): _STRIPE,
    (PROCESSING, PAID): _STRIPE,
    (PROCESSING, HELD): _STRIPE,
    (PROCESSING, EXPIRED): _STRIPE,
    (PROCESSING, CANCELED): _STRIPE | {Trigger.STAFF},
    (PROCESSING, REFUNDED): _STRIPE,
    (EXPIRED, PAID): _STRIPE,
    (CANCELED, PAID): _STRIPE,
    (EXPIRED, REFUNDED): _STRIPE,
    (CANCELED, REFUNDED): _STRIPE,
    (PAID, REFUNDED): _STRIPE | {Trigger.STAFF},
    # A lost dispute that is won after an appeal.
    (REFUNDED, PAID): {Trigger.WEBHOOK, Trigger.RECONCILER},
}


class IllegalTransition(DomainError):
    """The order cannot go from its status to the new one, or not by this trigger."""


def lock_order(session: Session, order_id: int) -> Order:
    """The order as it is now, its row locked until the transaction ends; raises `NotFound`."""
    query = select(Order).where(Order.id == order_id).with_for_update()
    order = session.scalar(query.execution_options(populate_existing=True))
    if order is None:
        raise NotFound(f"no order {order_id}")
    return order


def transition(
    session: Session, order: Order, to: OrderStatus, trigger: Trigger, now: datetime
) -> None:
    """Changes the status of a locked order and records it; raises `IllegalTransition`."""
    if trigger not in TRANSITIONS.get((order.status, to), ()):
        raise IllegalTransition(f"order {order.code}: {order.status} to {to} by {trigger}")
    session.add(
        OrderTransition(
            order_id=order.id,
            from_status=order.status,
            to_status=to,
            triggered_by=trigger,
            at=now,
        )
    )
    order.status = to
    if to == PAID:
        order.paid_at, order.ended_at = order.paid_at or now, None
    elif to.is_closed:
        order.ended_at = now
