"""The table of an order's transitions, each cell of it."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import select

from tests.actions import add_event
from tmt.checkout.models import Order, OrderTransition
from tmt.checkout.states import (
    CANCELED,
    EXPIRED,
    HELD,
    PAID,
    PROCESSING,
    REFUNDED,
    STATUSES,
    Cause,
    IllegalTransition,
    locked_order,
    move,
)
from tmt.core.clock import Clock
from tmt.core.errors import NotFound
from tmt.core.ids import new_order_code, new_token

STRIPE_SAYS = {
    Cause.WEBHOOK,
    Cause.RETURN_PAGE,
    Cause.PAGE,
    Cause.API,
    Cause.EXPIRY,
    Cause.BUYER,
    Cause.RECONCILER,
    Cause.DECLINES,
}
# Every way there is; what is not here is refused.
ALLOWED = {
    (HELD, PAID): STRIPE_SAYS | {Cause.FREE},
    (HELD, PROCESSING): STRIPE_SAYS,
    (HELD, EXPIRED): STRIPE_SAYS,
    (HELD, CANCELED): STRIPE_SAYS | {Cause.STAFF},
    (HELD, REFUNDED): STRIPE_SAYS,
    (PROCESSING, PAID): STRIPE_SAYS,
    (PROCESSING, HELD): STRIPE_SAYS,
    (PROCESSING, EXPIRED): STRIPE_SAYS,
    (PROCESSING, CANCELED): STRIPE_SAYS,
    (PROCESSING, REFUNDED): STRIPE_SAYS,
    (EXPIRED, PAID): STRIPE_SAYS,
    (EXPIRED, REFUNDED): STRIPE_SAYS,
    (CANCELED, PAID): STRIPE_SAYS,
    (CANCELED, REFUNDED): STRIPE_SAYS,
    (PAID, REFUNDED): STRIPE_SAYS | {Cause.STAFF},
}
CELLS = list(itertools.product(STATUSES, STATUSES, Cause))


def an_order(db, status: str) -> int:
    event, now = add_event(db), Clock().now()

    def unit(session):
        order = Order(
            code=new_order_code(), token=new_token(), checkout_token=new_token(),
            event_id=event.id, status=status, name="Ana", email="ana@example.com",
            email_key="ana@example.com", locale="es", total=2500, currency="usd",
            livemode=False, created_at=now, expires_at=now,
        )  # fmt: skip
        session.add(order)
        session.flush()
        return order.id

    return db.transaction(unit)


def test_every_state_every_state_every_cause(db):
    order_id, now = an_order(db, HELD), Clock().now()

    def unit(session):
        order = locked_order(session, order_id)
        for was, to, cause in CELLS:
            order.status = was
            if cause in ALLOWED.get((was, to), ()):
                move(session, order, to, cause, now)
                assert order.status == to
                continue
            with pytest.raises(IllegalTransition, match=f"{was} to {to} by {cause}"):
                move(session, order, to, cause, now)
            assert order.status == was

    db.transaction(unit)


def test_a_refusal_goes_by_its_name():
    assert IllegalTransition("order X").name == "IllegalTransition"


def test_a_transition_is_recorded_with_its_cause(db):
    order_id, now = an_order(db, EXPIRED), Clock().now()
    db.transaction(lambda s: move(s, locked_order(s, order_id), PAID, Cause.RETURN_PAGE, now))
    with db.reading() as session:
        written = session.scalars(select(OrderTransition)).one()
        order = session.get_one(Order, order_id)
    assert (written.from_status, written.to_status) == (EXPIRED, PAID)
    assert (written.cause, written.at) == ("return_page", now)
    assert (order.paid_at, order.ended_at) == (now, None)


def test_a_refused_transition_leaves_nothing_behind(db):
    order_id, now = an_order(db, REFUNDED), Clock().now()
    with pytest.raises(IllegalTransition):
        db.transaction(lambda s: move(s, locked_order(s, order_id), PAID, Cause.STAFF, now))
    with db.reading() as session:
        assert session.get_one(Order, order_id).status == REFUNDED
        assert not session.scalars(select(OrderTransition)).all()


def test_an_order_that_does_not_exist_cannot_be_locked(db):
    with pytest.raises(NotFound):
        db.transaction(lambda s: locked_order(s, 4711))
