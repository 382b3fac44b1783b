"""How a hold ends, and how it does not."""

from __future__ import annotations

import pytest
import stripe
from sqlalchemy import update

from tests.invariants import check_money
from tests.operations.auditing import corrupt
from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.sandbox import intents

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def post(buyer, order, what):
    token = buyer.csrf_token(f"/orders/{order.token}")
    path = f"/orders/{order.token}/{what}"
    return buyer.post(path, {"csrf_token": token}, allow_redirects=False)


def status_at_stripe(shopfront, pi):
    return shopfront.stripe.v1.payment_intents.retrieve(pi).status


@pytest.mark.parametrize("settings", [{"hold_extensions": 3}])
def test_more_time_three_times_and_no_more(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    for number in (1, 2, 3):
        shopfront.clock.move(minutes=10)
        assert f"/orders/{order.token}/extend" in buyer.get(f"/orders/{order.token}/pay").text
        post(buyer, order, "extend")
        held = shopfront.order(order.token)
        remaining = held.expires_at - shopfront.clock.now()
        assert held.extensions == number
        assert 890 < remaining.total_seconds() <= 900
    assert f"/orders/{order.token}/extend" not in buyer.get(f"/orders/{order.token}/pay").text
    post(buyer, order, "extend")
    assert shopfront.order(order.token).expires_at == held.expires_at


def test_a_hold_that_has_run_out_gets_no_more_time(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.clock.move(minutes=15, seconds=1)
    assert post(buyer, order, "extend").status_code == 303
    assert shopfront.order(order.token).extensions == 0
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"


def test_reloading_does_not_renew_a_hold(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.clock.move(minutes=5)
    for _again in range(3):
        buyer.open_pay_page(order)
        buyer.get(f"/orders/{order.token}")
    assert shopfront.order(order.token).expires_at == order.expires_at


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.parametrize("pay_page_seen", [True, False])
def test_giving_up_frees_the_places_at_once(shopfront, pay_page_seen):
    buyer = shopfront.buyer()
    order = buyer.reserve(2, 1)
    pi = buyer.open_pay_page(order) if pay_page_seen else None
    buyer.cancel(order)
    assert shopfront.order(order.token).status == "canceled"
    assert shopfront.stock() == (0, 0)
    assert pi is None or status_at_stripe(shopfront, pi) == "canceled"
    again = {"csrf_token": buyer.csrf_token("/orders/find")}
    assert buyer.post(f"/orders/{order.token}/cancel", again).status_code == 200
    assert shopfront.stock() == (0, 0)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.parametrize("pay_page_seen", [True, False])
def test_expiry_cancels_at_stripe_and_frees_the_places_once(shopfront, pay_page_seen):
    buyer = shopfront.buyer()
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order) if pay_page_seen else None
    shopfront.clock.move(minutes=14, seconds=50)
    shopfront.run_jobs()
    assert shopfront.stock() == (2, 0)
    shopfront.clock.move(seconds=11)
    shopfront.run_jobs()
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)
    if pi:
        assert status_at_stripe(shopfront, pi) == "canceled"
        with pytest.raises(stripe.InvalidRequestError):
            shopfront.confirm(pi)


def test_the_pay_page_of_a_hold_that_ran_out_ends_it_and_leads_on(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    shopfront.clock.move(minutes=16)
    answer = buyer.get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert answer.headers["Location"] == f"/orders/{order.token}"
    assert shopfront.order(order.token).status == "expired"


@pytest.mark.case("PAY-11")
@pytest.mark.parametrize("fate", ["refused", "lost", "unanswered"])
def test_pay11_stripe_is_silent_and_the_hold_is_kept(shopfront, fate):
    buyer = shopfront.buyer()
    order = buyer.reserve(2)
    buyer.open_pay_page(order)
    line = StripeProxy(shopfront)
    line.fate = lambda call: fate if call.endswith("/cancel") else None
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "held"
    assert shopfront.stock() == (2, 0)
    line.fate = lambda _call: None
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)


@pytest.mark.case("PAY-12")
@pytest.mark.parametrize("trigger", ["time", "buyer"])
def test_pay12_a_debit_on_its_way_is_not_canceled(shopfront, trigger):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    change_at_stripe(shopfront, pi, status="processing")
    if trigger == "time":
        shopfront.clock.move(minutes=16)
        shopfront.run_jobs()
    else:
        buyer.cancel(order)
    assert shopfront.order(order.token).status == "processing"
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "processing"
    assert shopfront.stock() == (1, 0)


def test_an_event_that_was_canceled_takes_no_money(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(status="canceled")))
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.tickets(order) == []
    check_money(shopfront)


def test_an_event_that_was_canceled_is_not_paid_for(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(status="canceled")))
    answer = buyer.get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert answer.headers["Location"] == f"/orders/{order.token}"
    assert shopfront.order(order.token).status == "canceled"
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"


def test_one_order_that_stripe_is_silent_about_keeps_no_other(shopfront):
    first, second = (shopfront.buyer() for _ in range(2))
    orders = [first.reserve(1), second.reserve(1)]
    silent = first.open_pay_page(orders[0])
    second.open_pay_page(orders[1])
    line = StripeProxy(shopfront)
    line.fate = lambda call: "lost" if silent in call else None
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert [shopfront.order(o.token).status for o in orders] == ["held", "expired"]


@pytest.mark.case("PAY-11")
def test_pay11_giving_up_what_is_paid_leads_to_the_tickets(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    buyer.cancel(order)
    assert shopfront.order(order.token).status == "paid"
    assert shopfront.stock() == (0, 1)
    shopfront.run_jobs()
    check_money(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-11")
def test_pay11_the_sweeper_finds_the_money_without_any_webhook(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    shopfront.clock.move(minutes=16)
    shopfront.shop.jobs.run("holds")
    assert shopfront.order(order.token).status == "paid"
    assert shopfront.tickets(order)


@pytest.mark.case("PAY-10")
def test_pay10_a_decline_keeps_the_hold_and_the_same_payment_intent(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    with pytest.raises(stripe.CardError):
        shopfront.confirm(pi, "pm_card_visa_chargeDeclined")
    answer = buyer.get(f"/orders/{order.token}/return", allow_redirects=False)
    assert answer.headers["Location"] == f"/orders/{order.token}/pay"
    assert buyer.open_pay_page(order) == pi
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.case("PAY-10")
def test_pay10_three_d_secure_left_open_frees_the_places(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    assert shopfront.confirm(pi, "pm_card_authenticationRequired").status == "requires_action"
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "held"
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert shopfront.stock() == (0, 0)
    assert status_at_stripe(shopfront, pi) == "canceled"


@pytest.mark.case("PAY-12")
def test_pay12_a_debit_that_the_bank_refused_after_the_hold_frees_the_places(
    shopfront, monkeypatch
):
    """Stripe seldom cancels what is processing, and answers the same again to the same key."""
    stages = [s for s in intents._CANCELABLE if s != "processing"]
    monkeypatch.setattr(intents, "_CANCELABLE", stages)
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    change_at_stripe(shopfront, pi, status="processing")
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "processing"
    change_at_stripe(shopfront, pi, status="requires_payment_method")
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)
    assert status_at_stripe(shopfront, pi) == "canceled"


def test_a_hold_of_the_other_mode_is_left_alone(shopfront):
    order = shopfront.buyer().reserve(1)
    corrupt(shopfront, Order, livemode=True)
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "held"
