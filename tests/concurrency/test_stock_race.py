"""STK-01: the on-sale race, by several processes on one database.

A thousand buyers want 2,500 places in orders of one to four; there are 300, of two ticket types
that have 350 between them. Each order goes through `place_order`, as the form's does.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text

from tests import processes
from tests.actions import add_event
from tests.invariants import check_stock
from tests.processes import Wanted
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order

PROCESSES = 4
BUYERS = 1000
PLACES = 300
OF_EACH_TYPE = (200, 150)
_KILLED = -9
spawn = multiprocessing.get_context("spawn")


def wishes(rng: random.Random) -> list[Wanted]:
    """What the buyers want, up to four places of one type or of both."""
    counts = ((n, m) for n, m in iter(lambda: (rng.randint(0, 4), rng.randint(0, 4)), None))
    fitting = (wish for wish in counts if 1 <= sum(wish) <= 4)
    return [next(fitting) for _buyer in range(BUYERS)]


@dataclass
class Race:
    """Processes that start to buy at once, each its share of the orders."""

    settings: dict[str, Any]
    slug: str
    wanted: list[Wanted]
    guarded: bool = True
    children: list[Any] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Returns when all are at the line."""
        barrier = spawn.Barrier(PROCESSES + 1)
        for number in range(PROCESSES):
            answer, told = spawn.Pipe(duplex=False)
            share = self.wanted[number::PROCESSES]
            given = (self.settings, self.slug, share, self.guarded, barrier, told)
            child = spawn.Process(target=processes.buy, args=given)
            child.start()
            told.close()
            self.children.append(child)
            self.answers.append(answer)
        barrier.wait(timeout=60)

    def finish(self) -> tuple[list[Wanted], list[Wanted]]:
        """The wishes that became orders and those that were refused, of those still alive."""
        placed: list[Wanted] = []
        refused: list[Wanted] = []
        for number, (child, answer) in enumerate(zip(self.children, self.answers, strict=True)):
            if child.exitcode != _KILLED:
                assert answer.poll(120)
                share = self.wanted[number::PROCESSES]
                for wish, got in zip(share, answer.recv(), strict=True):
                    (placed if got else refused).append(wish)
                child.join(60)
                assert child.exitcode == 0
            answer.close()
        return placed, refused


@pytest.fixture
def race(db, tmp_path):
    """Makes a race on the test's database."""
    settings = {
        "secret_key": "only for tests",
        "database_url": db.engine.url.render_as_string(hide_password=False),
        "instance": tmp_path / "instance",
        "stripe_secret_key": "sk_test_race",
        "stripe_publishable_key": "pk_test_race",
        "base_url": "http://localhost",
        "log_level": "WARNING",
    }
    return partial(Race, settings)


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
    left = PLACES - held
    left_of = [most - count for most, count in zip(OF_EACH_TYPE, by_type, strict=True)]
    for wish in refused:
        assert sum(wish) > left or any(n > m for n, m in zip(wish, left_of, strict=True))


def on_sale(db):
    return add_event(db, capacity=PLACES, capacities=OF_EACH_TYPE)


@pytest.mark.case("STK-01")
def test_stk01_exactly_the_capacity_is_held(db, race):
    event = on_sale(db)
    run = race(event.slug, wishes(random.Random(7)))
    run.start()
    placed, refused = run.finish()
    held, by_type = stock(db, event)
    # Among so many there are buyers of one place, so that nothing need be left.
    assert held == sum(map(sum, placed)) == PLACES
    assert by_type == tuple(map(sum, zip(*placed, strict=True)))
    assert orders(db) == len(placed)
    nobody_was_sent_away_wrongly(db, event, refused)
    check_stock(db)


@pytest.mark.case("STK-01")
def test_stk01_a_process_is_killed_in_the_middle(db, race):
    """What it had not committed is gone and blocks nobody; what it had is a whole order."""
    event, rng = on_sale(db), random.Random(11)
    run = race(event.slug, wishes(rng))
    run.start()
    enough = rng.randint(PLACES // 10, PLACES // 3)
    deadline = time.monotonic() + 60
    while stock(db, event)[0] < enough:
        assert time.monotonic() < deadline
    number = rng.randrange(PROCESSES)
    victim = run.children[number]
    victim.kill()
    victim.join(20)
    assert victim.exitcode == _KILLED
    with pytest.raises(EOFError):
        run.answers[number].recv()
    placed, refused = run.finish()
    assert stock(db, event)[0] == PLACES
    assert orders(db) >= len(placed)
    nobody_was_sent_away_wrongly(db, event, refused)
    check_stock(db)


@pytest.mark.case("STK-01")
def test_stk01_each_ticket_type_sells_exactly_its_own(db, race):
    event = add_event(db, capacity=None, capacities=(11, 7))
    run = race(event.slug, [(1, 0), (0, 1)] * 20)
    run.start()
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
    run = race(event.slug, wishes(random.Random(7)), guarded=False)
    run.start()
    run.finish()
    assert stock(db, event)[0] > PLACES
    with pytest.raises(AssertionError):
        check_stock(db)


def _run(statement, session):
    session.execute(statement)
