"""A shop whose process is killed at a point, started again, and given time to recover.

The sandbox lives on; what the shop did not acknowledge it delivers again. Buyers and programs
whose connection breaks try the same once more.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.failpoints.plan import READY
from tests.failpoints.shop_process import Point, Start, run
from tests.forks import FORKS
from tests.invariants import check_money, check_stock, check_tickets
from tests.servers import serve
from tests.shopfront import (
    PUBLISHABLE_KEY,
    SECRET_KEY,
    Shopfront,
    ShopfrontBuyer,
    front_of,
    overrides,
)
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.factory import create_app
from tmt.gateway.inbox import InboxRow
from tmt.operations import audit_database
from tmt.sandbox import Sandbox

# What a dead process had claimed is free again.
_LEASE = timedelta(minutes=6)
_TIMEOUT = 30


@dataclass
class Death:
    """Where the process dies: at the nth time that it passes the point."""

    at: Point
    nth: int


@dataclass
class CrashEnv(Shopfront):
    """A shopfront whose shop is another process; `shop` and `app` here only look at its data."""

    settings: dict[str, Any]
    listening: socket.socket
    templates: Path
    death: Death | None
    process: ForkServerProcess | None = None
    connection: Connection | None = None
    died: bool = False
    delivered: set[str] = field(default_factory=set)
    #: Stripe's events never arrive: the shop must ask.
    silent: bool = False
    #: Stripe has lost something, so that no audit can be clean.
    excused: bool = False

    def buyer(self, **who: str) -> ShopfrontBuyer:
        """A new buyer, who asks again when the connection breaks."""
        return _RetryingBuyer(self.url, front=self, **who)

    def start(self) -> None:
        """Starts the shop's process, which dies once, where it was told to."""
        mine, theirs = FORKS.Pipe()
        at = None if self.died or self.death is None else self.death.at
        nth = self.death.nth if self.death else 0
        start = Start(self.settings, self.listening, self.clock.ahead, self.templates, at, nth)
        self.process = FORKS.Process(target=run, args=(start, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.connection = mine
        assert mine.poll(_TIMEOUT)
        mine.recv()

    def run_jobs(self) -> None:
        """Lets every job of the shop's process run once."""
        self._ask("ahead", self.clock.ahead)
        self._ask("jobs")

    def flask(self, *words: str, unless: Callable[[], bool] = lambda: False) -> str:
        """Runs a command of the organiser's in the shop's process; its output.

        If the process dies of it, the organiser looks first (`unless`) whether it was done.
        """
        self._ask("ahead", self.clock.ahead)
        return str(self.again(lambda: self._exchange("command", words), unless) or "")

    def look(self, *words: str) -> str:
        """The same, of a command whose exit code is a finding."""
        self._ask("ahead", self.clock.ahead)
        return str(self._ask("look", *words))

    def seed(self) -> None:
        """Adds the events that a shop brings along which is started for a first look."""
        self._ask("seed")

    def work_slowly(self) -> None:
        """Lets every piece of work take longer than a batch may."""
        self._ask("slow")

    def begin_and_end_heartbeats(self) -> None:
        """What a process does first and last that runs jobs."""
        self._ask("heartbeats")

    def learn_account(self) -> None:
        """The shop asks Stripe which account its keys belong to."""
        self._ask("account")

    def change_orders(self, **columns: Any) -> None:
        """Writes these columns into all orders, as no code of the shop does."""
        self.shop.db.transaction(lambda session: session.execute(update(Order).values(columns)))

    def move(self, **span: float) -> None:
        """Lets time pass, in the shop and at Stripe."""
        self.clock.move(**span)
        self.sandbox.advance(timedelta(**span).total_seconds())
        self._ask("ahead", self.clock.ahead)

    def deliver_events(self) -> bool:
        """Stripe delivers what it has not delivered yet, oldest first; whether there was any."""
        if self.silent:
            return False
        events = self.stripe.v1.events.list({"limit": 100}).data
        new = [event for event in reversed(events) if event.id not in self.delivered]
        for event in new:
            answer = self.deliver(json.dumps(event.to_dict(for_json=True)))
            assert answer.status_code == 200, answer.text
            self.delivered.add(event.id)
        return bool(new)

    def deliver(self, body: bytes | str, signature: str | None = None) -> requests.Response:
        return self.again(lambda: Shopfront.deliver(self, body, signature))

    def api(self, endpoint: str, data: Any, **headers: str) -> requests.Response:
        return self.again(lambda: Shopfront.api(self, endpoint, data, **headers))

    def change_event(self, *, price: int, **columns: Any) -> None:
        """Lets all tickets cost so much (minor units), and sets columns of the event."""

        def unit(session: Session) -> None:
            session.execute(update(TicketType).values(price=price))
            if columns:
                session.execute(update(Event).values(columns))

        self.shop.db.transaction(unit)

    def drain(self) -> None:
        """Delivers all events, unless Stripe is silent and must be asked, and runs all jobs.

        Up to three times, as long as something is left to do.
        """
        self.deliver_events()
        for _ in range(2):
            self.run_jobs()
            if not self.deliver_events() and not self._is_work_due():
                return
        self.run_jobs()

    def _is_work_due(self) -> bool:
        now = self.shop.clock.now()
        with self.shop.db.reading() as session:
            return any(
                session.scalar(
                    select(table.id)
                    .where(table.done_at.is_(None), table.parked_at.is_(None), table.due_at <= now)
                    .limit(1)
                )
                for table in (OutboxRow, InboxRow)
            )

    def audit(self) -> None:
        """I1 to I4 and I7, on the database and at Stripe."""
        if self.excused:
            return
        check_stock(self.shop.db)
        check_tickets(self.shop.db)
        check_money(self)
        with self.shop.db.reading() as session:
            assert list(audit_database.backlog_breaches(session, self.shop.clock.now())) == []

    def ready(self) -> None:
        """What the scenario is about begins here."""
        self._ask("note", READY)

    def passed(self) -> list[Point]:
        """Every point that the living process has passed, in order."""
        return list(self._ask("passed"))

    def close(self) -> None:
        assert self.process
        assert self.connection
        self.connection.close()
        self.process.join(_TIMEOUT)
        self.listening.close()
        Shopfront.close(self)

    def again(self, act: Any, unless: Callable[[], bool] = lambda: False) -> Any:
        """Does it; and once more, if the process died of it and it is not done."""
        try:
            return act()
        except (requests.ConnectionError, EOFError, ConnectionError):
            self._recover()
            return None if unless() else act()

    def _recover(self) -> None:
        """After a death: a new process, nothing left to do, and everything right."""
        assert self.process
        self.process.join(_TIMEOUT)
        assert self.process.exitcode == -signal.SIGKILL, self.process.exitcode
        assert not self.died
        self.died = True
        self.clock.ahead += _LEASE
        self.start()
        self.drain()
        self.audit()

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self.again(lambda: self._exchange(name, arguments))

    def _exchange(self, name: str, arguments: tuple[Any, ...]) -> Any:
        assert self.connection
        self.connection.send((name, arguments))
        assert self.connection.poll(2 * _TIMEOUT), f"no answer to {name}"
        went_well, result = self.connection.recv()
        assert went_well, result
        return result


class _RetryingBuyer(ShopfrontBuyer):
    """A buyer who asks again when the connection breaks."""

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        assert isinstance(self.front, CrashEnv)
        ask = super().request
        answer = self.front.again(lambda: ask(method, path, **more))
        assert isinstance(answer, requests.Response)
        return answer


@contextmanager
def crash_env(
    request: pytest.FixtureRequest, kind: str, folder: Path, death: Death | None = None
) -> Iterator[CrashEnv]:
    """A shop with an event in a process of its own, on an empty database of the kind."""
    shop = folder / "shop"
    shop.mkdir()
    box = Sandbox(shop / "sandbox.sqlite", SECRET_KEY, PUBLISHABLE_KEY)
    with _fresh_database(request, kind, shop) as url:
        stripe_server = serve(box.wsgi)
        listening = socket.create_server(("127.0.0.1", 0))
        settings = overrides(
            url,
            shop,
            stripe_api_base=stripe_server.url,
            stripe_retries=0,
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
            organiser_email="organiser@example.com",
            declines_per_order=2,
            log_level="ERROR",
        )
        more = {"settings": settings, "listening": listening, "death": death}
        more |= {"event": {"currency": "eur"}, "templates": folder / "templates"}
        env = front_of(CrashEnv, create_app(settings), box, [stripe_server], **more)
        env.start()
        try:
            yield env
        finally:
            env.close()
            shutil.rmtree(shop)


@contextmanager
def _fresh_database(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        path = folder / "tmt.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)
