"""The reconciler: whatever Stripe said in vain is heard all the same. WH-03, DB-04, REF-02."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.invariants import check_money
from tests.racing import together
from tests.sandbox.driver import Driver
from tests.stripe_line import StripeLine, change_at_stripe
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core import cursors
from tmt.gateway.inbox import InboxRow
from tmt.operations.reconcile import reconcile
from tmt.payments.intents import current_intent
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund

pytestmark = pytest.mark.usefixtures("sound")
LIST, ONE = "GET /v1/payment_intents", "GET /v1/payment_intents/{}"


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


@pytest.fixture
def deaf(shopfront):
    """A shop that none of Stripe's webhooks reaches."""
    shopfront.silence_stripe()
    return shopfront


def begun(front):
    """An order whose PaymentIntent exists; its id."""
    order = front.place_directly(1)
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    return order, intent.id


def paid_unheard(front, method="pm_card_visa"):
    order, pi = begun(front)
    front.confirm(pi, method)
    return order, pi


def without_limit(front):
    for table in (Event, TicketType):
        front.shop.db.transaction(lambda s, t=table: s.execute(update(t).values(capacity=None)))


def ask(front, **since):
    moment = front.clock.now() - timedelta(**since) if since else None
    return reconcile(front.shop, front.gateway, moment)


def paid(front):
    """A paid order, of which the shop has heard."""
    order, pi = paid_unheard(front)
    ask(front)
    return order, pi


def all_of(front, table):
    with front.shop.db.reading() as session:
        return session.scalars(select(table).order_by(table.id)).all()


def statuses(front):
    return [order.status for order in all_of(front, Order)]


@pytest.mark.case("WH-03")
def test_wh03_fifty_paid_orders_no_webhook_one_mail_each(deaf):
    for _ in range(50):
        paid_unheard(deaf)
    line = StripeLine(deaf)
    report = ask(deaf)
    assert (report.checked, report.synced, report.failed, report.complete) == (50, 50, [], True)
    assert line.calls.count(LIST) == 1
    assert len(line.calls) <= 6
    assert statuses(deaf) == ["paid"] * 50
    deaf.run_jobs()
    assert len(deaf.mails()) == 50
    assert not [row for row in all_of(deaf, InboxRow) if row.state != "done"]
    check_money(deaf)


@pytest.mark.case("DB-04")
def test_db04_one_unknown_and_one_unreadable_payment_keep_nobody_else(deaf):
    without_limit(deaf)
    orders = [paid_unheard(deaf) for _ in range(100)]
    (lost, lost_pi), (bad, bad_pi) = orders[20], orders[70]
    renamed = update(Payment).where(Payment.payment_intent_id == lost_pi)
    deaf.shop.db.transaction(lambda s: s.execute(renamed.values(payment_intent_id="pi_nowhere")))
    change_at_stripe(deaf, bad_pi, metadata="no object")
    report = ask(deaf)
    assert statuses(deaf).count("paid") == 98
    assert report.synced == 98
    assert sorted(text[: len(f"order {lost.code}")] for text in report.failed) == sorted(
        [f"order {lost.code}", f"order {bad.code}"]
    )
    assert any("StripeNotFound" in text for text in report.failed)
    ask(deaf)
    assert [notice.kind for notice in all_of(deaf, OperatorAlert)] == ["missing_at_stripe"]
    change_at_stripe(deaf, bad_pi, metadata={})
    assert ask(deaf).syncs == 1
    deaf.shop.db.transaction(
        lambda s: s.execute(
            update(Payment)
            .where(Payment.payment_intent_id == "pi_nowhere")
            .values(payment_intent_id=lost_pi)
        )
    )
    assert ask(deaf).syncs == 1


def test_what_has_not_changed_costs_one_list_and_writes_nothing(deaf):
    for _ in range(3):
        begun(deaf)
    ask(deaf)
    line = StripeLine(deaf)
    report = ask(deaf)
    assert (report.checked, report.synced, report.recorded, report.events) == (3, 0, 0, 0)
    assert sorted(line.calls) == [
        "GET /v1/disputes",
        "GET /v1/events",
        LIST,
        "GET /v1/refunds",
    ]


