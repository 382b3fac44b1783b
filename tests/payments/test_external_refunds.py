"""Refunds that the shop did not make, and the news of its own: REF-01, REF-02, WH-02."""

from __future__ import annotations

import itertools

import pytest

from tests.invariants import check_money
from tests.payments.flows import alert_kinds, paid, refunds, run_until_idle, ticket_statuses
from tmt.payments.refunds import issue_refund

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def refund_in_dashboard(shopfront, pi, **amount):
    refund = shopfront.stripe.v1.refunds.create({"payment_intent": pi, **amount})
    run_until_idle(shopfront)
    return refund


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("REF-02")
def test_ref02_a_full_refund_ends_the_order(shopfront):
    order, pi = paid(shopfront)
    refund = refund_in_dashboard(shopfront, pi)
    assert [(r.stripe_id, r.reason, r.status) for r in refunds(shopfront)] == [
        (refund.id, "external", "succeeded")
    ]
    assert shopfront.order(order.token).status == "refunded"
    assert ticket_statuses(shopfront, order) == ["void"] * 3
    assert shopfront.stock() == (0, 0)
    assert not alert_kinds(shopfront)
    assert len(shopfront.mails()) == 2
    check_money(shopfront)


@pytest.mark.case("REF-02")
def test_ref02_a_part_is_booked_and_the_organiser_told(shopfront):
    order, pi = paid(shopfront)
    refund_in_dashboard(shopfront, pi, amount=500)
    assert shopfront.order(order.token).status == "paid"
    assert ticket_statuses(shopfront, order) == ["valid"] * 3
    assert alert_kinds(shopfront) == ["external_refund"]
    check_money(shopfront)


@pytest.mark.case("REF-02")
def test_ref02_part_by_part_until_nothing_is_left(shopfront):
    order, pi = paid(shopfront, 2)
    refund_in_dashboard(shopfront, pi, amount=7500)
    refund_in_dashboard(shopfront, pi, amount=7500)
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
    refund_in_dashboard(shopfront, foreign.id)
    assert not refunds(shopfront)
    check_money(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("REF-01")
def test_ref01_three_of_ours_two_of_theirs_every_event_twice(shopfront):
    order, pi = paid(shopfront)
    for amount in (1000, 2000, 3000):
        issue_refund(shopfront.shop, order.code, amount=amount)
    for amount in (400, 500):
        shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": amount})
    run_until_idle(shopfront)
    for event in shopfront.stripe.v1.events.list({"limit": 100}).data:
        for _ in range(2):
            shopfront.deliver(str(event))
    run_until_idle(shopfront)
    assert sorted(r.amount for r in refunds(shopfront)) == [400, 500, 1000, 2000, 3000]
    assert shopfront.order(order.token).status == "paid"
    check_money(shopfront)


@pytest.mark.case("REF-01")
def test_ref01_the_webhook_is_faster_than_the_answer(shopfront, sandbox):
    order, _pi = paid(shopfront)
    sandbox.deliver_early("POST /v1/refunds")
    issue_refund(shopfront.shop, order.code, amount=1000)
    run_until_idle(shopfront)
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
    types = ("payment_intent.succeeded", "charge.refunded", "refund.created")
    events = {e.type: e for e in shopfront.stripe.v1.events.list({"limit": 100}).data}
    for at in order_of_news:
        event = events[types[at]]
        assert shopfront.deliver(str(event)).status_code == 200
        shopfront.run_jobs()
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.stock() == (0, 0)
    assert "valid" not in ticket_statuses(shopfront, order)
    check_money(shopfront)
