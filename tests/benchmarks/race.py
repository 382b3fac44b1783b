"""Everybody at once: processes that want more places than there are, against the bare SQL.

Of three buyers one gets places and two are told that there are none left, as when a sale begins.
A goal of 2.5 times the bare one's time is said as a share of its rate.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tests.benchmarks.bare_order import BareShop
from tests.benchmarks.bench_env import DATABASES, SLUG, BenchEnv
from tests.benchmarks.load import Turns
from tests.benchmarks.table import Row, rate_row, scaling_row
from tests.race_workers import Buy, RaceWorkers, Wish, guarded
from tests.shopfront import overrides
from tmt.catalog.listing import find_event
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.core.database import Database

GOAL = 1 / 2.5
_PROCESSES = (1, 2, 4)
_BUYERS, _ORDERS = 240, 80
_WISH: Wish = (2, 1)
_ROUNDS = 3
_Turns = dict[tuple[str, int], Turns]


def run(env: BenchEnv) -> list[Row]:
    """Answers to buyers per second from 1, 2 and 4 processes, on each kind of database."""
    return [row for kind in DATABASES for row in _compared(env, kind)]


def _compared(env: BenchEnv, kind: str) -> list[Row]:
    url = env.shop_database(kind)
    database = Database(url)
    nowhere = {"stripe_api_base": "http://127.0.0.1:1", "base_url": "http://127.0.0.1:2"}
    settings = overrides(url, env.folder(), **nowhere)
    workers = RaceWorkers(settings, SLUG, {"ours": guarded, "bare": bare_sql}, max(_PROCESSES))
    turns = _take_turns(workers, database)
    workers.close()
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


def bare_sql(settings: Mapping[str, Any], slug: str) -> Buy:
    """Buys by the bare SQL."""
    url = settings["database_url"]
    database = Database(url)
    with database.reading() as session:
        types = find_event(session, slug).ticket_types
    database.close()
    shop = BareShop(url.replace("postgresql+psycopg:", "postgresql:"), slug)
    return lambda wish: shop.place({t.id: n for t, n in zip(types, wish, strict=False)})


def _take_turns(workers: RaceWorkers, database: Database) -> _Turns:
    turns: _Turns = {(one, n): Turns() for n in _PROCESSES for one in ("ours", "bare")}
    for number in range(_ROUNDS + 1):
        for (kind, processes), mine in turns.items():
            before = database.transaction(_put_on_sale)
            started = time.perf_counter()
            workers.start([[_WISH] * (_BUYERS // processes)] * processes, kind, threads=1)
            shares = [workers.result(worker) for worker in range(processes)]
            seconds = time.perf_counter() - started
            with database.reading() as session:
                placed = (session.scalar(select(func.count(Order.id))) or 0) - before
            assert sum(sum(share.placed) for share in shares) == placed == _ORDERS, placed
            if number:
                # The first round is for everybody to warm up.
                mine.note(_BUYERS, seconds, sum(share.processor_seconds for share in shares))
    return turns


def _put_on_sale(session: Session) -> int:
    """Leaves tickets for so many orders; how many there are already."""
    left = Event.held + Event.sold + _ORDERS * sum(_WISH)
    session.execute(update(Event).where(Event.slug == SLUG).values(capacity=left))
    return session.scalar(select(func.count(Order.id))) or 0
