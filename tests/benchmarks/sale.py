"""Orders to the end, over HTTP with everything at work, against saying hello to the same clients.

Beside gunicorn run `flask jobs` and the sandbox, each a process of its own. A paid order is one
that Stripe's webhook has settled: nobody looks at the return page. The jobs write the letters
meanwhile, as far as they get.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select, update

from tests.benchmarks.buyers import Errand, Visits
from tests.benchmarks.load import PROCESSES, Turns, carried_out
from tests.benchmarks.page import head_of
from tests.benchmarks.processes import (
    ROOT,
    free_port,
    gunicorn,
    processor_seconds,
    running,
    seconds_of,
    shop_environment,
    wait_until_answered,
)
from tests.benchmarks.stage import DATABASES, FREE_SLUG, SLUG, Stage
from tests.benchmarks.table import Row, percentile_row, rate_row
from tmt.core.database import Database
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow

GOALS = {"free": 1 / 80, "paid": 1 / 200}
_SECONDS = {"hello": 1.0, "free": 2.0, "paid": 3.0}
_ROUNDS = 3
_REST_SECONDS, _LETTER_SECONDS = 60.0, 0.5
_COMMAND = [sys.executable, "-S", "-E", "-m", "tests.benchmarks.buyers"]
_KEYS = ("sk_test_", "pk_test_", "whsec_")


@dataclass
class Measured:
    """What the visits of one kind showed."""

    turns: Turns = field(default_factory=Turns)
    took: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Errands:
    """The errands by their kind, and what the servers of each have used of the processor."""

    errands: Mapping[str, Errand]
    used: Mapping[str, Callable[[], float]]
    rest: Callable[[], None]


def run(stage: Stage) -> list[Row]:
    """Orders per second of 8 clients, and how long one takes, on each kind of database."""
    return [row for kind in DATABASES for row in _compared(stage, kind)]


def _compared(stage: Stage, kind: str) -> list[Row]:
    with _open(stage, kind) as place:
        measured = _take_turns(place)
    bare, rows = measured["hello"], []
    for name, goal in GOALS.items():
        ours = measured[name]
        rows += [
            rate_row(f"{name} order to the end, {kind}", ours.turns, bare.turns, goal),
            percentile_row("  half took, 95 of 100 took", ours.took, bare.took),
        ]
    return rows


def _take_turns(place: Errands) -> dict[str, Measured]:
    for errand in place.errands.values():
        _visits(replace(errand, seconds=0.5))
    place.rest()
    measured = {name: Measured() for name in place.errands}
    for _round in range(_ROUNDS):
        for name, errand in place.errands.items():
            used = place.used[name]()
            seen = _visits(errand)
            took = [seconds for one in seen for seconds in one.took]
            measured[name].took += took
            seconds = max(one.seconds for one in seen)
            measured[name].turns.note(len(took), seconds, place.used[name]() - used)
            place.rest()
    return measured


def _visits(errand: Errand) -> list[Visits]:
    return [Visits(**one) for one in carried_out(_COMMAND, asdict(errand), PROCESSES)]


@contextmanager
def _open(stage: Stage, kind: str) -> Iterator[Errands]:
    """A shop with its jobs and its Stripe, and hello beside it."""
    port, bare, stripe = free_port(), free_port(), free_port()
    folder, url = stage.folder(), stage.shop_database(kind)
    keys = [start + secrets.token_hex(16) for start in _KEYS]
    settings = _settings(folder, url, port, stripe, keys)
    head = head_of("{path}").replace("GET", "{method}", 1)
    with (
        _sandbox(stage.folder(), stripe, f"http://127.0.0.1:{port}/stripe_webhook", keys),
        gunicorn("app:app", folder, port, settings=settings, path=f"/events/{SLUG}") as shop,
        running(_flask("jobs"), stage.folder(), settings) as jobs,
        gunicorn("tests.benchmarks.bare:hello()", stage.folder(), bare) as hello,
    ):
        paid = Errand("paid", port, head, SLUG, stripe, keys[1])
        errands = {
            "hello": Errand("hello", bare, head),
            "free": Errand("free", port, head, FREE_SLUG),
            "paid": paid,
        }
        ours = _Used(shop, jobs)
        used = {"hello": lambda: processor_seconds(hello), "free": ours, "paid": ours}
        timed = {name: replace(one, seconds=_SECONDS[name]) for name, one in errands.items()}
        database = Database(url)
        yield Errands(timed, used, lambda: _rest(database))
        database.close()


class _Used:
    """The processor time of the shop's processes, Stripe's stand-in not among them."""

    def __init__(self, shop: subprocess.Popen[bytes], jobs: subprocess.Popen[bytes]) -> None:
        self._shop, self._jobs = shop, jobs

    def __call__(self) -> float:
        return processor_seconds(self._shop) + seconds_of(self._jobs.pid)


def _rest(database: Database) -> None:
    """Returns when all events are handled; letters that are not written by then never are.

    Else hello would be measured beside the drawing of tickets.
    """
    end = time.perf_counter() + _REST_SECONDS
    while time.perf_counter() < end:
        database.transaction(
            lambda session: session.execute(update(OutboxRow).values(done_at=datetime.now(UTC)))
        )
        with database.reading() as session:
            unhandled = select(InboxRow.id).where(InboxRow.done_at.is_(None)).limit(1)
            if session.scalar(unhandled) is None:
                # The letter that is just being written.
                time.sleep(_LETTER_SECONDS)
                return
        time.sleep(0.2)
    raise AssertionError(f"the jobs did not come to rest within {_REST_SECONDS:.0f} seconds")


def _settings(
    folder: Path, database_url: str, port: int, stripe: int, keys: list[str]
) -> dict[str, str]:
    secret_key, publishable_key, signing_secret = keys
    return shop_environment(folder, database_url, port) | {
        "STRIPE_SECRET_KEY": secret_key,
        "STRIPE_PUBLISHABLE_KEY": publishable_key,
        "STRIPE_WEBHOOK_SECRET": signing_secret,
        "STRIPE_API_BASE": f"http://127.0.0.1:{stripe}",
    }


def _flask(*command: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), *command]


@contextmanager
def _sandbox(folder: Path, port: int, webhook: str, keys: list[str]) -> Iterator[None]:
    store = folder / "stripe.sqlite"
    # The sandbox reads its keys from beside its store.
    Path(f"{store}.keys").write_text("\n".join(keys))
    command = [sys.executable, "-m", "tmt.sandbox", "--port", str(port), "--store", str(store)]
    command += ["--webhook", webhook]
    with running(command, folder, {"PYTHONPATH": str(ROOT)}) as process:
        wait_until_answered(process, folder, port, "/clock")
        yield
