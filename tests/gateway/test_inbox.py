"""From the inbox on: handled once, in any order, again until it is done, and visible."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import timedelta

import pytest
import requests
import stripe

from tests.gateway.stripe_events import found, stored, stripes_own, without_table
from tests.invariants import check_money, check_stock, check_tickets
from tests.shopfront import rendered_event
from tests.stripe_proxy import StripeProxy
from tmt.core import queued_rows
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow

SUCCEEDED, FAILED = "payment_intent.succeeded", "payment_intent.payment_failed"
OLDER_VERSION = {"api_version": "2020-08-27"}


@pytest.fixture
def buyer(shopfront):
    """A buyer of a shop to which Stripe sends nothing by itself."""
    shopfront.silence_stripe()
    return shopfront.buyer()


def at_rest(front):
    check_stock(front.shop.db)
    check_tickets(front.shop.db)
    check_money(front)


def paid_order(front, buyer=None):
    """An order that is paid at Stripe, of which the shop has not heard; and its PaymentIntent."""
    buyer = buyer or front.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    front.confirm(pi)
    return order, pi


@pytest.mark.case("WH-01")
def test_wh01_one_event_twenty_times(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    body = stripes_own(shopfront, SUCCEEDED, pi)
    answers = []
    start = threading.Barrier(20)

    def deliver():
        start.wait()
        answers.append(shopfront.deliver(body).status_code)

    threads = [threading.Thread(target=deliver) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    shopfront.run_jobs()
    second = json.dumps({**json.loads(body), "id": "evt_another"})
    assert shopfront.deliver(second).status_code == 200
    shopfront.run_jobs()
    assert shopfront.deliver(body).status_code == 200
    shopfront.run_jobs()
    assert len(stored(shopfront)) == 2
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    at_rest(shopfront)


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-02")
def test_wh02_events_in_any_order_end_the_same(shopfront, buyer):
    types = ("payment_intent.created", FAILED, SUCCEEDED, "charge.succeeded")
    for permutation in itertools.permutations(types):
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        with pytest.raises(stripe.CardError):
            shopfront.confirm(pi, "pm_card_visa_chargeDeclined")
        charge = shopfront.confirm(pi).latest_charge
        for type_ in permutation:
            object_id = charge if type_.startswith("charge") else pi
            shopfront.deliver(stripes_own(shopfront, type_, object_id))
            shopfront.shop.jobs.run("inbox")
        assert shopfront.order(order.token).status == "paid", permutation
        assert shopfront.payment(order).status == "succeeded"
        # Makes room for the next buyer.
        _take_away(shopfront, order)
    assert all(row.done_at for row in stored(shopfront))


def _take_away(front, order):
    from sqlalchemy import update

    from tmt.catalog.models import Event, TicketType

    def unit(session):
        for table in (Event, TicketType):
            session.execute(update(table).values(sold=0, held=0))

    front.shop.db.transaction(unit)


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-02")
def test_wh02_a_refusal_that_comes_late_takes_nothing_back(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    shopfront.deliver(stripes_own(shopfront, SUCCEEDED, pi))
    shopfront.run_jobs()
    late = ((FAILED, "requires_payment_method"), ("payment_intent.canceled", "canceled"))
    for type_, status in late:
        object_ = {"id": pi, "object": "payment_intent", "status": status, "amount": 7500}
        object_ |= {"amount_received": 0, "created": 1, "currency": "usd"}
        shopfront.deliver(rendered_event(shopfront, type_, object_))
        shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    at_rest(shopfront)


@pytest.mark.case("WH-03")
def test_wh03_paid_orders_are_found_without_any_webhook(shopfront, buyer):
    orders = [paid_order(shopfront)[0] for _ in range(10)]
    shopfront.clock.move(minutes=shopfront.shop.settings.hold_minutes + 1)
    for duty in ("holds", "outbox"):
        shopfront.shop.jobs.run(duty)
    assert {shopfront.order(order.token).status for order in orders} == {"paid"}
    assert len(shopfront.mails()) == 10
    assert not stored(shopfront)
    at_rest(shopfront)


@pytest.mark.case("WH-05")
def test_wh05_an_event_that_comes_before_the_id_is_stored(shopfront, buyer):
    order = buyer.reserve(1)
    sandbox = shopfront.sandbox.wsgi.wsgi_app
    early, waiting = [], []

    def pays_before_it_answers(environ, start_response):
        answer = list(sandbox(environ, start_response))
        call = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if call == ("POST", "/v1/payment_intents") and not early:
            early.append(json.loads(b"".join(answer))["id"])
            shopfront.confirm(early[0])
            body = stripes_own(shopfront, SUCCEEDED, early[0])
            assert shopfront.deliver(body).status_code == 200
            shopfront.run_jobs()
            waiting.append(command(shopfront, "list", "--open"))
        return answer

    shopfront.sandbox.wsgi.wsgi_app = pays_before_it_answers
    buyer.get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert SUCCEEDED in waiting[0]
    shopfront.clock.move(minutes=shopfront.shop.settings.hold_minutes + 1)
    shopfront.run_jobs()
    shopfront.run_jobs()
    assert shopfront.payment(order).payment_intent_id == early[0]
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    at_rest(shopfront)


@pytest.mark.case("WH-06")
@pytest.mark.parametrize("table", ["tickets", "outbox", "order_transitions"])
def test_wh06_what_failed_half_way_is_done_whole_later(shopfront, buyer, table):
    order, pi = paid_order(shopfront, buyer)
    body = stripes_own(shopfront, SUCCEEDED, pi)
    assert shopfront.deliver(body).status_code == 200
    with without_table(shopfront, table):
        shopfront.shop.jobs.run("inbox")
    row = found(shopfront, body)
    assert (row.state, row.attempts, row.outcome) == ("failing", 1, None)
    assert table in row.last_error
    assert shopfront.order(order.token).status == "held"
    assert shopfront.stock() == (1, 0)
    shopfront.deliver(body)
    shopfront.clock.move(seconds=3)
    shopfront.run_jobs()
    assert found(shopfront, body).outcome == "handled"
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    at_rest(shopfront)


@pytest.mark.case("WH-06")
def test_wh06_what_a_killed_worker_held_is_done_when_its_lease_ends(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    shopfront.deliver(stripes_own(shopfront, SUCCEEDED, pi))
    now = shopfront.clock.now()
    taken = shopfront.shop.db.transaction(lambda s: queued_rows.claim(s, InboxRow, now, 20))
    assert len(taken) == 1
    shopfront.shop.jobs.run("inbox")
    assert shopfront.order(order.token).status == "held"
    shopfront.clock.move(seconds=queued_rows.LEASE.total_seconds() + 1)
    shopfront.shop.jobs.run("inbox")
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.case("WH-07")
@pytest.mark.parametrize("settings", [{"stripe_retries": 0}])
def test_wh07_a_failing_handler_is_retried_with_back_off_and_can_be_seen(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "refused"
    object_ = {"id": pi, "object": "payment_intent"}
    body = rendered_event(shopfront, SUCCEEDED, object_, **OLDER_VERSION)
    assert shopfront.deliver(body).json() == {"received": True}
    waits = []
    for attempt in (1, 2, 3, 4):
        shopfront.run_jobs()
        shopfront.run_jobs()
        row = found(shopfront, body)
        assert (row.state, row.attempts) == ("failing", attempt)
        waits.append((row.due_at - shopfront.clock.now()).total_seconds())
        shopfront.clock.move(seconds=waits[-1] + 1)
    for number, wait in enumerate(waits, 1):
        assert 2**number * 0.5 - 1 <= wait <= 2**number
    line.fate = lambda call: None
    shopfront.run_jobs()
    assert found(shopfront, body).outcome == "handled"
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-07")
@pytest.mark.parametrize("settings", [{"stripe_retries": 0}])
def test_wh07_the_inbox_in_the_terminal(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "refused"
    body = rendered_event(shopfront, SUCCEEDED, {"id": pi}, **OLDER_VERSION)
    event_id = json.loads(body)["id"]
    shopfront.deliver(body)
    shopfront.run_jobs()
    assert event_id in command(shopfront, "list", "--open")
    listed = command(shopfront, "list")
    assert [part in listed for part in ("failing", SUCCEEDED, pi)] == [True] * 3
    shown = json.loads(command(shopfront, "show", event_id))
    assert (shown["event"], shown["state"], shown["attempts"]) == (event_id, "failing", 1)
    assert "StripeServerError" in shown["last_error"]
    assert shown["next_attempt"]
    assert "failing" in command(shopfront, "replay", event_id)
    line.fate = lambda call: None
    assert f"{event_id}  handled" in command(shopfront, "replay", event_id)
    assert shopfront.order(order.token).status == "paid"


def command(front, *arguments, fails=False):
    """What `flask inbox …` prints."""
    result = front.app.test_cli_runner().invoke(args=["inbox", *arguments])
    assert result.exit_code == (1 if fails else 0), result.output
    return result.output


@pytest.mark.case("WH-07")
def test_wh07_replaying_repeats_no_effect(shopfront, buyer):
    _, pi = paid_order(shopfront, buyer)
    body = stripes_own(shopfront, SUCCEEDED, pi)
    event_id = json.loads(body)["id"]
    shopfront.deliver(body)
    for _ in range(3):
        assert f"{event_id}  handled" in command(shopfront, "replay", event_id)
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 1
    assert event_id not in command(shopfront, "list", "--open")
    at_rest(shopfront)


@pytest.mark.databases("sqlite")
def test_the_terminal_names_what_is_not_there(shopfront):
    assert command(shopfront, "list").strip() == "no events"
    assert "evt_nowhere" in command(shopfront, "show", "evt_nowhere", fails=True)
    assert "evt_nowhere" in command(shopfront, "replay", "evt_nowhere", fails=True)


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-07")
def test_wh07_a_parked_event_shows_on_the_health_page_until_it_is_done(shopfront, buyer):
    _, pi = paid_order(shopfront, buyer)
    body = stripes_own(shopfront, SUCCEEDED, pi)
    shopfront.deliver(body)
    with without_table(shopfront, "tickets"):
        for _ in range(queued_rows.MAX_ATTEMPTS):
            shopfront.shop.jobs.run("inbox")
            shopfront.clock.move(hours=7)
    assert found(shopfront, body).state == "parked"
    shopfront.shop.jobs.run("outbox")  # The alert about it.
    ready = requests.get(f"{shopfront.url}/readyz", timeout=20)
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "1 rows failed" in ready.json()["checks"]["inbox"]
    assert "handled" in command(shopfront, "replay", json.loads(body)["id"])
    shopfront.run_jobs()
    assert requests.get(f"{shopfront.url}/readyz", timeout=20).json()["status"] == "ok"
    at_rest(shopfront)


@pytest.mark.case("WH-07")
def test_wh07_a_canceled_orders_payment_is_received_and_given_back(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    _cancel_behind_stripe(shopfront, order)
    assert shopfront.deliver(stripes_own(shopfront, SUCCEEDED, pi)).status_code == 200
    shopfront.run_jobs()
    shopfront.run_jobs()
    assert shopfront.order(order.token).status in ("paid", "refunded")
    assert all(row.done_at for row in stored(shopfront))
    at_rest(shopfront)


def _cancel_behind_stripe(front, order):
    from tmt.catalog import stock
    from tmt.checkout.models import OrderStatus
    from tmt.checkout.states import Trigger, lock_order, transition

    def unit(session):
        held = lock_order(session, order.id)
        stock.release(session, held.event_id, held.quantities)
        transition(session, held, OrderStatus.EXPIRED, Trigger.EXPIRY, front.clock.now())

    front.shop.db.transaction(unit)


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-13")
def test_wh13_unknown_types_and_shapes_have_no_effect(shopfront, buyer):
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    parts = ("account", "radar.early_fraud_warning", "payment_intent", "payout", "x.y.z", "ñ")
    types = [f"{part}.{verb}" for part in parts for verb in ("created", "deleted", "happened")]
    shapes = [{}, None, [], "x", 7, {"id": None}, {"id": 7}, {"id": []}, {"id": {}}, {"id": pi}]
    shapes += [{"id": "x" * 5000}, {"id": "\u0000"}, {"id": "\ud800"}, {"status": "succeeded"}]
    shapes += [{"id": "pi_foreign", "status": ["succeeded"], "amount": 10**40}]
    for number, type_ in enumerate([*types, SUCCEEDED, FAILED]):
        for shape in shapes[number % 2 :: 2] if type_ in types else shapes[:-6]:
            answer = shopfront.deliver(rendered_event(shopfront, type_, shape))
            assert answer.status_code == 200, (type_, shape, answer.text)
    shopfront.run_jobs()
    ends = {(row.type in types, row.state, row.outcome) for row in stored(shopfront)}
    # What is handled and cannot be read waits for a person.
    assert ends == {(True, "done", "unhandled"), (False, "parked", None)}
    assert shopfront.order(order.token).status == "held"


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-13")
def test_wh13_a_foreign_payment_with_our_order_number_has_no_effect(shopfront, buyer):
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    metadata = {"order": order.code, "platform": "TMT", "timestamp": "2026-01-01"}
    params = {"amount": order.total, "currency": "usd", "metadata": metadata}
    foreign = shopfront.stripe.v1.payment_intents.create(params)
    shopfront.confirm(foreign.id)
    shopfront.deliver(stripes_own(shopfront, SUCCEEDED, foreign.id))
    shopfront.run_jobs()
    assert [row.state for row in stored(shopfront)] == ["done"]
    assert shopfront.order(order.token).status == "held"
    at_rest(shopfront)


@pytest.mark.databases("sqlite")
@pytest.mark.case("WH-15")
def test_wh15_an_event_of_the_other_mode_has_no_effect(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    body = json.loads(stripes_own(shopfront, SUCCEEDED, pi)) | {"livemode": True}
    assert shopfront.deliver(json.dumps(body)).status_code == 200
    shopfront.shop.jobs.run("inbox")
    assert found(shopfront, json.dumps(body)).outcome == "ignored"
    assert shopfront.order(order.token).status == "held"


def test_nothing_personal_stays_in_the_inbox(shopfront, buyer):
    order, pi = paid_order(shopfront, buyer)
    event = json.loads(stripes_own(shopfront, SUCCEEDED, pi))
    person = {"email": "marker@example.com", "name": "Marker Name", "phone": "+34MARKER"}
    event["data"]["object"] |= {
        "receipt_email": "marker@example.com",
        "description": "for Marker",
        "billing_details": person,
        "shipping": {"address": {"line1": "Marker street"}, "name": "Marker"},
        "metadata": {"who": "Marker"},
        "client_secret": "pi_marker_secret_marker",
    }
    event["data"]["previous_attributes"] = {"receipt_email": "marker@example.com"}
    event["request"] = {"id": "req_marker", "idempotency_key": "marker"}
    shopfront.deliver(json.dumps(event))
    shopfront.run_jobs()
    row = found(shopfront, json.dumps(event))
    kept = repr([getattr(row, column.key) for column in InboxRow.__table__.columns])
    assert "marker" not in kept.lower()
    assert "MARKER" not in command(shopfront, "show", event["id"]).upper()
    assert shopfront.order(order.token).status == "paid"


def test_a_poisoned_event_stops_no_other(shopfront, buyer):
    _, broken = paid_order(shopfront)
    whole, pi = paid_order(shopfront)
    bad = rendered_event(shopfront, SUCCEEDED, {"id": broken}, **OLDER_VERSION)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "lost" if broken in call else None
    for body in (bad, stripes_own(shopfront, SUCCEEDED, pi)):
        shopfront.deliver(body)
    shopfront.run_jobs()
    assert found(shopfront, bad).state == "failing"
    assert shopfront.order(whole.token).status == "paid"
    assert found(shopfront, bad).due_at - shopfront.clock.now() < timedelta(seconds=3)
    with shopfront.shop.db.reading() as session:
        assert all(row.done_at for row in session.query(OutboxRow))
