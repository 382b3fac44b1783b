"""STK-01: the on-sale race, by several processes on one database.

Four hundred buyers want a thousand tickets in orders of one to four; there are 150, of two types
that have 175 between them. Each order goes through `purchase`, as the form's does.
"""

from __future__ import annotations

import random
import time
from functools import partial

import pytest
from sqlalchemy import func, select, text

from tests.invariants import check_stock
from tests.race_workers import KILLED, RaceWorkers, Wish, guarded, unguarded
from tests.shopfront import add_event, overrides
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order

PROCESSES = 4
BUYERS = 400
CAPACITY = 150
OF_EACH_TYPE = (100, 75)


def wishes(rng: random.Random) -> list[Wish]:
    """What the buyers want, up to four tickets of one type or of both."""
    counts = ((n, m) for n, m in iter(lambda: (rng.randint(0, 4), rng.randint(0, 4)), None))
    fitting = (wish for wish in counts if 1 <= sum(wish) <= 4)
    return [next(fitting) for _buyer in range(BUYERS)]


class Race:
    """Processes that start to buy at once, each its share of the orders."""

    def __init__(self, settings, slug, wanted, buy=guarded):
        self.shares = [wanted[number::PROCESSES] for number in range(PROCESSES)]
        self.workers = RaceWorkers(settings, slug, {"buy": buy}, PROCESSES)
        self.workers.start(self.shares, "buy")

    def finish(self) -> tuple[list[Wish], list[Wish]]:
        """The wishes that became orders and those that were refused, of those still alive."""
        placed: list[Wish] = []
        refused: list[Wish] = []
        for number, (child, share) in enumerate(
            zip(self.workers.children, self.shares, strict=True)
        ):
            if child.exitcode != KILLED:
                bought = self.workers.result(number).placed
                for wish, got in zip(share, bought, strict=True):
                    (placed if got else refused).append(wish)
        self.workers.close()
        assert {child.exitcode for child in self.workers.children} <= {0, KILLED}
        return placed, refused


@pytest.fixture
def race(database_url, tmp_path):
    """Starts a race on the test's database."""
    nowhere = {"stripe_api_base": "http://127.0.0.1:1", "base_url": "http://localhost"}
    return partial(Race, overrides(database_url, tmp_path, **nowhere))


def stock(db, event):
    with db.reading() as session:
        types = session.scalars(
            select(TicketType).where(TicketType.event_id == event.id).order_by(TicketType.id)
        )
        return session.get_one(Event, event.id).held, tuple(t.held for t in types)


def orders(db):
    with db.reading() as session:
        return session.scalar(select(func.count(Order.id)))


def nobody_was_sent_away_wrongly(db, event, refused):
    """What is left is less than anybody wanted who was refused: places never come back here."""
    held, by_type = stock(db, event)
    left = CAPACITY - held
    left_of = [most - count for most, count in zip(OF_EACH_TYPE, by_type, strict=True)]
    for wish in refused:
        assert sum(wish) > left or any(n > m for n, m in zip(wish, left_of, strict=True))


def on_sale(db):
    return add_event(db, capacity=CAPACITY, capacities=OF_EACH_TYPE)


@pytest.mark.case("STK-01")
def test_stk01_exactly_the_capacity_is_held(db, race):
    event = on_sale(db)
    run = race(event.slug, wishes(random.Random(7)))
    placed, refused = run.finish()
    held, by_type = stock(db, event)
    # Among so many there are buyers of one place, so that nothing need be left.
    assert held == sum(map(sum, placed)) == CAPACITY
    assert by_type == tuple(map(sum, zip(*placed, strict=True)))
    assert orders(db) == len(placed)
    nobody_was_sent_away_wrongly(db, event, refused)
    check_stock(db)


@pytest.mark.case("STK-01")
def test_stk01_a_process_is_killed_in_the_middle(db, race):
    """What it had not committed is gone and blocks nobody; what it had is a whole order."""
    event, rng = on_sale(db), random.Random(11)
    run = race(event.slug, wishes(rng))
    enough = rng.randint(CAPACITY // 10, CAPACITY // 3)
    deadline = time.monotonic() + 60
    while stock(db, event)[0] < enough:
        assert time.monotonic() < deadline
    number = rng.randrange(PROCESSES)
    victim = run.workers.children[number]
    victim.kill()
    victim.join(20)
    assert victim.exitcode == KILLED
    with pytest.raises(EOFError):
        run.workers.result(number)
    placed, refused = run.finish()
    assert stock(db, event)[0] == CAPACITY
    assert orders(db) >= len(placed)
    nobody_was_sent_away_wrongly(db, event, refused)
    check_stock(db)


@pytest.mark.case("STK-01")
def test_stk01_each_ticket_type_sells_exactly_its_own(db, race):
    event = add_event(db, capacity=None, capacities=(11, 7))
    run = race(event.slug, [(1, 0), (0, 1)] * 20)
    run.finish()
    assert stock(db, event) == (18, (11, 7))
    check_stock(db)


@pytest.mark.case("STK-01")
def test_stk01_control_without_the_guard_the_same_trial_oversells(db, race):
    event = on_sale(db)
    if not db.is_sqlite:
        drop = "ALTER TABLE {} DROP CONSTRAINT stock_within_capacity"
        for table in ("events", "ticket_types"):
            db.transaction(partial(_run, text(drop.format(table))))
    run = race(event.slug, wishes(random.Random(7)), buy=unguarded)
    run.finish()
    assert stock(db, event)[0] > CAPACITY
    with pytest.raises(AssertionError):
        check_stock(db)


def _run(statement, session):
    session.execute(statement)
