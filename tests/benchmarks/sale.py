"""Orders to the end, over HTTP with everything at work, against saying hello to the same clients.

Beside gunicorn run `flask jobs` and the sandbox, each a process of its own. A paid order is one
that Stripe's webhook has made paid: nobody looks at the return page. The jobs write the mails
meanwhile, as far as they get.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import select, update

from tests.benchmarks.bench_env import DATABASES, FREE_SLUG, SLUG, BenchEnv
from tests.benchmarks.load import PROCESSES, Turns
from tests.benchmarks.page import bare_app
from tests.benchmarks.table import Row, percentile_row, rate_row
from tests.buyer import Buyer, order_token
from tests.deployment import UNLIMITED, Deployment, deploy
from tests.sandbox_client import SandboxClient, card
from tmt.core.database import Database
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow

GOALS = {"free": 1 / 80, "paid": 1 / 200}
_SECONDS = {"hello": 1.0, "free": 2.0, "paid": 3.0}
_ROUNDS, _BUYERS = 3, 4
_DRAIN_SECONDS, _MAIL_SECONDS = 60.0, 0.5
# How long a buyer waits before asking again whether the order is paid for.
_ASK_AGAIN = 0.25


@dataclass(frozen=True)
class Visit:
    """What a buyer does: `kind` is "hello", "free" or "paid"."""

    kind: str
    url: str
    stripe: SandboxClient

    def __call__(self) -> float:
        """Makes the visit with a browser of its own; the seconds until the tickets are seen."""
        buyer, started = Buyer(self.url), time.perf_counter()
        if self.kind == "hello":
            assert buyer.get("/").status_code == 200
            return time.perf_counter() - started
        slug = SLUG if self.kind == "paid" else FREE_SLUG
        token = order_token(buyer.submit(slug, buyer.fill_in(slug, [2])))
        assert token
        if self.kind == "paid":
            details = buyer.payment_details(token)
            assert details
            self.stripe.confirm(details[0], card(), details[1])
            while '"paid"' not in buyer.get(f"/orders/{token}/status").text:
                time.sleep(_ASK_AGAIN)
        assert buyer.get(f"/orders/{token}").text.count("<svg") >= 2, "no tickets"
        buyer.session.close()
        return time.perf_counter() - started


@dataclass
class Measured:
    """What the visits of one kind showed."""

    turns: Turns = field(default_factory=Turns)
    took: list[float] = field(default_factory=list)


def run(env: BenchEnv) -> list[Row]:
    """Orders per second of 8 clients, and how long one takes, on each kind of database."""
    return [row for kind in DATABASES for row in _compared(env, kind)]


def _compared(env: BenchEnv, kind: str) -> list[Row]:
    url = env.shop_database(kind)
    with deploy(env.folder(), url, UNLIMITED) as shop, bare_app(env, "hello()") as (port, hello):
        stripe = SandboxClient(shop.stripe_url, shop.secret_key, shop.publishable_key, shop.store)
        visits = {name: Visit(name, shop.url, stripe) for name in GOALS}
        visits["hello"] = Visit("hello", f"http://127.0.0.1:{port}", stripe)
        database = Database(url)
        measured = _take_turns(visits, lambda: _used(shop), hello.processor_seconds, database)
        database.close()
    rows = []
    for name, goal in GOALS.items():
        ours, bare = measured[name], measured["hello"]
        rows += [
            rate_row(f"{name} order to the end, {kind}", ours.turns, bare.turns, goal),
            percentile_row("  half took, 95 of 100 took", ours.took, bare.took),
        ]
    return rows


def _take_turns(
    visits: dict[str, Visit],
    used: Callable[[], float],
    bare_used: Callable[[], float],
    database: Database,
) -> dict[str, Measured]:
    measured = {name: Measured() for name in visits}
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for number in range(_ROUNDS + 1):
            for name, visit in visits.items():
                tell = bare_used if name == "hello" else used
                before, started = tell(), time.perf_counter()
                shares = pool.starmap(_repeat, [(visit, _SECONDS[name])] * PROCESSES, chunksize=1)
                seconds = time.perf_counter() - started
                took = [one for share in shares for one in share]
                if number:
                    # The first round is for everybody to warm up.
                    measured[name].took += took
                    measured[name].turns.note(len(took), seconds, tell() - before)
                _drain(database)
    return measured


def _repeat(visit: Visit, seconds: float) -> list[float]:
    """Several buyers of one process, one visit after the other; how long each visit took."""
    end = time.perf_counter() + seconds

    def buy(_number: int) -> list[float]:
        took = []
        while time.perf_counter() < end:
            took.append(visit())
        return took

    with ThreadPoolExecutor(_BUYERS) as threads:
        return [seconds for took in threads.map(buy, range(_BUYERS)) for seconds in took]


def _used(shop: Deployment) -> float:
    """The processor time of the shop's processes; the sandbox is not among them."""
    return sum(program.processor_seconds() for program in shop.shop_programs)


def _drain(database: Database) -> None:
    """Returns when all events are handled; mails that are not written by then never are.

    Else hello would be measured beside the drawing of tickets.
    """
    end = time.perf_counter() + _DRAIN_SECONDS
    while time.perf_counter() < end:
        database.transaction(
            lambda session: session.execute(update(OutboxRow).values(done_at=datetime.now(UTC)))
        )
        with database.reading() as session:
            unhandled = select(InboxRow.id).where(InboxRow.done_at.is_(None)).limit(1)
            if session.scalar(unhandled) is None:
                # The mail that is just being written.
                time.sleep(_MAIL_SECONDS)
                return
        time.sleep(0.2)
    raise AssertionError(f"the jobs were not done within {_DRAIN_SECONDS:.0f} seconds")
