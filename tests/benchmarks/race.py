"""Everybody at once: processes that want more places than there are, against the bare SQL.

Of three buyers one gets places and two are told that there are none left, as when a sale begins.
A goal of 2.5 times the bare one's time is said as a share of its rate.
"""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tests.benchmarks.load import Turns
from tests.benchmarks.racers import Racers, racers
from tests.benchmarks.stage import DATABASES, SLUG, Stage
from tests.benchmarks.table import Row, rate_row, scaling_row
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.core.database import Database

GOAL = 1 / 2.5
_PROCESSES = (1, 2, 4)
_BUYERS, _ORDERS, _PLACES = 240, 80, 3
_ROUNDS = 3
_Turns = dict[tuple[str, int], Turns]


def run(stage: Stage) -> list[Row]:
    """Answers to buyers per second from 1, 2 and 4 processes, on each kind of database."""
    return [row for kind in DATABASES for row in _compared(stage, kind)]


def _compared(stage: Stage, kind: str) -> list[Row]:
    url = stage.shop_database(kind)
    database = Database(url)
    plain_url = url.replace("postgresql+psycopg:", "postgresql:")
    with racers(stage.folder(), plain_url, max(_PROCESSES)) as started:
        turns = _take_turns(started, database)
    database.close()
    rows = [
        rate_row(f"on-sale race, {_named(n)}, {kind}", turns["ours", n], turns["bare", n], GOAL)
        for n in _PROCESSES
    ]
    least, most = _PROCESSES[0], _PROCESSES[-1]
    ours, bare = ([turns[one, n].rates for n in (least, most)] for one in ("ours", "bare"))
    what = f"  {most} processes to {least}, {kind}"
    return [*rows, scaling_row(what, ours, bare)]


def _named(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def _take_turns(started: Racers, database: Database) -> _Turns:
    turns: _Turns = {(one, n): Turns() for n in _PROCESSES for one in ("ours", "bare")}
    for number in range(_ROUNDS + 1):
        for (kind, processes), mine in turns.items():
            before = database.transaction(_put_on_sale)
            seconds, told = started.race(kind, processes, _BUYERS)
            with database.reading() as session:
                placed = (session.scalar(select(func.count(Order.id))) or 0) - before
            assert sum(one.placed for one in told) == placed == _ORDERS, (told, placed)
            if number:
                # The first round is for everybody to warm up.
                mine.note(_BUYERS, seconds, sum(one.processor_seconds for one in told))
    return turns


def _put_on_sale(session: Session) -> int:
    """Leaves places for so many orders; how many there are already."""
    left = Event.held + Event.sold + _ORDERS * _PLACES
    session.execute(update(Event).where(Event.slug == SLUG).values(capacity=left))
    return session.scalar(select(func.count(Order.id))) or 0
