"""The shop that is written to: gunicorn, a sandbox, jobs, sweepers, the office, on one database."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.benchmarks.processes import ROOT, free_port, running, wait_until_answered
from tests.benchmarks.stage import Stage
from tmt.catalog.file_format import parse_catalogue
from tmt.catalog.import_export import export_catalogue, import_catalogue
from tmt.catalog.models import Event, TicketType
from tmt.core.database import Database
from tmt.factory import create_app
from tmt.shop import Shop

SECRET_KEY = "sk_test_writers0000000000001"
PUBLISHABLE_KEY = "pk_test_writers0000000000001"
SIGNING_SECRET = "whsec_writers"
SWEEPERS = 2
_WORKERS, _THREADS = 2, 20
_HOLD_MINUTES = 15
# A sweeper is so much ahead that holds end while their buyers are still on the pay page.
_AHEAD = timedelta(minutes=_HOLD_MINUTES, seconds=-8)
_MOST_PLACES = 1_000_000
_LIMITED = ("ORDERS", "CONFIRMS", "FINDS", "API")
_PLENTY = "1000000 per minute"
spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Stand:
    """The running shop: where it and its Stripe answer, its database, and what was printed."""

    shop: str
    stripe: str
    database_url: str
    folders: tuple[Path, ...]

    def printed(self) -> str:
        """The output of all its processes."""
        return "".join((folder / "output.log").read_text() for folder in self.folders)


@contextmanager
def stand_on(stage: Stage, kind: str) -> Iterator[Stand]:
    """Starts every process on a database of this kind; each is ended by its id with the block."""
    shop, box, jobs = stage.folder(), stage.folder(), stage.folder()
    port, stripe_port = free_port(), free_port()
    url = _database(stage, kind)
    environment = _environment(shop, url, port, stripe_port)
    (box / "s.keys").write_text("\n".join((SECRET_KEY, PUBLISHABLE_KEY, SIGNING_SECRET)))
    sandbox = [sys.executable, "-m", "tmt.sandbox", "--port", str(stripe_port), "--store", "s"]
    sandbox += ["--webhook", f"http://127.0.0.1:{port}/stripe_webhook"]
    server = [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"127.0.0.1:{port}"]
    server += ["--worker-class", "gthread", "--workers", str(_WORKERS)]
    server += ["--threads", str(_THREADS), "--keep-alive", "30"]
    consumer = [sys.executable, "-m", "flask", "--app", "app", "jobs"]
    with ExitStack() as closing:
        begun = closing.enter_context(running(sandbox, box, {"PYTHONPATH": str(ROOT)}))
        wait_until_answered(begun, box, stripe_port, "/")
        begun = closing.enter_context(running(server, shop, environment))
        wait_until_answered(begun, shop, port, "/healthz")
        closing.enter_context(running(consumer, jobs, environment))
        closing.enter_context(_at_work(_overrides(shop, url, port, stripe_port)))
        yield Stand(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{stripe_port}", url, (shop, box, jobs)
        )


def _database(stage: Stage, kind: str) -> str:
    """A database with an event on sale, with no more places than a catalogue file may state."""
    url = stage.shop_database(kind)
    db = Database(url)
    for table in (Event, TicketType):
        db.transaction(partial(_execute, update(table).values(capacity=_MOST_PLACES)))
    db.close()
    return url


def _execute(statement: Any, session: Session) -> None:
    session.execute(statement)


@contextmanager
def _at_work(overrides: dict[str, Any]) -> Iterator[None]:
    over = spawn.Event()
    targets = [sweep] * SWEEPERS + [keep_the_catalogue]
    children = [spawn.Process(target=target, args=(overrides, over)) for target in targets]
    for child in children:
        child.start()
    try:
        yield
    finally:
        over.set()
        for child in children:
            child.join(60)
    failed = [child.exitcode for child in children if child.exitcode]
    assert not failed, f"a sweeper or the office ended with {failed}; its error stands above"


def sweep(overrides: dict[str, Any], over: Any) -> None:
    """Ends holds as the jobs do, a little early, in a process of its own."""
    shop: Shop = create_app(overrides).extensions["tmt"].shop
    shop.clock._offset = lambda: _AHEAD
    while not over.wait(0.2):
        shop.jobs._duties["holds"]()
    shop.db.close()


def keep_the_catalogue(overrides: dict[str, Any], over: Any) -> None:
    """Exports all events and imports them again, as an office that edits them would."""
    shop: Shop = create_app(overrides).extensions["tmt"].shop
    while not over.wait(0.2):
        now = shop.clock.now()
        with shop.db.reading() as session:
            written = export_catalogue(session)
        import_catalogue(shop.db, parse_catalogue(written, "catalogue", now), now)
    shop.db.close()


def _overrides(folder: Path, url: str, port: int, stripe_port: int) -> dict[str, Any]:
    return {
        "secret_key": "only for tests, and long enough",
        "database_url": url,
        "instance": folder / "instance",
        "stripe_secret_key": SECRET_KEY,
        "stripe_publishable_key": PUBLISHABLE_KEY,
        "stripe_webhook_secrets": (SIGNING_SECRET,),
        "stripe_api_base": f"http://127.0.0.1:{stripe_port}",
        "base_url": f"http://127.0.0.1:{port}",
        "log_level": "WARNING",
    }


def _environment(folder: Path, url: str, port: int, stripe_port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": "only for tests, and long enough",
        "DATABASE_URL": url,
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_PUBLISHABLE_KEY": PUBLISHABLE_KEY,
        "STRIPE_WEBHOOK_SECRET": SIGNING_SECRET,
        "STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
        "TMT_BASE_URL": f"http://127.0.0.1:{port}",
        "TMT_INSTANCE": str(folder / "instance"),
        "TMT_HOLD_MINUTES": str(_HOLD_MINUTES),
        "TMT_LOG_LEVEL": "WARNING",
        **{f"TMT_{limit}_PER_ADDRESS": _PLENTY for limit in _LIMITED},
        "TMT_ORDERS_PER_EMAIL": _PLENTY,
    }
