"""The table of an order's transitions, every combination of it."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from tests.shopfront import add_event
from tmt.checkout.models import Order, OrderStatus, OrderTransition
from tmt.checkout.states import IllegalTransition, Trigger, lock_order, transition
from tmt.core.clock import Clock
from tmt.core.errors import NotFound
from tmt.core.ids import new_order_code, new_token

STRIPE_READERS = {
    Trigger.WEBHOOK,
    Trigger.RETURN_PAGE,
    Trigger.PAGE,
    Trigger.API,
    Trigger.EXPIRY,
    Trigger.BUYER,
    Trigger.RECONCILER,
    Trigger.DECLINES,
    Trigger.EVENT,
}
# Every other combination is refused.
ALLOWED = {
    (OrderStatus.HELD, OrderStatus.PAID): STRIPE_READERS | {Trigger.FREE},
    (OrderStatus.HELD, OrderStatus.PROCESSING): STRIPE_READERS,
    (OrderStatus.HELD, OrderStatus.EXPIRED): STRIPE_READERS,
    (OrderStatus.HELD, OrderStatus.CANCELED): STRIPE_READERS | {Trigger.STAFF},
    (OrderStatus.HELD, OrderStatus.REFUNDED): STRIPE_READERS,
    (OrderStatus.PROCESSING, OrderStatus.PAID): STRIPE_READERS,
    (OrderStatus.PROCESSING, OrderStatus.HELD): STRIPE_READERS,
    (OrderStatus.PROCESSING, OrderStatus.EXPIRED): STRIPE_READERS,
    (OrderStatus.PROCESSING, OrderStatus.CANCELED): STRIPE_READERS | {Trigger.STAFF},
    (OrderStatus.PROCESSING, OrderStatus.REFUNDED): STRIPE_READERS,
    (OrderStatus.EXPIRED, OrderStatus.PAID): STRIPE_READERS,
    (OrderStatus.EXPIRED, OrderStatus.REFUNDED): STRIPE_READERS,
    (OrderStatus.CANCELED, OrderStatus.PAID): STRIPE_READERS,
    (OrderStatus.CANCELED, OrderStatus.REFUNDED): STRIPE_READERS,
    (OrderStatus.PAID, OrderStatus.REFUNDED): STRIPE_READERS | {Trigger.STAFF},
    (OrderStatus.REFUNDED, OrderStatus.PAID): {Trigger.WEBHOOK, Trigger.RECONCILER},
}
COMBINATIONS = list(itertools.product(OrderStatus, OrderStatus, Trigger))


def an_order(db, status: str) -> int:
    event, now = add_event(db), Clock().now()

    def unit(session):
        order = Order(
            code=new_order_code(),
            token=new_token(),
            checkout_token=new_token(),
            event_id=event.id,
            status=status,
            name="Ana",
            email="ana@example.com",
            email_key="ana@example.com",
            locale="es",
            total=2500,
            currency="usd",
            livemode=False,
            created_at=now,
            expires_at=now,
        )
        session.add(order)
        session.flush()
        return order.id

    return db.transaction(unit)


def test_every_status_to_every_status_by_every_trigger(db):
    order_id, now = an_order(db, OrderStatus.HELD), Clock().now()

    def unit(session):
        order = lock_order(session, order_id)
        for before, to, trigger in COMBINATIONS:
            order.status = before
            if trigger in ALLOWED.get((before, to), ()):
                transition(session, order, to, trigger, now)
                assert order.status == to
                continue
            with pytest.raises(IllegalTransition, match=f"{before} to {to} by {trigger}"):
                transition(session, order, to, trigger, now)
            assert order.status == before

    db.transaction(unit)


def test_an_error_has_the_name_of_its_class():
    assert IllegalTransition("order X").name == "IllegalTransition"


def test_a_transition_is_recorded_with_its_trigger(db):
    order_id, now = an_order(db, OrderStatus.EXPIRED), Clock().now()
    db.transaction(
        lambda s: transition(s, lock_order(s, order_id), OrderStatus.PAID, Trigger.RETURN_PAGE, now)
    )
    with db.reading() as session:
        row = session.scalars(select(OrderTransition)).one()
        order = session.get_one(Order, order_id)
    assert (row.from_status, row.to_status) == (OrderStatus.EXPIRED, OrderStatus.PAID)
    assert (row.triggered_by, row.at) == ("return_page", now)
    assert (order.paid_at, order.ended_at) == (now, None)


def test_an_illegal_transition_writes_nothing(db):
    order_id, now = an_order(db, OrderStatus.REFUNDED), Clock().now()
    with pytest.raises(IllegalTransition):
        db.transaction(
            lambda s: transition(s, lock_order(s, order_id), OrderStatus.PAID, Trigger.STAFF, now)
        )
    with db.reading() as session:
        assert session.get_one(Order, order_id).status == OrderStatus.REFUNDED
        assert not session.scalars(select(OrderTransition)).all()


@pytest.mark.databases("postgresql")
def test_a_locked_order_is_nobody_elses_until_the_transaction_ends(db):
    """SQLite's transactions keep each other out from their start, with or without it."""
    order_id = an_order(db, OrderStatus.HELD)
    lock = select(Order.id).where(Order.id == order_id).with_for_update(nowait=True)

    def unit(session):
        lock_order(session, order_id)
        with db.engine.connect() as other, pytest.raises(OperationalError, match="obtain lock"):
            other.execute(lock)

    db.transaction(unit)
    with db.engine.connect() as other:
        assert other.scalar(lock) == order_id


def test_an_order_that_does_not_exist_cannot_be_locked(db):
    with pytest.raises(NotFound):
        db.transaction(lambda s: lock_order(s, 4711))
