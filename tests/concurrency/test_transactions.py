"""DB-01, DB-02: many writers and no error; no transaction is open while Stripe is called."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from contextlib import closing
from functools import partial

import psycopg
import pytest

from tests.racing import together
from tests.shopfront import add_event, rendered_event
from tests.stripe_proxy import StripeProxy
from tmt.catalog.models import Event
from tmt.core.database import Database, transaction_is_open


@pytest.mark.case("DB-01")
@pytest.mark.usefixtures("sound")
def test_db01_writers_in_parallel_meet_no_error(shopfront):
    def buying(number):
        def buy():
            codes = []
            for _order in range(4):
                buyer = shopfront.buyer(email=f"buyer{number}@example.com")
                order = buyer.reserve(1)
                pay = buyer.get(f"/orders/{order.token}/pay")
                token = buyer.csrf_token("/orders/find")
                end = buyer.post(f"/orders/{order.token}/cancel", {"csrf_token": token})
                codes += [pay.status_code, end.status_code]
            return codes

        return buy

    def delivering(number):
        def deliver():
            object_ = {"id": f"pi_{number}", "object": "payment_intent"}
            bodies = [
                rendered_event(shopfront, "payment_intent.created", object_, id=f"evt_{number}_{n}")
                for n in range(15)
            ]
            return [shopfront.deliver(body).status_code for body in bodies]

        return deliver

    def working():
        for _again in range(15):
            shopfront.run_jobs()
        return [200]

    answers = together(*map(buying, range(4)), *map(delivering, range(3)), working)
    assert {code for codes in answers for code in codes} == {200}


@pytest.mark.case("DB-01")
def test_db01_on_sqlite_one_writer_waits_for_the_other_from_the_start(db, database_url):
    """Reading first and writing later would fail at once there; on PostgreSQL they meet.

    Each has a `Database` of its own, as two processes have.
    """
    event, meeting, met = add_event(db), threading.Barrier(2), []

    def unit(session):
        found = session.get_one(Event, event.id)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.4)
            met.append(1)
        found.max_per_order += 1

    other = Database(database_url)
    together(partial(db.transaction, unit), partial(other.transaction, unit))
    other.close()
    assert bool(met) == (not db.is_sqlite)


def open_transactions(shopfront) -> str:
    """Who holds a transaction of the shop's database open now; empty if nobody."""
    url = shopfront.shop.db.engine.url
    if shopfront.shop.db.is_sqlite:
        with closing(sqlite3.connect(url.database, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                return str(error)
        return ""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    query = (
        "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    with psycopg.connect(plain, autocommit=True) as other:
        return "; ".join(row[0] for row in other.execute(query))


def watch(shopfront):
    proxy, open_ = StripeProxy(shopfront), []
    proxy.fate = lambda _call: open_.append(open_transactions(shopfront))
    return proxy, open_


@pytest.mark.case("DB-02")
@pytest.mark.usefixtures("sound")
def test_db02_no_transaction_is_open_while_stripe_is_called(shopfront):
    shopfront.silence_stripe()
    proxy, open_ = watch(shopfront)
    buyer = shopfront.buyer()
    paid, canceled, run_out, short = (shopfront.buyer().reserve(1) for _ in range(4))
    for order in (paid, canceled, run_out, short):
        buyer.open_pay_page(order)
    buyer.cancel(canceled)
    shopfront.confirm(shopfront.payment(paid).payment_intent_id)
    pi = shopfront.payment(short).payment_intent_id
    shopfront.stripe.v1.payment_intents.update(pi, {"amount": 5000})
    shopfront.confirm(pi)
    for order in (paid, short):
        buyer.get(f"/orders/{order.token}/return")
        shopfront.api("confirm_payment", {"payment_intent_id": pi})
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    kinds = {(call.split()[0], call.split("/")[-1] == "cancel") for call in proxy.calls}
    assert kinds == {("GET", False), ("POST", False), ("POST", True)}
    assert "POST /v1/refunds" in proxy.calls
    assert set(open_) == {""}
    statuses = [shopfront.order(o.token).status for o in (paid, canceled, run_out, short)]
    assert statuses == ["paid", "canceled", "expired", "refunded"]


@pytest.mark.case("DB-02")
def test_db02_control_an_open_transaction_would_be_seen(shopfront):
    proxy, open_ = watch(shopfront)
    shopfront.shop.db.transaction(
        lambda session: (
            session.connection(),
            session.connection().exec_driver_sql("SELECT 1"),
            shopfront.stripe.v1.payment_intents.list(),
        )
    )
    assert proxy.calls
    assert all(open_)


@pytest.mark.case("DB-02")
def test_db02_the_gateway_refuses_to_be_called_in_a_transaction(shopfront):
    def unit(_session):
        assert transaction_is_open()
        shopfront.gateway.retrieve_payment_intent("pi_x")

    with pytest.raises(RuntimeError, match="inside a transaction"):
        shopfront.shop.db.transaction(unit)
    assert not transaction_is_open()
