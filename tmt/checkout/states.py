"""The states of an order, and the one function that changes them.

held ──▶ paid, processing, expired, canceled; processing ──▶ paid, held, expired;
expired and canceled ──▶ paid when the money comes late and there are places; paid ──▶ refunded.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderTransition
from tmt.core.errors import NotFound, Refusal

HELD, PROCESSING, PAID = "held", "processing", "paid"
EXPIRED, CANCELED, REFUNDED = "expired", "canceled", "refunded"
STATUSES = (HELD, PROCESSING, PAID, EXPIRED, CANCELED, REFUNDED)
ENDED = (EXPIRED, CANCELED)


class Cause(StrEnum):
    """What moved an order on."""

    BUYER = "buyer"
    WEBHOOK = "webhook"
    RETURN_PAGE = "return_page"
    PAGE = "page"
    API = "api"
    EXPIRY = "expiry"
    RECONCILER = "reconciler"
    DECLINES = "declines"
    FREE = "free"
    STAFF = "staff"


# Who confirms a payment: anybody who has just heard it from Stripe.
_STRIPE = set(Cause) - {Cause.FREE, Cause.STAFF}

TRANSITIONS: dict[tuple[str, str], set[Cause]] = {
    (HELD, PAID): _STRIPE | {Cause.FREE},
    (HELD, PROCESSING): _STRIPE,
    (HELD, EXPIRED): _STRIPE,
    (HELD, CANCELED): _STRIPE | {Cause.STAFF},
    (HELD, REFUNDED): _STRIPE,
    (PROCESSING, PAID): _STRIPE,
    (PROCESSING, HELD): _STRIPE,
    (PROCESSING, EXPIRED): _STRIPE,
    (PROCESSING, CANCELED): _STRIPE,
    (PROCESSING, REFUNDED): _STRIPE,
    (EXPIRED, PAID): _STRIPE,
    (CANCELED, PAID): _STRIPE,
    (EXPIRED, REFUNDED): _STRIPE,
    (CANCELED, REFUNDED): _STRIPE,
    (PAID, REFUNDED): _STRIPE | {Cause.STAFF},
}


class IllegalTransition(Refusal):
    """The order may not go from its state to that one, or not by this cause."""


def locked_order(session: Session, order_id: int) -> Order:
    """The order as it is now, its row locked until the transaction ends; `NotFound`."""
    query = select(Order).where(Order.id == order_id).with_for_update()
    order = session.scalar(query.execution_options(populate_existing=True))
    if order is None:
        raise NotFound(f"no order {order_id}")
    return order


def move(session: Session, order: Order, to: str, cause: Cause, now: datetime) -> None:
    """Changes the status of a locked order and records it; `IllegalTransition` otherwise."""
    if cause not in TRANSITIONS.get((order.status, to), ()):
        raise IllegalTransition(f"order {order.code}: {order.status} to {to} by {cause}")
    session.add(
        OrderTransition(
            order_id=order.id, from_status=order.status, to_status=to, cause=cause, at=now
        )
    )
    order.status = to
    if to == PAID:
        order.paid_at, order.ended_at = now, None
    elif to in (*ENDED, REFUNDED):
        order.ended_at = now
