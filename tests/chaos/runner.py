"""One run from its beginning to its verdict."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

import tmt.factory  # noqa: F401 - knows every table
from tests.chaos import logs
from tests.chaos.app import STORE, create_app
from tests.chaos.buyers import Tally, visit
from tests.chaos.chaos_env import ChaosEnv
from tests.chaos.drain import drain
from tests.chaos.plan import FULL, GRAND, OPEN, make_plan, visits
from tests.deployment import Deployment, deploy
from tests.invariants import Verifier
from tests.sandbox_store import objects_of
from tests.servers import empty_database
from tests.shopfront import add_event
from tmt.checkout.models import Order
from tmt.core import schema
from tmt.core.database import Base, Database
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket

BUYERS, JOBS = 5, 2
_SETTINGS = {
    "TMT_STRIPE_TIMEOUT": "2.5",
    "TMT_LOG_FORMAT": "json",
    "TMT_ORGANISER_EMAIL": "organiser@chaos.example",
    # Buyers have addresses of their own, as behind a proxy.
    "TMT_TRUSTED_PROXIES": "1",
}
_COUNTED: dict[str, type[Base]] = {
    "orders": Order,
    "payments": Payment,
    "refunds": Refund,
    "disputes": Dispute,
    "tickets": Ticket,
    "webhook events": InboxRow,
    "operator alerts": OperatorAlert,
}


@dataclass(frozen=True)
class Verdict:
    """What a run has counted, and the breaches that were found."""

    counts: dict[str, int]
    breaches: list[str]


def run(seed: int, seconds: float, kind: str, folder: Path) -> Verdict:
    """The run of this seed on a database of this kind; all its files are in the folder."""
    tally = Tally()
    settings = _SETTINGS | {STORE: str(folder / "stripe.sqlite")}
    app = "tests.chaos.app"
    with empty_database(kind, folder) as url:
        _put_on_sale(url)
        with (
            deploy(folder, url, settings, app=app, factory=f"{app}:create_app()", jobs=JOBS) as web,
            _shop(web) as shop,
        ):
            _live(web, shop, tally, seed, seconds)
            drain(web, shop, tally)
            verifier = Verifier(shop.db, web.store)
            printed = [program.log for program in web.shop_programs] + [folder / "trial.log"]
            tally.breaches += verifier.at_rest(shop)
            tally.breaches += _audit(web, verifier.orders_with_failed_refunds())
            tally.breaches += logs.private_words(printed, shop)
            tally.breaches += logs.own_failures(printed)
            tally.breaches += logs.unexpected_errors(printed)
            counts = _counts(shop, web.store) | dict(tally.counts)
            shop.db.close()
    return Verdict(counts, tally.breaches)


def _live(web: Deployment, shop: Shop, tally: Tally, seed: int, seconds: float) -> None:
    """The time of the run: buyers, faults, kills, moves of the clock and the organiser, at once."""
    plan, env = make_plan(seed, seconds), ChaosEnv(web, shop, tally, threading.Event())
    began = time.monotonic()
    threads = [threading.Thread(target=env.pass_minutes)]
    for steps, act in (
        (plan.faults, env.order_fault),
        (plan.kills, env.kill),
        (plan.moves, env.move),
        (plan.deeds, env.act_as_organiser),
    ):
        threads.append(threading.Thread(target=env.follow, args=(began, steps, act)))
    for number in range(BUYERS):
        arguments = (web, tally, seed, number, began + seconds)
        threads.append(threading.Thread(target=_buy_until, args=arguments))
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    env.stopping.set()
    for thread in threads:
        thread.join()


def _buy_until(web: Deployment, tally: Tally, seed: int, buyer: int, end: float) -> None:
    for number, planned in enumerate(visits(seed, buyer)):
        if time.monotonic() >= end:
            return
        tally.count("visits")
        visit(web, tally, planned, f"{buyer}-{number}")


@contextmanager
def _shop(web: Deployment) -> Iterator[Shop]:
    """The shop as the organiser's commands have it, its log in a file among the others."""
    with (web.folder / "trial.log").open("a") as output, redirect_stderr(output):
        yield create_app(web.environment, web.store).extensions["tmt"].shop


def _put_on_sale(url: str) -> None:
    """A large event, one that is soon full, and one that costs nothing; all in a year."""
    db = Database(url)
    schema.migrate(db)
    begins = datetime.now(UTC) + timedelta(days=365)
    when = {"starts_at": begins, "ends_at": begins + timedelta(hours=3), "currency": "eur"}
    add_event(db, GRAND, (4500, 2500), (None, 4000), capacity=5000, **when)
    add_event(db, FULL, (7500, 3000), (25, 12), capacity=30, **when)
    add_event(db, OPEN, (0, 0), (400, 400), capacity=500, **when)
    db.close()


def _audit(web: Deployment, failed_refunds: Iterable[str]) -> Iterator[str]:
    """The breaches that the shop's own `flask audit` finds.

    That money is kept of orders whose refund failed is none here: a bank would not take it back,
    the audit says so until the end of time, and a person gives it back another way.
    """
    done = web.flask("audit")
    if not re.search(r"^(sound|\d+ breaches)$", done.stdout, re.MULTILINE):
        yield f"flask audit ended with {done.returncode}: {done.stderr[-500:]}"
    excused = tuple(f"I2  order {code}: is refunded, and" for code in failed_refunds)
    for line in done.stdout.splitlines():
        if re.match(r"I\d", line) and not line.startswith(excused):
            yield f"flask audit: {line}"


def _counts(shop: Shop, store: Path) -> dict[str, int]:
    """What there is in the end, for the report."""
    with shop.db.reading() as session:
        counts = {name: len(session.scalars(select(kind)).all()) for name, kind in _COUNTED.items()}
        for status in session.scalars(select(Order.status)):
            counts[f"orders {status}"] = counts.get(f"orders {status}", 0) + 1
    charges = objects_of(store, "charge")
    return counts | {"charges at Stripe": sum(charge["paid"] for charge in charges)}
