"""SEC-05: where names, addresses and secrets are not, after a whole life of orders."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
import stripe
from sqlalchemy import inspect, text

from tests.core.test_log import Lines
from tests.core.test_log import lines as lines
from tests.shopfront import SECRET_KEY, SIGNING_SECRET
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.databases("sqlite")

MARKERS = ("markerperson", "markermail")
# Where the shop keeps who has ordered what; nowhere else.
KNOWN = {
    "customers": {"name", "email", "email_key"},
    "orders": {"name", "email", "email_key"},
    "tickets": {"holder"},
    "order_lines": {"holders"},
}


@pytest.fixture
def settings():
    return {"log_level": "DEBUG", "stripe_retries": 0, "organiser_email": "owner@example.com"}


def live_through(front):
    """Paid, declined, given up, given back; errors of every kind on the way."""
    secrets = []
    for fate in ("paid", "declined", "given up", "given back"):
        buyer = front.buyer(name="Markerperson Uno", email="markermail@example.com")
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        secrets.append(str(front.stripe.v1.payment_intents.retrieve(pi).client_secret))
        method = "pm_card_visa_chargeDeclined" if fate == "declined" else "pm_card_visa"
        with contextlib.suppress(stripe.CardError):
            front.confirm(pi, method)
        buyer.cancel(order) if fate == "given up" else buyer.get(f"/orders/{order.token}/return")
        front.run_jobs()
        if fate == "given back":
            issue_refund(front.shop, order.code)
    front.sandbox.deliver()
    front.run_jobs()
    return secrets


def go_wrong(front, monkeypatch):
    """Errors with the buyer's data at hand: in a page, in a job, in the database."""
    buyer = front.buyer(name="Markerperson Dos", email="markermail2@example.com")

    def fail(*_any, **_more):
        raise RuntimeError("no room for markermail2@example.com")

    with monkeypatch.context() as broken:
        broken.setattr("tmt.checkout.orders._lines", fail)
        assert buyer.place(1).status_code == 500
    front.deliver('{"email": "markermail@example.com"}', "t=1,v1=markermail")
    front.api("create_payment_intent", {"amount": "markermail@example.com"})


def values(db):
    """Every value of every table, with its column."""
    with db.reading() as session:
        for table in inspect(session.connection()).get_table_names():
            for row in session.execute(text(f'SELECT * FROM "{table}"')).mappings():
                yield from ((table, column, str(value)) for column, value in row.items())


def holds(written, what):
    return what.lower() in written.lower()


@pytest.mark.case("SEC-05")
def test_sec05_nobodys_data_where_it_does_not_belong(lines: Lines, shopfront, monkeypatch):
    lines.listen()
    secrets = live_through(shopfront)
    go_wrong(shopfront, monkeypatch)
    written = "\n".join(lines())
    assert "Traceback" in written
    private = (*MARKERS, *secrets, SECRET_KEY, SIGNING_SECRET)
    assert [word for word in private if holds(written, word)] == []
    places = {
        (table, column)
        for table, column, value in values(shopfront.shop.db)
        if any(holds(value, word) for word in MARKERS)
    }
    assert ("orders", "name") in places
    assert places <= {(table, column) for table, columns in KNOWN.items() for column in columns}
    kept = [value for _table, _column, value in values(shopfront.shop.db)]
    assert [word for word in secrets if any(holds(value, word) for value in kept)] == []


@pytest.mark.case("SEC-05")
def test_sec05_stripe_is_told_nobodys_name(shopfront):
    """Metadata and descriptions are opaque; the queue and the counters hold no address either."""
    live_through(shopfront)
    folder = shopfront.shop.settings.instance
    with contextlib.closing(sqlite3.connect(folder.parent / "sandbox.sqlite")) as connection:
        told = "".join(str(row) for row in connection.execute("SELECT body FROM objects"))
    assert "order" in told
    assert [word for word in MARKERS if holds(told, word)] == []
    for path in folder.rglob("*.sqlite*"):
        assert [word for word in MARKERS if word.encode() in path.read_bytes().lower()] == [], path
