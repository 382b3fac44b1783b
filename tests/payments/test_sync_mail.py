"""MAIL-01: mail that cannot be sent keeps no ticket from anybody, and is sent when it can."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import select

from tmt.core import queued_rows
from tmt.core.mail_transport import file_name
from tmt.core.mailer import domain_of, message_id
from tmt.core.outbox import OutboxRow

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def paid(shopfront, buyer):
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "paid"
    return order


def rows(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(OutboxRow).order_by(OutboxRow.id)).all()


def mail_file(shopfront, order):
    key = message_id(f"confirmation-{order.token}", domain_of(shopfront.url))
    return shopfront.shop.settings.mail_folder / file_name(key)


@pytest.mark.case("MAIL-01")
def test_mail01_one_poisoned_mail_stops_no_other(shopfront):
    orders = [paid(shopfront, shopfront.buyer()) for _ in range(3)]
    # A folder where its file belongs: this one mail cannot be written.
    mail_file(shopfront, orders[1]).mkdir(parents=True)
    for _minute in range(4):
        shopfront.run_jobs()
        shopfront.clock.move(minutes=1)
    files_exist = [mail_file(shopfront, order).is_file() for order in orders]
    assert files_exist == [True, False, True]
    poisoned = rows(shopfront)[1]
    assert (poisoned.state, poisoned.attempts) == ("failing", 4)
    assert "MailDeferred" in (poisoned.last_error or "")
    mail_file(shopfront, orders[1]).rmdir()
    shopfront.clock.move(minutes=5)
    shopfront.run_jobs()
    assert mail_file(shopfront, orders[1]).is_file()
    assert {row.state for row in rows(shopfront)} == {"done"}


@pytest.mark.case("MAIL-01")
def test_mail01_more_poisoned_mails_than_a_batch_stop_no_other(shopfront):
    orders = [paid(shopfront, shopfront.buyer()) for _ in range(12)]
    for order in orders[:11]:
        mail_file(shopfront, order).mkdir(parents=True)
    shopfront.run_jobs()
    assert mail_file(shopfront, orders[11]).is_file()


class TestNoMailServer:
    @pytest.fixture
    def settings(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return {"mail_server": "127.0.0.1", "mail_port": port, "mail_use_tls": False}

    @pytest.mark.case("MAIL-01")
    def test_mail01_the_order_is_paid_and_the_mail_waits(self, shopfront):
        buyer = shopfront.buyer()
        order = paid(shopfront, buyer)
        waits = []
        for _again in range(5):
            shopfront.run_jobs()
            (row,) = rows(shopfront)
            waits.append(row.due_at - shopfront.clock.now())
            shopfront.clock.move(minutes=10)
        assert (row.state, row.attempts) == ("failing", 5)
        assert waits[4] > waits[0]
        assert "no connection to the mail server" in (row.last_error or "")
        assert "ana@example.com" not in (row.last_error or "")
        assert buyer.get(f"/orders/{order.token}/tickets.pdf").ok
        assert shopfront.order(order.token).status == "paid"

    @pytest.mark.case("MAIL-01")
    def test_mail01_a_mail_that_never_goes_out_is_parked_for_a_person(self, shopfront):
        paid(shopfront, shopfront.buyer())
        for _try in range(queued_rows.MAX_ATTEMPTS + 1):
            shopfront.shop.jobs.run("outbox")
            shopfront.clock.move(hours=7)
        row = rows(shopfront)[0]
        assert (row.state, row.attempts) == ("parked", queued_rows.MAX_ATTEMPTS)
        shopfront.shop.jobs.run("inbox")
        answer = shopfront.buyer().get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "wait for a person" in answer.json()["checks"]["outbox"]
