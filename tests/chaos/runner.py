"""One run from its beginning to its verdict."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import select

import tmt.factory  # noqa: F401 - knows every table
from tests.chaos import backup, logs
from tests.chaos.app import STORE, create_app
from tests.chaos.buyers import Tally, visit
from tests.chaos.chaos_env import ChaosEnv
from tests.chaos.drain import drain
from tests.chaos.parties import MailServer, Redis
from tests.chaos.plan import FULL, GRAND, OPEN, make_plan, visits
from tests.chaos.situations import AFTER, BEFORE, RESTORED, SITUATIONS, Situations
from tests.deployment import Deployment, deploy
from tests.invariants import Verifier
from tests.sandbox_store import objects_of
from tests.servers import empty_database, wait_for
from tests.shopfront import add_event
from tmt.checkout.models import Order
from tmt.core import schema
from tmt.core.database import Base, Database
from tmt.gateway.inbox import InboxRow
from tmt.gateway.stripe_api import Gateway
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket

BUYERS, JOBS = 5, 2
_SETTINGS = {
    "TMT_STRIPE_TIMEOUT": "2.5",
    "TMT_LOG_FORMAT": "json",
    "TMT_ORGANISER_EMAIL": "organiser@chaos.example",
    "MAIL_SERVER": "127.0.0.1",
    "MAIL_USE_TLS": "0",
    "MAIL_DEFAULT_SENDER": "shop@chaos.example",
    "TMT_MAIL_TIMEOUT": "2",
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
    """What a run has counted, the situations that it missed, and the breaches that it found."""

    counts: dict[str, int]
    reached: dict[str, int]
    missing: list[str]
    breaches: list[str]


def run(seed: int, seconds: float, kind: str, folder: Path, only: Sequence[str] = ()) -> Verdict:
    """The run of this seed on a database of this kind; all its files are in the folder.

    With `only`, nothing happens but the situations whose names contain one of these words.
    """
    tally = Tally()
    mail, redis = MailServer(folder / "instance" / "mail"), Redis()
    settings = _SETTINGS | {STORE: str(folder / "stripe.sqlite"), "MAIL_PORT": str(mail.port)}
    app = "tests.chaos.app"
    with empty_database(kind, folder) as url:
        _put_on_sale(url)
        with deploy(
            folder, url, settings, app=app, factory=f"{app}:create_app()", jobs=JOBS
        ) as web:
            chaos_run = _ChaosRun(web, tally, mail, redis, seed, seconds, only)
            lost = chaos_run.go_through()
            with open_shop(web) as (shop, _gateway):
                drain(web, shop, tally)
                verifier = Verifier(shop.db, web.store, frozenset(lost))
                printed = [program.log for program in web.shop_programs] + [folder / "trial.log"]
                tally.breaches += verifier.at_rest(shop)
                tally.breaches += _audit(web, verifier)
                tally.breaches += logs.private_words(printed, shop)
                tally.breaches += logs.own_failures(printed)
                tally.breaches += logs.unexpected_errors(printed)
                tally.breaches += _give_back(web, shop, tally, verifier)
                counts = _counts(shop, web.store) | dict(tally.counts)
    counts |= {"mails delivered": mail.calls["delivered"], "mails again": mail.calls["again"]}
    missing = [name for name in chaos_run.due if not tally.reached[name]]
    return Verdict(counts, dict(tally.reached), missing, tally.breaches)


@dataclass
class _ChaosRun:
    """The time of a run: trouble, a restored backup, and trouble again."""

    web: Deployment
    tally: Tally
    mail: MailServer
    redis: Redis
    seed: int
    seconds: float
    only: Sequence[str]

    def __post_init__(self) -> None:
        self._plan = make_plan(self.seed, self.seconds)
        self._visits = [enumerate(visits(self.seed, number)) for number in range(BUYERS)]
        names = [*SITUATIONS, *RESTORED]
        self.due = [n for n in names if not self.only or any(word in n for word in self.only)]

    def go_through(self) -> set[str]:
        """All of it; the PaymentIntents that the restored database did not know."""
        middle, copy = self.seconds / 2, self.web.folder / "backup"
        is_restored, late = RESTORED[0] in self.due, None
        with open_shop(self.web) as (shop, gateway):
            env = ChaosEnv(self.web, shop, gateway, self.tally)
            situations = Situations(env, self.tally, self.mail, self.redis, self.seed)
            with self._trouble(situations, BEFORE, 0.0):
                if is_restored:
                    time.sleep(middle / 2)
                    backup.take(self.web.database_url, copy)
            if is_restored:
                late = situations.lose_orders()
        lost = self._restart(copy if is_restored else None)
        with open_shop(self.web) as (shop, gateway):
            env = ChaosEnv(self.web, shop, gateway, self.tally)
            situations = Situations(env, self.tally, self.mail, self.redis, self.seed)
            if is_restored:
                self.tally.reach(RESTORED[0])
            if late:
                situations.pay_for_lost_order(late)
            with self._trouble(situations, AFTER, middle):
                pass
        return lost

    @contextmanager
    def _trouble(
        self, situations: Situations, scripts: Sequence[Sequence[str]], start: float
    ) -> Iterator[None]:
        """Half of the time: buyers, faults, kills, moves of the clock and the organiser, at once.

        It ends when its time is over and all situations have come about or been given up.
        """
        plan, env = self._plan, situations.env
        began, end = time.monotonic() - start, start + self.seconds / 2
        chosen = [[name for name in names if name in self.due] for names in scripts]
        start_thread = partial(threading.Thread, daemon=True)
        due = [start_thread(target=situations.bring_about, args=(names,)) for names in chosen]
        threads = [start_thread(target=env.pass_minutes)]
        for steps, act in (
            (plan.faults, env.order_fault),
            (plan.kills, env.kill),
            (plan.moves, env.move),
            (plan.deeds, env.act_as_organiser),
        ):
            half = [step for step in steps if start <= step.at < end and not self.only]
            threads.append(start_thread(target=env.follow, args=(began, half, act)))
        if not self.only:
            for number in range(BUYERS):
                threads.append(start_thread(target=self._buy_until, args=(number, env)))
        for thread in due + threads:
            thread.start()
        yield
        for thread in due:
            thread.join()
        if not self.only:
            env.stopping.wait(began + end - time.monotonic())
        env.stopping.set()
        for thread in threads:
            thread.join()
        self.tally.count("seconds of trouble", round(time.monotonic() - began - start))

    def _buy_until(self, buyer: int, env: ChaosEnv) -> None:
        for number, planned in self._visits[buyer]:
            if env.stopping.is_set():
                return
            self.tally.count("visits")
            visit(self.web, self.tally, planned, f"{buyer}-{number}")

    def _restart(self, copy: Path | None) -> set[str]:
        """Stops the shop, puts the backup back, starts the shop; what it has lost.

        From then on, Redis carries the jobs and counts the limits.
        """
        web = self.web
        for program in web.shop_programs:
            program.kill()
        if copy:
            backup.restore(web.database_url, copy)
        db = Database(web.database_url)
        with db.reading() as session:
            stored = set(session.scalars(select(Payment.payment_intent_id)))
        db.close()
        queue = f"redis://127.0.0.1:{self.redis.port}/0"
        web.change_settings({"TMT_JOBS_URL": queue, "TMT_LIMITS_URL": queue})
        for program in web.shop_programs:
            program.start()
        wait_for(f"{web.url}/healthz", web.web)
        # Only now, as a call of a process that was killed may have reached Stripe meanwhile.
        intents = objects_of(web.store, "payment_intent")
        created = {intent["id"] for intent in intents if "tmt_order" in intent["metadata"]}
        return created - stored if copy else set()


@contextmanager
def open_shop(web: Deployment) -> Iterator[tuple[Shop, Gateway]]:
    """The shop as the organiser's commands have it, its log in a file among the others."""
    with (web.folder / "trial.log").open("a") as output, redirect_stderr(output):
        state = create_app(web.overrides, web.store).extensions["tmt"]
        yield state.shop, state.gateway
        state.shop.jobs.flush()
        state.shop.db.close()


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


