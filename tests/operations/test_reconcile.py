"""The reconciler: what no webhook has reported reaches the shop all the same."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.invariants import check_money
from tests.operations.auditing import begin_payment, corrupt, remove_capacity
from tests.racing import together
from tests.sandbox.driver import Driver
from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy
from tmt.checkout.models import Order
from tmt.core import cursors
from tmt.gateway.inbox import InboxRow
from tmt.operations.reconcile import reconcile
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund

pytestmark = pytest.mark.usefixtures("sound")
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LIST, ONE = "GET /v1/payment_intents", "GET /v1/payment_intents/{}"


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


@pytest.fixture(autouse=True)
def no_webhooks(shopfront):
    """None of Stripe's webhooks arrives."""
    shopfront.silence_stripe()


def pay_unreported(front, method="pm_card_visa"):
    """An order that is paid at Stripe and held in the shop; its PaymentIntent's id."""
    order, pi = begin_payment(front, 1)
    front.confirm(pi, method)
    return order, pi


def run(front):
    return reconcile(front.shop, front.gateway)


def pay(front):
    """A paid order, of which the shop knows."""
    order, pi = pay_unreported(front)
    run(front)
    return order, pi


def all_of(front, table):
    with front.shop.db.reading() as session:
        return session.scalars(select(table).order_by(table.id)).all()


def statuses(front):
    return [order.status for order in all_of(front, Order)]


def add_foreign_intents(front, pi, count, created):
    """Adds PaymentIntents of other systems on the same account."""
    path = front.shop.settings.instance.parent / "sandbox.sqlite"
    connection = sqlite3.connect(path, timeout=10)
    with connection:
        query = "SELECT body FROM objects WHERE id = ?"
        body = json.loads(connection.execute(query, (pi,)).fetchone()[0])
        connection.executemany(
            "INSERT INTO objects (id, kind, created, body) VALUES (?, 'payment_intent', ?, ?)",
            [
                (name, created, json.dumps(body | {"id": name, "created": created, "metadata": {}}))
                for name in (f"pi_other{number}" for number in range(count))
            ],
        )
    connection.close()


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-03")
def test_wh03_fifty_paid_orders_no_webhook_one_mail_each(shopfront):
    for _ in range(50):
        pay_unreported(shopfront)
    line = StripeProxy(shopfront)
    report = run(shopfront)
    assert (report.checked, report.synced, report.failed, report.complete) == (50, 50, [], True)
    assert line.calls.count(LIST) == 1
    assert len(line.calls) <= 6
    assert statuses(shopfront) == ["paid"] * 50
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 50
    assert not [row for row in all_of(shopfront, InboxRow) if row.state != "done"]
    check_money(shopfront)


@pytest.mark.databases("sqlite")
@pytest.mark.case("DB-04")
def test_db04_one_unknown_and_one_unreadable_payment_stop_no_other(shopfront):
    remove_capacity(shopfront)
    orders = [pay_unreported(shopfront) for _ in range(30)]
    (lost, lost_pi), (unreadable, unreadable_pi) = orders[5], orders[20]
    lost_id = shopfront.payment(lost).id
    corrupt(shopfront, Payment, lost_id, payment_intent_id="pi_nowhere")
    change_at_stripe(shopfront, unreadable_pi, metadata="no object")
    report = run(shopfront)
    assert statuses(shopfront).count("paid") == 28
    assert report.synced == 28
    assert sorted(text[: len(f"order {lost.code}")] for text in report.failed) == sorted(
        [f"order {lost.code}", f"order {unreadable.code}"]
    )
    assert any("StripeNotFound" in text for text in report.failed)
    run(shopfront)
    kinds = ["missing_at_stripe", "stripe_unreadable", "unknown_payment"]
    assert sorted(alert.kind for alert in all_of(shopfront, OperatorAlert)) == kinds
    change_at_stripe(shopfront, unreadable_pi, metadata={})
    assert run(shopfront).synced == 1
    corrupt(shopfront, Payment, lost_id, payment_intent_id=lost_pi)
    assert run(shopfront).synced == 1


@sqlite_only
def test_what_has_not_changed_costs_one_call_for_each_list_and_writes_nothing(shopfront):
    for _ in range(3):
        begin_payment(shopfront, 1)
    run(shopfront)
    line = StripeProxy(shopfront)
    report = run(shopfront)
    assert (report.checked, report.synced, report.recorded, report.events) == (3, 0, 0, 0)
    assert sorted(line.calls) == [
        "GET /v1/disputes",
        "GET /v1/events",
        LIST,
        "GET /v1/refunds",
    ]


