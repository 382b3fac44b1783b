"""PAY-13, PAY-15: one call for one row, whatever becomes of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.stripe_proxy import StripeProxy
from tmt.checkout.models import Order

pytestmark = pytest.mark.usefixtures("sound")

CREATE = "POST /v1/payment_intents"
_BROKEN = b'{"error": {"type": "api_error", "message": "An error occurred."}}'


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def break_answers(shopfront) -> Callable[[], None]:
    """Stripe creates what is asked for and says 500; returns what ends that."""
    real = shopfront.sandbox.wsgi.wsgi_app

    def broken(environ, start_response):
        if f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}" != CREATE:
            return real(environ, start_response)
        b"".join(real(environ, lambda *_: lambda _: None))
        start_response("500 Internal Server Error", [("Content-Type", "application/json")])
        return [_BROKEN]

    shopfront.sandbox.wsgi.wsgi_app = broken
    return lambda: setattr(shopfront.sandbox.wsgi, "wsgi_app", real)


def intents(shopfront, order):
    listed_intents = shopfront.stripe.v1.payment_intents.list({"limit": 100}).data
    return [pi.id for pi in listed_intents if pi.metadata.to_dict().get("tmt_order") == order.code]


@pytest.mark.case("PAY-13")
def test_pay13_stripe_broke_before_it_did_anything(shopfront, sandbox):
    """It keeps the 500 under the key for a day: another key is needed, and used."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    key = shopfront.payment(order).idempotency_key
    sandbox.refuse(CREATE, 500)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    assert shopfront.payment(order).key_exhausted
    pi = buyer.open_pay_page(order)
    assert intents(shopfront, order) == [pi]
    assert shopfront.payment(order).idempotency_key != key


@pytest.mark.case("PAY-13")
def test_pay13_stripe_broke_after_it_did_it(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    mend = break_answers(shopfront)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    (intent,) = intents(shopfront, order)
    mend()
    assert buyer.open_pay_page(order) == intent
    assert intents(shopfront, order) == [intent]


@pytest.mark.case("PAY-13")
def test_pay13_no_answer_and_a_day_later_it_is_looked_up(shopfront, sandbox):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    sandbox.lose_answer(CREATE)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    (intent,) = intents(shopfront, order)
    sandbox.advance(hours=25)
    query = update(Order).values(expires_at=shopfront.clock.now() + timedelta(hours=1))
    shopfront.shop.db.transaction(lambda s: s.execute(query))
    assert buyer.open_pay_page(order) == intent
    assert intents(shopfront, order) == [intent]


@pytest.mark.case("PAY-13")
def test_pay13_other_parameters_are_another_call_but_no_second_intent(shopfront, sandbox):
    """The shop got another name while an answer was lost: Stripe would refuse the key."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    sandbox.lose_answer(CREATE)
    buyer.get(f"/orders/{order.token}/pay")
    (intent,) = intents(shopfront, order)
    shop = shopfront.shop
    renamed = replace(shop, settings=shop.settings.model_copy(update={"shop_name": "Other"}))
    extensions = shopfront.app.extensions
    extensions["tmt"] = replace(extensions["tmt"], shop=renamed)
    assert buyer.open_pay_page(order) == intent
    assert intents(shopfront, order) == [intent]


@pytest.mark.case("PAY-15")
def test_pay15_too_many_at_once_is_tried_again_at_once(shopfront, sandbox):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    sandbox.refuse(CREATE, 429, times=2)
    line = StripeProxy(shopfront)
    pi = buyer.open_pay_page(order)
    assert line.count(CREATE) == 3
    assert intents(shopfront, order) == [pi]


@pytest.mark.case("PAY-15")
def test_pay15_too_many_for_long_keeps_the_hold_and_says_so(shopfront, sandbox):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    sandbox.refuse(CREATE, 429, times=None)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    assert shopfront.stock() == (1, 0)
    sandbox.calm()
    assert intents(shopfront, order) == []
    assert buyer.open_pay_page(order)
