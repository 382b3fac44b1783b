"""The shop that is written to: a deployment, and beside it sweepers and an office at work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.benchmarks.bench_env import BenchEnv
from tests.deployment import UNLIMITED, Deployment, deploy
from tmt.catalog.import_export import export_catalogue, import_catalogue, read_catalogue
from tmt.catalog.models import Event, TicketType
from tmt.core.database import Database
from tmt.factory import create_app
from tmt.shop import Shop

SWEEPERS = 2
_THREADS = 20
_HOLD_MINUTES = 15
# A sweeper is so much ahead that holds end while their buyers are still on the pay page.
_AHEAD = timedelta(minutes=_HOLD_MINUTES, seconds=-8)
# No more than a catalogue file may state.
_CAPACITY = 1_000_000
spawn = multiprocessing.get_context("spawn")


@contextmanager
def load_env(env: BenchEnv, kind: str) -> Iterator[Deployment]:
    """Starts every process on a database of this kind; all end with the block."""
    folder, url = env.folder(), env.shop_database(kind)
    _limit_capacity(url)
    settings = UNLIMITED | {"TMT_HOLD_MINUTES": str(_HOLD_MINUTES), "TMT_LOG_LEVEL": "WARNING"}
    with deploy(folder, url, settings, threads=_THREADS) as shop:
        over = spawn.Event()
        children = [
            spawn.Process(target=target, args=(shop.overrides, over))
            for target in [sweep] * SWEEPERS + [edit_catalogue]
        ]
        for child in children:
            child.start()
        try:
            yield shop
        finally:
            over.set()
            for child in children:
                child.join(60)
        failed = [child.exitcode for child in children if child.exitcode]
        assert not failed, f"a sweeper or the office ended with {failed}; its error stands above"


def printed(shop: Deployment) -> str:
    """The output of all the shop's processes."""
    logs: list[Path] = [program.log for program in [shop.sandbox, *shop.shop_programs]]
    return "".join(log.read_text() for log in logs)


def _limit_capacity(url: str) -> None:
    def unit(session: Session) -> None:
        for table in (Event, TicketType):
            session.execute(update(table).values(capacity=_CAPACITY))

    db = Database(url)
    db.transaction(unit)
    db.close()


def sweep(settings: Mapping[str, str], over: Any) -> None:
    """Ends holds as the jobs do, a little early, in a process of its own."""
    shop: Shop = create_app(dict(settings)).extensions["tmt"].shop
    shop.clock._offset = lambda: _AHEAD
    while not over.wait(0.2):
        shop.jobs.run("holds")
    shop.db.close()


def edit_catalogue(settings: Mapping[str, str], over: Any) -> None:
    """Exports all events and imports them again, as an office that edits them would."""
    shop: Shop = create_app(dict(settings)).extensions["tmt"].shop
    while not over.wait(0.2):
        now = shop.clock.now()
        with shop.db.reading() as session:
            written = export_catalogue(session)
        import_catalogue(shop.db, read_catalogue(written, "catalogue", now).events, now)
    shop.db.close()
