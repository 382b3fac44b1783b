"""PAY-13, REF-04: Stripe hangs, breaks or is cut off, before or after it has done it."""

from __future__ import annotations

import time

import pytest

from tests.invariants import check_money
from tests.payments.flows import paid, refunds
from tmt.payments.refunds import issue_refund

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]

TROUBLE = ["502", "hang", "reset", "lose_answer"]


@pytest.fixture
def settings():
    return {"stripe_retries": 0, "stripe_timeout": 0.5}


def arm(shopfront, trouble, call):
    seconds = {"seconds": 1} if trouble == "hang" else {}
    shopfront.sandbox.faults.arm(trouble, call, 1, **seconds)


@pytest.mark.case("PAY-13")
@pytest.mark.parametrize("trouble", TROUBLE)
def test_pay13_one_payment_intent_whatever_became_of_the_call(shopfront, sandbox, trouble):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    arm(shopfront, trouble, "POST /v1/payment_intents")
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    sandbox.calm()
    # While the first call hangs, Stripe says that its key is in use.
    deadline = time.monotonic() + 15
    while buyer.get(f"/orders/{order.token}/pay").status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    pi = buyer.open_pay_page(order)
    created = shopfront.stripe.v1.payment_intents.list({"limit": 100}).data
    assert [intent.id for intent in created] == [pi]
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    check_money(shopfront)


@pytest.mark.case("REF-04")
@pytest.mark.parametrize("trouble", TROUBLE)
def test_ref04_one_refund_whatever_became_of_the_call(shopfront, sandbox, trouble):
    shopfront.silence_stripe()
    order, pi = paid(shopfront, 1)
    arm(shopfront, trouble, "POST /v1/refunds")
    issue_refund(shopfront.shop, order.code)
    shopfront.shop.jobs.run("outbox")
    sandbox.calm()
    # While the first call hangs, Stripe says that its key is in use.
    deadline = time.monotonic() + 15
    while [refund.status for refund in refunds(shopfront)] == ["requested"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        shopfront.clock.move(minutes=5)
        shopfront.run_jobs()
    (created,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert (created.amount, created.status) == (7500, "succeeded")
    check_money(shopfront)
