"""Mail server, Stripe and Redis that hang, refuse, are slow or gone: nothing else waits for them.

The parties are real sockets; what is counted is work that was done meanwhile.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests
from sqlalchemy import select

from tests.gateway.stripe_events import stored, stripes_own
from tests.shopfront import Shopfront, rendered_event
from tests.stripe_proxy import StripeProxy
from tmt.checkout.models import Order
from tmt.core.job_runs import JobRun
from tmt.core.jobs import Job, Jobs
from tmt.core.limits import Limits
from tmt.core.outbox import OutboxRow
from tmt.payments.refunds import issue_refund

SUCCEEDED = "payment_intent.succeeded"
WAYS = ("hangs", "refuses", "slow", "gone")
EHLO = (b"220 slow\r\n", b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n")


class Party:
    """A server that takes connections and answers `lines` in turn; then it waits for ever."""

    def __init__(self, way: str) -> None:
        self.way, self.calls, self.content = way, 0, b""
        self.lines: tuple[bytes, ...] = ()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        if way != "gone":
            self._socket.listen()
            threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.calls += 1
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self.way == "refuses":
                connection.shutdown(socket.SHUT_RDWR)
            while self.way == "slow":
                # An answer that never ends, a byte at a time.
                connection.sendall(b"2")
                threading.Event().wait(0.05)
            while self.way == "late":
                connection.recv(10_000)
                threading.Event().wait(0.1)
                connection.sendall(b"-ERR the server is busy\r\n")
            for line in self.lines:
                connection.sendall(line)
                self.content += connection.recv(10_000_000)

    def close(self) -> None:
        for each in (self._socket, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def party(way: str) -> Iterator[Party]:
    opened = Party(way)
    try:
        yield opened
    finally:
        opened.close()


def paid_order(front: Shopfront) -> tuple[Order, str]:
    """An order that is paid at Stripe, of which the shop has not heard; and its PaymentIntent."""
    buyer = front.buyer()
    order = buyer.reserve(1)
    intent = buyer.open_pay_page(order)
    front.confirm(intent)
    return order, intent


def mail_settings(server: Party) -> dict[str, Any]:
    return {
        "mail_server": "127.0.0.1",
        "mail_port": server.port,
        "mail_use_tls": False,
        "mail_sender": "shop@example.com",
        "mail_timeout": 0.2,
    }


def states(front: Shopfront, kind: str) -> list[str]:
    with front.shop.db.reading() as session:
        query = select(OutboxRow).where(OutboxRow.kind == kind).order_by(OutboxRow.id)
        return [row.state for row in session.scalars(query)]


def job_run(front: Shopfront, name: str) -> JobRun:
    with front.shop.db.reading() as session:
        return session.get_one(JobRun, name)


@pytest.fixture(params=WAYS)
def mail_server(request: pytest.FixtureRequest) -> Iterator[Party]:
    with party(request.param) as opened:
        yield opened


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestMail:
    @pytest.fixture
    def settings(self, mail_server: Party) -> dict[str, Any]:
        return mail_settings(mail_server)

    def test_money_moves_while_no_mail_goes_out(
        self, shopfront: Shopfront, mail_server: Party
    ) -> None:
        shopfront.silence_stripe()
        orders = []
        for _number in range(3):
            order, intent = paid_order(shopfront)
            shopfront.deliver(stripes_own(shopfront, SUCCEEDED, intent))
            orders.append(order)
        shopfront.run_jobs()
        # The first mail showed that the server does not answer; the others were not even tried.
        assert states(shopfront, "confirmation") == ["failing", "waiting", "waiting"]
        assert mail_server.calls <= 1
        assert {shopfront.order(order.token).status for order in orders} == {"paid"}
        issue_refund(shopfront.shop, orders[0].code)
        shopfront.run_jobs()
        assert states(shopfront, "refund") == ["done"]
        # Jobs that run by themselves let the server rest; the shop goes on selling meanwhile.
        calls = mail_server.calls
        shopfront.shop.jobs._run("mails", is_wanted=True, may_rest=True)
        assert mail_server.calls == calls
        assert (job_run(shopfront, "mails").failures, job_run(shopfront, "inbox").failures) == (
            2,
            0,
        )
        shopfront.clock.move(minutes=30)
        shopfront.shop.jobs.run("mails")
        shopfront.clock.move(minutes=6)
        ready = requests.get(f"{shopfront.url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "mails: the mail server has not answered" in ready.json()["checks"]["outbox"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestMailWithoutConfirmation:
    """The server has taken the whole mail, and says nothing more."""

    @pytest.fixture
    def mail_server(self) -> Iterator[Party]:
        with party("hangs") as opened:
            opened.lines = EHLO
            yield opened

    @pytest.fixture
    def settings(self, mail_server: Party) -> dict[str, Any]:
        return mail_settings(mail_server)

    def test_it_is_sent_again_only_when_it_would_have_arrived(
        self, shopfront: Shopfront, mail_server: Party
    ) -> None:
        shopfront.silence_stripe()
        _order, intent = paid_order(shopfront)
        shopfront.deliver(stripes_own(shopfront, SUCCEEDED, intent))
        for _minute in range(50):
            shopfront.shop.jobs.run("inbox")
            shopfront.shop.jobs.run("mails")
            shopfront.clock.move(minutes=1)
        assert mail_server.calls == 1
        shopfront.clock.move(minutes=11)
        shopfront.shop.jobs.run("mails")
        assert mail_server.calls == 2
        ids = {line for line in mail_server.content.splitlines() if b"Message-ID" in line}
        assert len(ids) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("settings", [{"stripe_retries": 0, "stripe_timeout": 1.0}])
@pytest.mark.parametrize("fate", ["silent", "lost", "refused"])
def test_without_stripe_what_needs_no_call_goes_on(shopfront: Shopfront, fate: str) -> None:
    shopfront.silence_stripe()
    stale = {"api_version": "2019-01-01"}
    for _number in range(3):
        intent = paid_order(shopfront)[1]
        shopfront.deliver(rendered_event(shopfront, SUCCEEDED, {"id": intent}, **stale))
    order, intent = paid_order(shopfront)
    never_opened = shopfront.buyer().reserve(1)
    shopfront.deliver(stripes_own(shopfront, SUCCEEDED, intent))
    line = StripeProxy(shopfront)
    line.fate = lambda _call: fate
    shopfront.shop.jobs.run("inbox")
    # One call was made, and the event that needs none paid its order.
    assert len(line.calls) == 1
    assert shopfront.order(order.token).status == "paid"
    assert [row.attempts for row in reversed(stored(shopfront))] == [1, 0, 0, 1]
    shopfront.clock.move(minutes=shopfront.shop.settings.hold_minutes + 1)
    shopfront.shop.jobs.run("holds")
    assert len(line.calls) == 3
    assert shopfront.order(never_opened.token).status == "expired"
    for _poll in range(5):
        shopfront.shop.jobs._run("holds", is_wanted=True, may_rest=True)
    shopfront.shop.jobs.run("mails")
    assert len(line.calls) == 3
    assert states(shopfront, "confirmation") == ["done"]
    line.fate = lambda _call: None
    line.released.set()
    shopfront.clock.move(minutes=5)
    shopfront.shop.jobs.run("inbox")
    assert {row.state for row in stored(shopfront)} == {"done"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_page_queues_one_run_however_often_it_asks(shopfront: Shopfront) -> None:
    buyer = shopfront.buyer()
    first, second = buyer.reserve(1), shopfront.buyer().reserve(1)
    shopfront.clock.move(minutes=shopfront.shop.settings.hold_minutes + 1)
    shopfront.shop.jobs.flush()
    queue = shopfront.shop.jobs._queue()
    queue.flush_queue()
    for order in (first, first, first, second):
        assert buyer.get(f"/orders/{order.token}/status").json()["overdue"]
        shopfront.shop.jobs.flush()
    # Nobody runs jobs here: the second order's call finds the first one's in the queue.
    assert queue.enqueued_items() == [b"holds"]


@pytest.mark.parametrize("way", ["hangs", "refuses", "late", "gone"])
def test_without_redis_pages_do_not_wait_and_jobs_run_by_the_clock(
    way: str, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tmt.core.jobs._QUEUE_TIMEOUT", 0.2)
    monkeypatch.setattr("tmt.core.jobs.time.time", lambda: 59.95)
    ran = threading.Event()
    with party(way) as redis:
        jobs = Jobs(f"redis://127.0.0.1:{redis.port}/0", tmp_path)
        jobs.define({"job": Job(lambda _run: ran.set())})
        stop = jobs.start_thread()
        jobs.trigger("job")
        assert ran.wait(20)
        stop()
        jobs.flush()
        limits = Limits(f"redis://127.0.0.1:{redis.port}/1", tmp_path)
        limits.hit("1 per hour", "orders", "192.0.2.1")
        limits.hit("1 per hour", "orders", "192.0.2.1")
