"""Refunds that the shop did not make, and the news of its own: REF-01, REF-02, WH-02."""

from __future__ import annotations

import itertools

import pytest

from tests.invariants import check_money
from tests.payments.test_returns import notices, paid, refunds, settle_down, states
from tests.payments.test_settle_twice import second_intent
from tests.stripe_line import wait_for_event
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.usefixtures("sound")


def in_the_dashboard(shopfront, pi, **amount):
    made = shopfront.stripe.v1.refunds.create({"payment_intent": pi, **amount})
    settle_down(shopfront)
    return made


@pytest.mark.case("REF-02")
def test_ref02_a_full_refund_ends_the_order(shopfront):
    order, pi = paid(shopfront)
    made = in_the_dashboard(shopfront, pi)
    assert [(r.stripe_id, r.reason, r.status) for r in refunds(shopfront)] == [
        (made.id, "external", "succeeded")
    ]
    assert shopfront.order(order.token).status == "refunded"
    assert states(shopfront, order) == ["void"] * 3
    assert shopfront.stock() == (0, 0)
    assert not notices(shopfront)
    assert len(shopfront.mails()) == 2
    check_money(shopfront)


@pytest.mark.case("REF-02")
def test_ref02_a_part_is_booked_and_the_organiser_told(shopfront):
    order, pi = paid(shopfront)
    in_the_dashboard(shopfront, pi, amount=500)
    assert shopfront.order(order.token).status == "paid"
    assert states(shopfront, order) == ["valid"] * 3
    assert notices(shopfront) == ["external_refund"]
    check_money(shopfront)


@pytest.mark.case("REF-02")
def test_ref02_part_by_part_until_nothing_is_left(shopfront):
    order, pi = paid(shopfront, 2)
    in_the_dashboard(shopfront, pi, amount=7500)
    in_the_dashboard(shopfront, pi, amount=7500)
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.stock() == (0, 0)
    check_money(shopfront)


@pytest.mark.case("REF-02")
def test_ref02_somebody_elses_charge_is_nothing_to_us(shopfront):
    paid(shopfront)
    foreign = shopfront.stripe.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
         "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    )  # fmt: skip
    in_the_dashboard(shopfront, foreign.id)
    assert not refunds(shopfront)
    check_money(shopfront)


@pytest.mark.case("REF-01")
def test_ref01_three_of_ours_two_of_theirs_every_event_twice(shopfront):
    order, pi = paid(shopfront)
    for amount in (1000, 2000, 3000):
        issue_refund(shopfront.shop, order.code, amount=amount)
    for amount in (400, 500):
        shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": amount})
    settle_down(shopfront)
    for event in shopfront.stripe.v1.events.list({"limit": 100}).data:
        for _ in range(2):
            shopfront.deliver(str(event))
    settle_down(shopfront)
    assert sorted(r.amount for r in refunds(shopfront)) == [400, 500, 1000, 2000, 3000]
    assert shopfront.order(order.token).status == "paid"
    check_money(shopfront)


@pytest.mark.case("REF-01")
def test_ref01_the_webhook_is_faster_than_the_answer(shopfront, sandbox):
    order, _pi = paid(shopfront)
    sandbox.deliver_early("POST /v1/refunds")
    issue_refund(shopfront.shop, order.code, amount=1000)
    settle_down(shopfront)
    assert [(r.amount, r.status) for r in refunds(shopfront)] == [(1000, "succeeded")]


@pytest.mark.case("WH-02")
@pytest.mark.parametrize("order_of_news", list(itertools.permutations(range(3))))
def test_wh02_a_refund_is_told_before_the_payment(shopfront, order_of_news):
    """Paid and refunded while nobody heard; then the news come in any order."""
    shopfront.silence_stripe()
    buyer = shopfront.buyer()
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi})
    wanted = ("payment_intent.succeeded", "charge.refunded", "refund.created")
    events = {e.type: e for e in shopfront.stripe.v1.events.list({"limit": 100}).data}
    for at in order_of_news:
        event = events[wanted[at]]
        assert shopfront.deliver(str(event)).status_code == 200
        shopfront.run_jobs()
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.stock() == (0, 0)
    assert "valid" not in states(shopfront, order)
    check_money(shopfront)


def test_ref02_one_of_two_payments_and_the_tickets_stay(shopfront):
    order, first = paid(shopfront, 1)
    second = second_intent(shopfront, order)
    shopfront.confirm(second)
    wait_for_event(shopfront, "payment_intent.succeeded", second)
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert states(shopfront, order) == ["valid"]
    assert notices(shopfront) == ["paid_twice"]
    assert not shopfront.stripe.v1.refunds.list({"payment_intent": first}).data
    check_money(shopfront)
