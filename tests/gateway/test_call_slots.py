"""Pages that need no Stripe are answered while Stripe hangs, and a crowd still gets through."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.payments.flows import english_buyer
from tests.stripe_answers import StripeAnswers
from tmt.gateway import call_slots
from tmt.gateway.call_slots import CallSlots
from tmt.gateway.errors import TooManyCalls


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("settings", [{"stripe_calls": 2, "stripe_retries": 0}])
def test_no_more_threads_than_the_setting_wait_for_a_stripe_that_hangs(shopfront, monkeypatch):
    monkeypatch.setattr(call_slots, "_HANGS_AFTER", 0.05)
    orders = [shopfront.place_directly(1) for _ in range(12)]
    answers, answered, hanging = StripeAnswers(shopfront), threading.Event(), threading.Semaphore(0)

    def hang(_body):
        hanging.release()
        answered.wait(30)

    answers.rules["POST /v1/payment_intents"] = hang

    def open_pay_page(order):
        return english_buyer(shopfront).get(f"/orders/{order.token}/pay")

    with ThreadPoolExecutor(12) as pool:
        first = [pool.submit(open_pay_page, order) for order in orders[:2]]
        for _ in first:
            assert hanging.acquire(timeout=20)
        # While two wait, the others get an answer, and so does the event's page.
        others = list(pool.map(open_pay_page, orders[2:]))
        assert {page.status_code for page in others} == {503}
        assert all("not responding" in page.text for page in others)
        assert shopfront.buyer().get(f"/events/{shopfront.event.slug}").status_code == 200
        assert len([call for call in answers.calls if call.startswith("POST")]) == 2
        answered.set()
        assert [page.result().status_code for page in first] == [200, 200]
    assert open_pay_page(orders[2]).status_code == 200


def test_a_call_waits_for_its_place_while_others_are_answered():
    slots, order = CallSlots(1), []

    def call(number):
        with slots.slot():
            order.append(number)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(call, range(50)))
    assert sorted(order) == list(range(50))


def test_a_place_is_free_again_after_a_failure(monkeypatch):
    monkeypatch.setattr(call_slots, "_HANGS_AFTER", 0)
    slots = CallSlots(1)
    with pytest.raises(ZeroDivisionError), slots.slot():
        raise ZeroDivisionError
    with slots.slot(), pytest.raises(TooManyCalls), slots.slot():
        pass
    with slots.slot():
        pass
