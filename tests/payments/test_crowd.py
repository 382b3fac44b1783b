"""PAY-15, REF-04, WH-05: many at once, and a Stripe that is too fast or cannot keep up."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress

import pytest

from tests.invariants import check_money
from tests.racing import together
from tmt.core import failpoints
from tmt.core.errors import DomainError
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.usefixtures("sound")

BUYERS = 25


def succeeded_event(front, pi, type_="payment_intent.succeeded"):
    """The body of Stripe's own event about the PaymentIntent."""
    for event in front.stripe.v1.events.list({"type": type_, "limit": 100}).data:
        webhook_threads = event.to_dict(for_json=True)
        if webhook_threads["data"]["object"]["id"] == pi:
            return json.dumps(webhook_threads)
    raise AssertionError(f"no {type_} about {pi}")


@pytest.mark.case("PAY-15")
def test_pay15_half_of_the_calls_are_refused_and_everybody_pays(shopfront, sandbox):
    """Nobody sees more than "try again", no hold is lost, no PaymentIntent is made twice."""
    shopfront.silence_stripe()
    orders = [shopfront.place_directly(1) for _ in range(BUYERS)]
    shopfront.sandbox.faults.arm("429", "* /v1/payment_intents*", None, 0.5)
    answers = []

    def retry_forever(order):
        buyer = shopfront.buyer()
        for _try in range(12):
            answers.append(buyer.get(f"/orders/{order.token}/pay", allow_redirects=False))
            if answers[-1].status_code == 200:
                return

    together(*[lambda order=order: retry_forever(order) for order in orders])
    sandbox.calm()
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all('role="alert"' in a.text for a in answers if a.status_code == 503)
    assert shopfront.stock() == (BUYERS, 0)
    stored = {shopfront.payment(order).payment_intent_id for order in orders}
    created = shopfront.stripe.v1.payment_intents.list({"limit": 100}).data
    assert stored == {intent.id for intent in created}
    assert len(stored) == BUYERS
    for pi in stored:
        shopfront.confirm(pi)
    shopfront.run_jobs()
    assert shopfront.stock() == (0, BUYERS)


@pytest.mark.case("REF-04")
def test_ref04_everything_is_given_back_twice_at_once(shopfront):
    """An event is called off, and the one who does it presses the button twice."""
    shopfront.silence_stripe()
    orders = [shopfront.place_directly(1) for _ in range(10)]
    for order in orders:
        shopfront.confirm(shopfront.buyer().open_pay_page(order))
    shopfront.run_jobs()

    def give_all_back():
        for order in orders:
            with suppress(DomainError):
                issue_refund(shopfront.shop, order.code)
            shopfront.shop.jobs.run("outbox")

    together(give_all_back, give_all_back)
    shopfront.run_jobs()
    created = shopfront.stripe.v1.refunds.list({"limit": 100}).data
    assert [refund.amount for refund in created] == [7500] * 10
    assert len({refund.payment_intent for refund in created}) == 10
    assert {shopfront.order(order.token).status for order in orders} == {"refunded"}
    assert shopfront.stock() == (0, 0)
    check_money(shopfront)


@pytest.mark.case("WH-05")
def test_wh05_the_event_comes_while_the_id_is_being_stored(shopfront, monkeypatch):
    """Paid, and told of, between Stripe's answer and the commit of its id."""
    shopfront.silence_stripe()
    order = shopfront.place_directly(1)
    webhook_threads = []

    def pause(name):
        if webhook_threads or not name.startswith(
            "before commit of tmt.payments.intents.current_intent"
        ):
            return
        webhook_threads.append(threading.Thread(target=deliver_webhook))
        webhook_threads[0].start()
        # The webhook is at work, or waits for the database; in either case this goes on.
        time.sleep(0.3)

    def deliver_webhook():
        (intent,) = shopfront.stripe.v1.payment_intents.list().data
        shopfront.confirm(intent.id)
        assert shopfront.deliver(succeeded_event(shopfront, intent.id)).status_code == 200
        shopfront.shop.jobs.run("inbox")

    monkeypatch.setattr(failpoints, "reach", pause)
    shopfront.buyer().get(f"/orders/{order.token}/pay", allow_redirects=False)
    webhook_threads[0].join()
    shopfront.clock.move(seconds=10)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    check_money(shopfront)