@sqlite_only
def test_an_old_payment_is_retrieved_without_reading_a_long_list(shopfront):
    order, pi = begin_payment(shopfront, 1)
    change_at_stripe(shopfront, pi, created=1_700_000_000)
    long_ago = shopfront.clock.now() - timedelta(days=20)
    corrupt(shopfront, Payment, created_at=long_ago)
    shopfront.confirm(pi)
    run(shopfront)
    assert shopfront.order(order.token).status == "paid"
    change_at_stripe(shopfront, pi, status="canceled")
    corrupt(shopfront, Payment, status="processing")
    add_foreign_intents(shopfront, pi, 700, created=int(long_ago.timestamp()) + 86400)
    line = StripeProxy(shopfront)
    assert run(shopfront).checked == 1
    assert line.count(LIST) == 3
    assert line.count(ONE.format(pi)) == 1


@pytest.mark.case("PAY-12")
@sqlite_only
def test_pay12_a_debit_that_no_webhook_reports_ends_as_the_bank_says(shopfront):
    (paid_order, paid_pi), (refused_order, refused_pi) = (
        begin_payment(shopfront, 1),
        begin_payment(shopfront, 1),
    )
    for pi in (paid_pi, refused_pi):
        change_at_stripe(shopfront, pi, status="processing")
    run(shopfront)
    assert statuses(shopfront) == ["processing"] * 2
    refused = {"status": "requires_payment_method", "last_payment_error": {"code": "refused"}}
    change_at_stripe(shopfront, refused_pi, **refused)
    change_at_stripe(shopfront, paid_pi, status="requires_payment_method")
    shopfront.confirm(paid_pi)
    run(shopfront)
    assert shopfront.order(paid_order.token).status == "paid"
    assert shopfront.order(refused_order.token).status == "held"


@pytest.mark.case("REF-02")
@sqlite_only
@pytest.mark.parametrize("parts", [[7500], [1000], [1000, 6500]])
def test_ref02_refunds_made_in_the_dashboard_while_webhooks_are_down(shopfront, parts):
    order, pi = pay(shopfront)
    for amount in parts:
        shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": amount})
    report = run(shopfront)
    assert report.recorded == len(parts)
    assert [(r.amount, r.reason) for r in reversed(all_of(shopfront, Refund))] == [
        (amount, "external") for amount in parts
    ]
    is_full = sum(parts) == 7500
    assert shopfront.order(order.token).status == ("refunded" if is_full else "paid")
    assert {t.status for t in shopfront.tickets(order)} == {"void" if is_full else "valid"}
    assert run(shopfront).recorded == 0
    shopfront.run_jobs()
    check_money(shopfront)


@pytest.mark.case("REF-03")
def test_ref03_a_refund_that_fails_weeks_later_is_recorded(shopfront):
    order, pi = pay(shopfront)
    at_stripe = shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": 500})
    run(shopfront)
    shopfront.clock.move(days=25)
    yesterday = shopfront.clock.now() - timedelta(days=1)
    shopfront.shop.db.transaction(lambda s: cursors.advance(s, "stripe_events", yesterday))
    change_at_stripe(shopfront, at_stripe.id, status="failed", failure_reason="lost_or_stolen_card")
    run(shopfront)
    (refund,) = all_of(shopfront, Refund)
    assert (refund.status, refund.failure_reason) == ("failed", "lost_or_stolen_card")
    assert "refund_failed" in [alert.kind for alert in all_of(shopfront, OperatorAlert)]
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.case("REF-03")
@sqlite_only
@pytest.mark.parametrize("undecided", ["pending", "a_status_of_the_future"])
def test_ref03_an_undecided_refund_is_retrieved_when_no_list_shows_it(shopfront, undecided):
    _order, pi = pay(shopfront)
    at_stripe = shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": 500})
    change_at_stripe(shopfront, at_stripe.id, status=undecided)
    run(shopfront)
    assert [refund.status for refund in all_of(shopfront, Refund)] == [undecided]
    is_reported = "unknown_status" in [alert.kind for alert in all_of(shopfront, OperatorAlert)]
    assert is_reported == (undecided != "pending")
    change_at_stripe(shopfront, at_stripe.id, status="succeeded", created=1_700_000_000)
    assert run(shopfront).recorded == 1
    assert [refund.status for refund in all_of(shopfront, Refund)] == ["succeeded"]


@sqlite_only
def test_a_dispute_and_its_end_are_recorded(shopfront):
    order, pi = pay_unreported(shopfront, "pm_card_createDispute")
    run(shopfront)
    Driver(shopfront.sandbox).advance(seconds=1)
    run(shopfront)
    (dispute,) = all_of(shopfront, Dispute)
    assert {t.status for t in shopfront.tickets(order)} == {"blocked"}
    change_at_stripe(shopfront, dispute.stripe_id, status="lost", created=1_700_000_000)
    assert run(shopfront).recorded == 1
    assert shopfront.order(order.token).status == "refunded"
    assert pi == shopfront.payment(order).payment_intent_id


