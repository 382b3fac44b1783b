"""STK-01: the on-sale race, by several processes on one database."""

from __future__ import annotations

import multiprocessing
import random
from functools import partial

import pytest
from sqlalchemy import select, text

from tests import processes
from tests.actions import add_event
from tests.invariants import check_stock
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order

PROCESSES = 3


def race(db, tmp_path, event, wanted, guarded=True) -> int:
    """Shares the orders out to processes that start at once; how many orders were placed."""
    spawn = multiprocessing.get_context("spawn")
    settings = {
        "secret_key": "only for tests",
        "database_url": db.engine.url.render_as_string(hide_password=False),
        "instance": tmp_path / "instance",
        "stripe_secret_key": "sk_test_race",
        "stripe_publishable_key": "pk_test_race",
        "base_url": "http://localhost",
        "log_level": "WARNING",
    }
    barrier, placed = spawn.Barrier(PROCESSES), spawn.Queue()
    children = [
        spawn.Process(
            target=processes.buy,
            args=(settings, event.slug, wanted[n::PROCESSES], guarded, barrier, placed),
        )
        for n in range(PROCESSES)
    ]
    for child in children:
        child.start()
    count = sum(placed.get(timeout=120) for _ in children)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    return count


def run(statement, session):
    session.execute(statement)


def stock(db, event):
    with db.reading() as session:
        types = session.scalars(select(TicketType).where(TicketType.event_id == event.id))
        return session.get_one(Event, event.id).held, [t.held for t in types]


def mixed_orders(rng: random.Random) -> list[tuple[int, int]]:
    """Orders of 1 to 3 places, then single places enough to use up whatever is left."""
    mixed = [(rng.randint(0, 2), rng.randint(0, 1)) for _ in range(40)]
    return [w for w in mixed if any(w)] + [(1, 0), (0, 1)] * 30


def test_stk01_exactly_the_capacity_is_sold(db, tmp_path):
    event = add_event(db, capacity=50, capacities=(40, 20))
    placed = race(db, tmp_path, event, mixed_orders(random.Random(7)))
    held, by_type = stock(db, event)
    assert held == 50
    assert sum(by_type) == 50
    assert by_type[0] <= 40
    assert by_type[1] <= 20
    with db.reading() as session:
        assert len(session.scalars(select(Order.id)).all()) == placed
    check_stock(db)


def test_stk01_each_ticket_type_sells_exactly_its_own(db, tmp_path):
    event = add_event(db, capacity=None, capacities=(11, 7))
    race(db, tmp_path, event, [(1, 0), (0, 1)] * 20)
    assert stock(db, event) == (18, [11, 7])
    check_stock(db)


def test_stk01_control_without_the_guard_the_same_trial_oversells(db, tmp_path):
    event = add_event(db, capacity=20, prices=(7500,), capacities=(None,))
    if not db.is_sqlite:
        drop = "ALTER TABLE {} DROP CONSTRAINT stock_within_capacity"
        for table in ("events", "ticket_types"):
            db.transaction(partial(run, text(drop.format(table))))
    race(db, tmp_path, event, [(1,)] * 90, guarded=False)
    assert stock(db, event)[0] > 20
    with pytest.raises(AssertionError):
        check_stock(db)