def test_an_old_payment_is_asked_about_without_reading_a_long_list(deaf):
    order, pi = begun(deaf)
    change_at_stripe(deaf, pi, created=1_700_000_000)
    long_ago = deaf.clock.now() - timedelta(days=20)
    deaf.shop.db.transaction(lambda s: s.execute(update(Payment).values(created_at=long_ago)))
    deaf.confirm(pi)
    ask(deaf)
    assert deaf.order(order.token).status == "paid"
    change_at_stripe(deaf, pi, status="canceled")
    deaf.shop.db.transaction(lambda s: s.execute(update(Payment).values(status="processing")))
    others_at_stripe(deaf, pi, 700, created=int(long_ago.timestamp()) + 86400)
    line = StripeLine(deaf)
    assert ask(deaf).checked == 1
    assert line.count(LIST) == 3
    assert line.count(ONE.format(pi)) == 1


def others_at_stripe(front, pi, count, created):
    """PaymentIntents of other systems on the same account."""
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


@pytest.mark.case("PAY-12")
def test_pay12_a_debit_that_is_never_told_of_ends_as_the_bank_says(deaf):
    (paid_order, paid_pi), (refused_order, refused_pi) = begun(deaf), begun(deaf)
    for pi in (paid_pi, refused_pi):
        change_at_stripe(deaf, pi, status="processing")
    ask(deaf)
    assert statuses(deaf) == ["processing"] * 2
    change_at_stripe(deaf, refused_pi, status="requires_payment_method")
    change_at_stripe(deaf, paid_pi, status="requires_payment_method")
    deaf.confirm(paid_pi)
    ask(deaf)
    assert deaf.order(paid_order.token).status == "paid"
    assert deaf.order(refused_order.token).status == "held"


@pytest.mark.case("REF-02")
@pytest.mark.parametrize("parts", [[7500], [1000], [1000, 6500]])
def test_ref02_refunds_made_in_the_dashboard_while_webhooks_are_down(deaf, parts):
    order, pi = paid(deaf)
    for amount in parts:
        deaf.stripe.v1.refunds.create({"payment_intent": pi, "amount": amount})
    report = ask(deaf)
    assert report.recorded == len(parts)
    assert [(r.amount, r.reason) for r in reversed(all_of(deaf, Refund))] == [
        (amount, "external") for amount in parts
    ]
    gone = sum(parts) == 7500
    assert deaf.order(order.token).status == ("refunded" if gone else "paid")
    assert {t.status for t in deaf.tickets(order)} == {"void" if gone else "valid"}
    assert ask(deaf).recorded == 0
    deaf.run_jobs()
    check_money(deaf)


@pytest.mark.case("REF-03")
def test_ref03_a_refund_that_fails_weeks_later_is_noticed(deaf):
    order, pi = paid(deaf)
    made = deaf.stripe.v1.refunds.create({"payment_intent": pi, "amount": 500})
    ask(deaf)
    deaf.clock.move(days=25)
    yesterday = deaf.clock.now() - timedelta(days=1)
    deaf.shop.db.transaction(lambda s: cursors.advance(s, "stripe_events", yesterday))
    change_at_stripe(deaf, made.id, status="failed", failure_reason="lost_or_stolen_card")
    ask(deaf)
    (refund,) = all_of(deaf, Refund)
    assert (refund.status, refund.failure_reason) == ("failed", "lost_or_stolen_card")
    assert "refund_failed" in [notice.kind for notice in all_of(deaf, OperatorAlert)]
    assert deaf.order(order.token).status == "paid"


@pytest.mark.case("REF-03")
def test_ref03_a_pending_refund_is_asked_about_when_no_list_shows_it(deaf):
    _order, pi = paid_unheard(deaf, "pm_card_pendingRefund")
    ask(deaf)
    made = deaf.stripe.v1.refunds.create({"payment_intent": pi, "amount": 500})
    ask(deaf)
    assert [refund.status for refund in all_of(deaf, Refund)] == ["pending"]
    change_at_stripe(deaf, made.id, status="succeeded", created=1_700_000_000)
    assert ask(deaf).recorded == 1
    assert [refund.status for refund in all_of(deaf, Refund)] == ["succeeded"]


def test_a_dispute_is_heard_of_and_so_is_its_end(deaf):
    order, pi = paid_unheard(deaf, "pm_card_createDispute")
    ask(deaf)
    Driver(deaf.sandbox).advance(seconds=1)
    ask(deaf)
    (dispute,) = all_of(deaf, Dispute)
    assert {t.status for t in deaf.tickets(order)} == {"blocked"}
    change_at_stripe(deaf, dispute.stripe_id, status="lost", created=1_700_000_000)
    assert ask(deaf).recorded == 1
    assert deaf.order(order.token).status == "refunded"
    assert pi == deaf.payment(order).payment_intent_id


