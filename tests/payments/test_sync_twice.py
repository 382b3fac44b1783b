"""PAY-03, PAY-05, PAY-07: two tabs, a closed browser, a browser that is not believed."""

from __future__ import annotations

import pytest
import requests
import stripe
from sqlalchemy.exc import IntegrityError

from tests.invariants import check_money
from tests.racing import together
from tests.stripe_proxy import StripeProxy, wait_for_event
from tmt.payments.models import Payment

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def add_second_payment(shopfront, order):
    intent = shopfront.stripe.v1.payment_intents.create(
        {"amount": order.total, "currency": order.currency}
    )
    payment = Payment(
        order_id=order.id,
        idempotency_key="second",
        payment_intent_id=intent.id,
        status=intent.status,
        amount=order.total,
        currency=order.currency,
        created_at=shopfront.clock.now(),
        key_created_at=shopfront.clock.now(),
    )
    shopfront.shop.db.transaction(lambda s: s.add(payment))


def pay_or_refusal(shopfront, pi):
    try:
        return shopfront.confirm(pi).status
    except stripe.InvalidRequestError as error:
        return error.code


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-03")
def test_pay03_tabs_at_the_same_instant_share_one_payment_intent(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    tab = f"{shopfront.url}/orders/{order.token}/pay"
    pages = together(*[lambda: requests.get(tab, timeout=20)] * 5)
    assert {page.status_code for page in pages} <= {200, 503}
    secrets = {p.text.split('data-client-secret="')[1].split('"')[0] for p in pages if p.ok}
    assert len(secrets) == 1
    assert len(shopfront.stripe.v1.payment_intents.list().data) == 1


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-03")
def test_pay03_paid_in_two_tabs_at_once_is_paid_once(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    answers = together(*[lambda: pay_or_refusal(shopfront, pi)] * 2)
    assert sorted(answers) == ["payment_intent_unexpected_state", "succeeded"]
    together(*[lambda: buyer.get(f"/orders/{order.token}/return")] * 2)
    shopfront.run_jobs()
    assert shopfront.stock() == (0, 1)
    assert len(shopfront.mails()) == 1
    check_money(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-03")
def test_pay03_an_order_has_one_payment(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    with pytest.raises(IntegrityError):
        add_second_payment(shopfront, order)


@pytest.mark.case("PAY-05")
def test_pay05_the_browser_is_closed_after_paying(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    wait_for_event(shopfront, "payment_intent.succeeded", pi)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.mails()) == 1
    check_money(shopfront)


@pytest.mark.case("PAY-05")
def test_pay05_the_return_page_works_on_another_device(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    stranger = requests.get(f"{shopfront.url}/orders/{order.token}/return", timeout=20)
    assert stranger.status_code == 200
    assert "order-paid" in stranger.text
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 1


@pytest.mark.case("PAY-07")
@pytest.mark.parametrize("redirect_status", ["succeeded", "failed", "pending", "'\"><b>"])
def test_pay07_the_return_page_believes_no_parameter(shopfront, redirect_status):
    buyer = shopfront.buyer()
    order, other = buyer.reserve(1), shopfront.buyer(email="eva@example.com").reserve(1)
    pi = buyer.open_pay_page(order)
    foreign = shopfront.stripe.v1.payment_intents.create({"amount": 7500, "currency": "usd"})
    shopfront.confirm(foreign.id)
    params = {"redirect_status": redirect_status, "payment_intent": foreign.id}
    line = StripeProxy(shopfront)
    answer = buyer.get(f"/orders/{order.token}/return", params=params)
    assert line.calls == [f"GET /v1/payment_intents/{pi}"]
    assert "order-held" in answer.text
    assert [shopfront.order(o.token).status for o in (order, other)] == ["held", "held"]


@pytest.mark.case("PAY-07")
def test_pay07_the_return_page_of_a_canceled_order_says_canceled(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    buyer.cancel(order)
    answer = buyer.get(f"/orders/{order.token}/return?redirect_status=succeeded")
    assert "order-canceled" in answer.text
    assert shopfront.order(order.token).status == "canceled"