def _audit(web: Deployment, verifier: Verifier) -> Iterator[str]:
    """The breaches that the shop's own `flask audit` finds, and those that it should find.

    That money is kept of orders whose refund failed is none here: a bank would not take it back,
    the audit says so until the end of time, and a person gives it back another way. So it is with
    what a restored backup lost, until the organiser decides about it.
    """
    done = web.flask("audit")
    if not re.search(r"^(sound|\d+ breaches)$", done.stdout, re.MULTILINE):
        yield f"flask audit ended with {done.returncode}: {done.stderr[-500:]}"
    excused = tuple(
        f"I2  order {code}: is refunded, and" for code in verifier.with_failed_refunds()
    )
    for line in done.stdout.splitlines():
        is_lost = any(payment_intent in line for payment_intent in verifier.lost)
        if re.match(r"I\d", line) and not is_lost and not line.startswith(excused):
            yield f"flask audit: {line}"
    for payment_intent, left in verifier.lost_money().items():
        if payment_intent not in done.stdout:
            yield f"flask audit: does not name {payment_intent}, which was lost with {left} left"


def _give_back(web: Deployment, shop: Shop, tally: Tally, verifier: Verifier) -> Iterator[str]:
    """Refunds what the restored backup lost, by the organiser's word, and says what is left."""
    if not verifier.lost:
        return
    tally.counts["payments lost"] = len(verifier.lost_money())
    done = web.flask("audit", "--repair", "--refund-unknown")
    drain(web, shop, tally)
    for payment_intent, left in verifier.lost_money().items():
        if f"could not be repaired: {payment_intent}" not in done.stderr:
            yield f"I2: {payment_intent} was lost and refunded, and {left} of it is at Stripe"


def _counts(shop: Shop, store: Path) -> dict[str, int]:
    """What there is in the end, for the report."""
    with shop.db.reading() as session:
        counts = {name: len(session.scalars(select(kind)).all()) for name, kind in _COUNTED.items()}
        for status in session.scalars(select(Order.status)):
            counts[f"orders {status}"] = counts.get(f"orders {status}", 0) + 1
    charges = objects_of(store, "charge")
    return counts | {"charges at Stripe": sum(charge["paid"] for charge in charges)}