def test_events_that_never_arrived_are_handled_and_asked_for_once(deaf):
    order, pi = paid_unheard(deaf)
    line = StripeLine(deaf)
    line.fate = lambda call: "refused" if call.startswith(LIST) else None
    report = ask(deaf)
    assert report.events == 1
    assert not report.complete
    assert deaf.order(order.token).status == "held"
    deaf.shop.jobs.run("inbox")
    assert deaf.order(order.token).status == "paid"
    line.fate = lambda _call: None
    again = ask(deaf)
    assert (again.events, again.complete) == (0, True)
    (event,) = all_of(deaf, InboxRow)
    assert (event.object_id, event.attempts) == (pi, 1)


@pytest.mark.parametrize("unanswered", ["GET /v1/events", "GET /v1/refunds"])
def test_the_mark_moves_only_when_a_run_was_complete(deaf, unanswered):
    paid_unheard(deaf)
    line = StripeLine(deaf)
    line.fate = lambda call: "refused" if call == unanswered else None
    ask(deaf)
    with deaf.shop.db.reading() as session:
        assert cursors.read(session, "stripe_events") is None
    line.fate = lambda _call: None
    ask(deaf)
    (event,) = all_of(deaf, InboxRow)
    with deaf.shop.db.reading() as session:
        assert cursors.read(session, "stripe_events") == event.stripe_created


def test_a_silent_stripe_ends_the_run_soon_and_the_next_one_goes_on(deaf):
    for _ in range(10):
        paid_unheard(deaf)
    line = StripeLine(deaf)
    line.fate = lambda _call: "refused"
    report = ask(deaf)
    assert not report.complete
    assert len(report.failed) == len(line.calls) == 3
    line.fate = lambda _call: None
    assert ask(deaf).syncs == 10


def test_one_call_that_is_not_answered_ends_nothing(deaf):
    orders = [paid_unheard(deaf) for _ in range(4)]
    unlucky = ONE.format(orders[1][1])
    line = StripeLine(deaf)
    line.fate = lambda call: "refused" if call in (LIST, unlucky) else None
    assert ask(deaf).syncs == 3
    assert statuses(deaf) == ["paid", "held", "paid", "paid"]


def test_a_payment_intent_whose_order_ended_before_it_was_stored_is_canceled(deaf):
    order = deaf.place_directly(1)
    line = StripeLine(deaf)
    line.fate = lambda call: "unanswered" if call == "POST /v1/payment_intents" else None
    buyer = deaf.buyer()
    buyer.get(f"/orders/{order.token}/pay")
    line.fate = lambda _call: None
    (made,) = deaf.stripe.v1.payment_intents.list().data
    ask(deaf)
    assert deaf.stripe.v1.payment_intents.retrieve(made.id).status == "requires_payment_method"
    deaf.clock.move(minutes=16)
    deaf.shop.jobs.run("holds")
    ask(deaf)
    assert deaf.stripe.v1.payment_intents.retrieve(made.id).status == "canceled"


def test_many_at_once_do_it_once(deaf):
    for _ in range(5):
        paid_unheard(deaf)
    together(*[lambda: ask(deaf)] * 3)
    assert statuses(deaf) == ["paid"] * 5
    deaf.run_jobs()
    assert len(deaf.mails()) == 5
    check_money(deaf)


def flask(front, *command):
    return front.app.test_cli_runner().invoke(args=list(command))


def test_the_command_says_what_it_did(deaf):
    assert flask(deaf, "reconcile").output.startswith("0 open at Stripe")
    order, _pi = paid_unheard(deaf)
    said = flask(deaf, "reconcile", "--since", "30d")
    assert said.exit_code == 0, said.output
    assert said.output == (
        "1 open at Stripe, 1 payments settled, 0 refunds and disputes booked, 1 events found\n"
    )
    assert deaf.order(order.token).status == "paid"
    assert len(deaf.mails()) == 1
    assert flask(deaf, "reconcile", "--since", "2026-01-31").exit_code == 0
    assert flask(deaf, "reconcile", "--since", "tuesday").exit_code == 1


def test_the_command_says_what_failed(deaf):
    _order, pi = paid_unheard(deaf)
    renamed = update(Payment).where(Payment.payment_intent_id == pi)
    deaf.shop.db.transaction(lambda s: s.execute(renamed.values(payment_intent_id="pi_nowhere")))
    said = flask(deaf, "reconcile")
    assert said.exit_code == 1
    assert "pi_nowhere: Gone" in said.output
