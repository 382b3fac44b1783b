"""MAIL-01: a mail server that refuses one address, or everybody for a while."""

from __future__ import annotations

import email
from email.policy import default

import pytest
from sqlalchemy import select, update

from tests.core.test_mail import LoopbackController
from tmt.core.outbox import OutboxRow

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


class Server:
    """Keeps what it takes; `answers` says what addresses get to hear instead."""

    def __init__(self):
        self.answers = {}
        self.ids = []

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        letter = email.message_from_bytes(envelope.content, policy=default)
        self.ids.append((envelope.rcpt_tos[0], letter["Message-ID"]))
        return "250 OK"


@pytest.fixture(scope="module")
def listening():
    controller = LoopbackController(Server())
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def server(listening):
    listening.handler.__init__()
    return listening.handler


@pytest.fixture
def settings(listening):
    return {
        "mail_server": "127.0.0.1",
        "mail_port": listening.port,
        "mail_use_tls": False,
        "mail_sender": "shop@example.com",
    }


def paid(shopfront, address):
    buyer = shopfront.buyer(email=address)
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    return order


def states(shopfront):
    with shopfront.shop.db.reading() as session:
        return [row.state for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id))]


@pytest.mark.case("MAIL-01")
def test_mail01_one_address_is_refused_another_busy_and_the_rest_arrive(shopfront, server):
    shopfront.silence_stripe()
    server.answers = {"no@example.com": "550 unknown", "busy@example.com": "451 later"}
    orders = [paid(shopfront, f"{name}@example.com") for name in ("no", "busy", "yes")]
    shopfront.run_jobs()
    assert [address for address, _id in server.ids] == ["yes@example.com"]
    # The last one is the alert about the first.
    assert states(shopfront) == ["parked", "failing", "done", "waiting"]
    assert {shopfront.order(order.token).status for order in orders} == {"paid"}
    server.answers = {}
    shopfront.clock.move(minutes=5)
    shopfront.run_jobs()
    assert [address for address, _id in server.ids] == ["yes@example.com", "busy@example.com"]


@pytest.mark.case("MAIL-01")
def test_mail01_sent_again_after_a_crash_it_is_the_same_mail(shopfront, server):
    """Between the server's answer and our commit a process can die: the copy has the same id."""
    shopfront.silence_stripe()
    paid(shopfront, "ana@example.com")
    shopfront.run_jobs()
    again = update(OutboxRow).values(done_at=None)
    shopfront.shop.db.transaction(lambda session: session.execute(again))
    shopfront.run_jobs()
    assert len(server.ids) == 2
    assert len(set(server.ids)) == 1
