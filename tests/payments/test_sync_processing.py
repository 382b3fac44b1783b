"""PAY-12: a bank debit that is on its way for days."""

from __future__ import annotations

import pytest

from tests.sandbox_store import change_at_stripe
from tmt.checkout.states import Trigger
from tmt.payments.sync import Outcome, sync_payment_intent

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


REFUSED = {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}


def on_its_way(shopfront, buyer):
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order)
    change_at_stripe(shopfront, pi, status="processing")
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "processing"
    return order, pi


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-12")
def test_pay12_for_a_fortnight_the_places_stay_and_nobody_pays_again(shopfront):
    buyer = shopfront.buyer()
    order, _pi = on_its_way(shopfront, buyer)
    for _day in range(14):
        shopfront.clock.move(days=1)
        shopfront.run_jobs()
    assert shopfront.order(order.token).status == "processing"
    assert shopfront.stock() == (2, 0)
    answer = buyer.get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert answer.headers["Location"] == f"/orders/{order.token}"
    buyer.post(f"/orders/{order.token}/cancel", {"csrf_token": buyer.csrf_token("/orders/find")})
    assert shopfront.order(order.token).status == "processing"
    # One word of it, in the buyer's language, and nothing more.
    (mail,) = shopfront.mails()
    assert "Tu pago de Concierto de prueba" in mail.read_text()
    assert buyer.get(f"/orders/{order.token}/tickets.pdf").status_code == 404


@pytest.mark.case("PAY-12")
def test_pay12_then_it_succeeds(shopfront):
    buyer = shopfront.buyer()
    order, pi = on_its_way(shopfront, buyer)
    shopfront.clock.move(days=5)
    change_at_stripe(shopfront, pi, status="succeeded", amount_received=15000)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.tickets(order)) == 2
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 1


@pytest.mark.case("PAY-12")
def test_pay12_then_it_fails_after_the_hold_and_the_places_are_free(shopfront):
    buyer = shopfront.buyer()
    order, pi = on_its_way(shopfront, buyer)
    shopfront.clock.move(days=5)
    change_at_stripe(shopfront, pi, **REFUSED)
    buyer.get(f"/orders/{order.token}/return", allow_redirects=False)
    assert shopfront.order(order.token).status == "held"
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"


@pytest.mark.case("PAY-12")
def test_pay12_then_it_fails_within_the_hold_and_can_be_tried_again(shopfront):
    buyer = shopfront.buyer()
    order, pi = on_its_way(shopfront, buyer)
    change_at_stripe(shopfront, pi, **REFUSED)
    buyer.get(f"/orders/{order.token}/return")
    assert buyer.open_pay_page(order) == pi
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.case("PAY-12")
def test_pay12_then_it_is_canceled_at_stripe(shopfront):
    buyer = shopfront.buyer()
    order, pi = on_its_way(shopfront, buyer)
    change_at_stripe(shopfront, pi, status="canceled")
    intent = shopfront.gateway.retrieve_payment_intent(pi)
    assert sync_payment_intent(shopfront.shop, intent, Trigger.WEBHOOK) == Outcome.ENDED
    assert sync_payment_intent(shopfront.shop, intent, Trigger.WEBHOOK) == Outcome.UNCHANGED
    assert shopfront.order(order.token).status == "canceled"


@pytest.mark.case("PAY-12")
def test_pay12_the_page_says_that_it_is_on_its_way(shopfront):
    buyer = shopfront.buyer()
    order, _pi = on_its_way(shopfront, buyer)
    page = buyer.get(f"/orders/{order.token}").text
    assert 'data-status="processing"' in page
    assert f"/orders/{order.token}/pay" not in page
    assert f"/orders/{order.token}/cancel" not in page