@sqlite_only
def test_events_that_never_arrived_are_handled_once(shopfront):
    order, pi = pay_unreported(shopfront)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "refused" if call.startswith(LIST) else None
    report = run(shopfront)
    assert report.events == 1
    assert not report.complete
    assert shopfront.order(order.token).status == "held"
    shopfront.shop.jobs.run("inbox")
    assert shopfront.order(order.token).status == "paid"
    line.fate = lambda _call: None
    again = run(shopfront)
    assert (again.events, again.complete) == (0, True)
    (event,) = all_of(shopfront, InboxRow)
    assert (event.object_id, event.attempts) == (pi, 1)


@sqlite_only
def test_an_event_that_could_not_be_stored_is_fetched_by_the_next_run(shopfront, monkeypatch):
    pay_unreported(shopfront)

    def fail(_shop, _event):
        raise RuntimeError("not stored")

    with monkeypatch.context() as broken:
        broken.setattr("tmt.operations.reconcile.inbox.receive", fail)
        report = run(shopfront)
    assert (len(report.failed), report.complete, report.events) == (1, True, 0)
    with shopfront.shop.db.reading() as session:
        assert cursors.read(session, "stripe_events") is None
    assert run(shopfront).events == 1


@sqlite_only
@pytest.mark.parametrize("unanswered", ["GET /v1/events", "GET /v1/refunds"])
def test_the_cursor_advances_only_when_a_run_is_complete(shopfront, unanswered):
    pay_unreported(shopfront)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "refused" if call == unanswered else None
    run(shopfront)
    with shopfront.shop.db.reading() as session:
        assert cursors.read(session, "stripe_events") is None
    line.fate = lambda _call: None
    run(shopfront)
    (event,) = all_of(shopfront, InboxRow)
    with shopfront.shop.db.reading() as session:
        assert cursors.read(session, "stripe_events") == event.stripe_created


@sqlite_only
def test_a_run_ends_soon_when_stripe_is_down_and_the_next_one_does_the_rest(shopfront):
    for _ in range(10):
        pay_unreported(shopfront)
    line = StripeProxy(shopfront)
    line.fate = lambda _call: "refused"
    report = run(shopfront)
    assert not report.complete
    assert len(report.failed) == len(line.calls) == 3
    line.fate = lambda _call: None
    assert run(shopfront).synced == 10


@sqlite_only
def test_calls_without_an_answer_stop_no_other_unless_they_come_in_a_row(shopfront):
    orders = [pay_unreported(shopfront) for _ in range(4)]
    failing_calls = {LIST, ONE.format(orders[0][1]), ONE.format(orders[2][1])}
    line = StripeProxy(shopfront)
    line.fate = lambda call: "refused" if call in failing_calls else None
    assert run(shopfront).synced == 2
    assert statuses(shopfront) == ["held", "paid", "held", "paid"]


@sqlite_only
@pytest.mark.parametrize("is_faster", [False, True], ids=["alone", "another run is faster"])
def test_a_payment_intent_whose_order_ended_before_it_was_stored_is_canceled(shopfront, is_faster):
    order = shopfront.place_directly(1)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "unanswered" if call == "POST /v1/payment_intents" else None
    shopfront.buyer().get(f"/orders/{order.token}/pay")
    line.fate = lambda _call: None
    intents = shopfront.stripe.v1.payment_intents
    (intent,) = intents.list().data
    run(shopfront)
    assert intents.retrieve(intent.id).status == "requires_payment_method"
    shopfront.clock.move(minutes=16)
    shopfront.shop.jobs.run("holds")

    def cancel_before(call):
        if call.endswith("/cancel"):
            line.fate = lambda _call: None
            intents.cancel(intent.id)

    if is_faster:
        line.fate = cancel_before
    assert run(shopfront).failed == []
    assert intents.retrieve(intent.id).status == "canceled"


def test_several_runs_at_once_have_the_effect_of_one(shopfront):
    for _ in range(5):
        pay_unreported(shopfront)
    together(*[lambda: run(shopfront)] * 3)
    assert statuses(shopfront) == ["paid"] * 5
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 5
    check_money(shopfront)


def flask(front, *command):
    return front.app.test_cli_runner().invoke(args=list(command))


@sqlite_only
def test_the_command_says_what_it_did(shopfront):
    assert flask(shopfront, "reconcile").output.startswith("0 open at Stripe")
    order, _pi = pay_unreported(shopfront)
    result = flask(shopfront, "reconcile", "--since", "30d")
    assert result.exit_code == 0, result.output
    assert result.output == (
        "1 open at Stripe, 1 payments synced, 0 refunds and disputes recorded, 1 events found\n"
    )
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    assert flask(shopfront, "reconcile", "--since", "2026-01-31").exit_code == 0
    assert flask(shopfront, "reconcile", "--since", "tuesday").exit_code == 1


@sqlite_only
def test_the_command_says_what_failed(shopfront):
    pay_unreported(shopfront)
    corrupt(shopfront, Payment, payment_intent_id="pi_nowhere")
    result = flask(shopfront, "reconcile")
    assert result.exit_code == 1
    assert "pi_nowhere: StripeNotFound" in result.output
