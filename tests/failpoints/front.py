"""A shop whose process is killed at a point, started again, and brought to rest.

Stripe's stand-in lives on; what the shop did not acknowledge it tells again. Buyers and programs
whose connection breaks try the same once more.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import requests
import stripe
from sqlalchemy import update

from tests.actions import (
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_SECRET,
    Buyer,
    MovableClock,
    Shopfront,
    add_event,
)
from tests.failpoints.plan import READY
from tests.failpoints.shop_process import Point, Start, run
from tests.invariants import check_money, check_stock, check_tickets
from tests.servers import serve
from tmt.catalog.models import TicketType
from tmt.factory import create_app
from tmt.gateway.types import API_VERSION
from tmt.operations import audit_database
from tmt.sandbox import Sandbox
from tmt.shop import Shop

# Processes are forked off one that has imported the shop and runs no thread: that takes a moment
# where a Python of its own takes seconds.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.failpoints.warm"])
# What a dead process had claimed is free again.
_LEASE = timedelta(minutes=6)
_PATIENCE = 30


@dataclass
class Death:
    """Where the process dies: at the nth time that it passes the point."""

    at: Point
    nth: int


@dataclass
class Front(Shopfront):
    """A shopfront whose shop is another process; `shop` and `app` here only look at its data."""

    settings: dict[str, Any]
    listening: socket.socket
    templates: Path
    death: Death | None
    process: ForkServerProcess | None = None
    line: Connection | None = None
    died: bool = False
    told: set[str] = field(default_factory=set)
    #: Stripe's events never arrive: the shop must ask.
    silent: bool = False
    #: Stripe has lost something, which no audit finds right.
    excused: bool = False

    def buyer(self, **who: str) -> Buyer:
        """A new buyer, who asks again when the line breaks."""
        return Buyer(self, session=_Patient(self), **who)

    def start(self) -> None:
        """Starts the shop's process, which dies where it was told to, once."""
        mine, theirs = FORKS.Pipe()
        at = None if self.died or self.death is None else self.death.at
        nth = self.death.nth if self.death else 0
        start = Start(self.settings, self.listening, self.clock.ahead, self.templates, at, nth)
        self.process = FORKS.Process(target=run, args=(start, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.line = mine
        assert mine.poll(_PATIENCE)
        mine.recv()

    def run_jobs(self) -> None:
        """Lets every job of the shop's process run once."""
        self._ask("ahead", self.clock.ahead)
        self._ask("jobs")

    def flask(self, *words: str, unless: Callable[[], bool] = lambda: False) -> str:
        """A command of the organiser's, run in the shop's process; what it says.

        If the process dies of it, the organiser looks first (`unless`) whether it was done.
        """
        self._ask("ahead", self.clock.ahead)
        return str(self._again(lambda: self._exchange("command", words), unless) or "")

    def look(self, *words: str) -> str:
        """The same, of a command whose exit code is a finding."""
        self._ask("ahead", self.clock.ahead)
        return str(self._ask("look", *words))

    def seed(self) -> None:
        """What a shop does that is started for a first look: it brings its own events."""
        self._ask("seed")

    def move(self, **span: float) -> None:
        """Lets time pass, in the shop and at Stripe."""
        self.clock.move(**span)
        self.sandbox.advance(timedelta(**span).total_seconds())
        self._ask("ahead", self.clock.ahead)

    def tell(self) -> None:
        """Stripe tells everything that it has not told yet, oldest first."""
        if self.silent:
            return
        events = self.stripe.v1.events.list({"limit": 100}).data
        for event in reversed(events):
            if event.id not in self.told:
                answer = self.deliver(json.dumps(event.to_dict()))
                assert answer.status_code == 200, answer.text
                self.told.add(event.id)

    def deliver(self, body: bytes | str, signature: str | None = None) -> requests.Response:
        return self._again(lambda: Shopfront.deliver(self, body, signature))

    def api(self, endpoint: str, data: Any, **headers: str) -> requests.Response:
        return self._again(lambda: Shopfront.api(self, endpoint, data, **headers))

    def free(self) -> None:
        """Lets all places cost nothing."""
        query = update(TicketType).values(price=0)
        self.shop.db.transaction(lambda session: session.execute(query))

    def rest(self) -> None:
        """Stripe tells all, unless it is silent and must be asked; the jobs do what is to do."""
        self.tell()
        for _ in range(2):
            self.run_jobs()
            self.tell()
        self.run_jobs()

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
        """What the story is about begins here."""
        self._ask("note", READY)

    def passed(self) -> list[Point]:
        """Every point that the living process has passed, in order."""
        found = self._ask("passed")
        assert isinstance(found, list)
        return found

    def close(self) -> None:
        assert self.process
        assert self.line
        self.line.close()
        self.process.join(_PATIENCE)
        self.listening.close()
        Shopfront.close(self)

    def recover(self) -> None:
        """After a death: a new process, all brought to rest, everything right."""
        assert self.process
        self.process.join(_PATIENCE)
        assert self.process.exitcode == -signal.SIGKILL, self.process.exitcode
        assert not self.died
        self.died = True
        self.clock.ahead += _LEASE
        self.start()
        self.rest()
        self.audit()

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self._again(lambda: self._exchange(name, arguments))

    def _exchange(self, name: str, arguments: tuple[Any, ...]) -> Any:
        assert self.line
        self.line.send((name, arguments))
        assert self.line.poll(2 * _PATIENCE), f"no answer to {name}"
        went_well, result = self.line.recv()
        assert went_well, result
        return result

    def _again(self, act: Any, unless: Callable[[], bool] = lambda: False) -> Any:
        """Does it; and once more, if the process died of it and it is not done."""
        try:
            return act()
        except (requests.ConnectionError, EOFError, ConnectionError):
            self.recover()
            return None if unless() else act()


class _Patient(requests.Session):
    """A browser whose owner asks again when the line breaks."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self._front = front

    def request(self, *arguments: Any, **more: Any) -> requests.Response:  # type: ignore[override]
        ask = super().request
        return self._front._again(lambda: ask(*arguments, **more))  # type: ignore[no-any-return]


def open_front(
    database_url: str, folder: Path, templates: Path, death: Death | None = None
) -> Front:
    """A shop with an event in a process of its own, on a stand-in for Stripe in this one."""
    late: dict[str, Any] = {}
    stripe_server = serve(lambda environ, start: late["stripe"](environ, start))
    box = Sandbox(folder / "sandbox.sqlite", SECRET_KEY, PUBLISHABLE_KEY)
    late["stripe"] = box.wsgi
    listening = socket.create_server(("127.0.0.1", 0))
    settings = _settings(database_url, folder, listening, stripe_server.url)
    app = create_app(settings)
    shop: Shop = app.extensions["tmt"].shop
    clock = MovableClock()
    shop.clock._offset = lambda: clock.ahead
    client = stripe.StripeClient(
        SECRET_KEY, base_addresses={"api": stripe_server.url}, stripe_version=API_VERSION
    )
    front = Front(
        app, settings["base_url"], shop, clock, add_event(shop.db, currency="eur"), box, client,
        stripe_server.url, [stripe_server], settings, listening, templates, death,
    )  # fmt: skip
    front.start()
    return front


def _settings(
    database_url: str, folder: Path, listening: socket.socket, stripe_url: str
) -> dict[str, Any]:
    often = "10000 per minute"
    return {
        "secret_key": "only for tests",
        "database_url": database_url,
        "instance": folder / "instance",
        "stripe_secret_key": SECRET_KEY,
        "stripe_publishable_key": PUBLISHABLE_KEY,
        "stripe_webhook_secrets": (SIGNING_SECRET,),
        "stripe_api_base": stripe_url,
        "stripe_retries": 0,
        "base_url": f"http://127.0.0.1:{listening.getsockname()[1]}",
        "organiser_email": "organiser@example.com",
        "declines_per_order": 2,
        "log_level": "ERROR",
        "orders_per_address": often,
        "orders_per_email": often,
        "finds_per_address": often,
        "api_per_address": often,
    }
