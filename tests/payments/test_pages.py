"""An order's pages in every status, the way back from Stripe, the status as JSON."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def in_status(shopfront, buyer, status):
    """An order that has come to this status by the ways there are."""
    order = buyer.reserve(2)
    if status == "held":
        return order
    pi = buyer.open_pay_page(order)
    if status == "expired":
        shopfront.clock.move(minutes=16)
        shopfront.run_jobs()
    elif status == "canceled":
        buyer.cancel(order)
    elif status == "processing":
        change_at_stripe(shopfront, pi, status="processing")
    else:
        amount = 15000 if status == "paid" else 500
        shopfront.stripe.v1.payment_intents.update(pi, {"amount": amount})
        shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == status
    return order


WAITING = ("held", "processing")
ENDED = ("expired", "canceled", "refunded")


@pytest.mark.parametrize("status", [*WAITING, "paid", *ENDED])
def test_the_order_page_in_every_status(shopfront, status):
    buyer = shopfront.buyer()
    order = in_status(shopfront, buyer, status)
    answer = buyer.get(f"/orders/{order.token}")
    page = answer.text
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert f'class="order order-{status}"' in page
    assert order.code in page
    assert ("data-status-url" in page) == (status in WAITING)
    assert (f"/orders/{order.token}/pay" in page) == (status == "held")
    assert (f"/orders/{order.token}/cancel" in page) == (status == "held")
    assert (f"/orders/{order.token}/tickets.pdf" in page) == (status == "paid")
    assert page.count('class="ticket"') == (2 if status == "paid" else 0)
    assert "client_secret" not in page


@pytest.mark.parametrize("status", ["processing", "paid", *ENDED])
def test_the_pay_page_leads_to_the_order_once_there_is_nothing_to_pay(shopfront, status):
    buyer = shopfront.buyer()
    order = in_status(shopfront, buyer, status)
    answer = buyer.get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/orders/{order.token}"


@pytest.mark.parametrize("status", [*WAITING, "paid", *ENDED])
def test_the_status_as_json_in_every_status(shopfront, status):
    buyer = shopfront.buyer()
    order = in_status(shopfront, buyer, status)
    answer = buyer.get(f"/orders/{order.token}/status")
    fields = answer.json()
    assert set(fields) == {"status", "overdue", "expires_at", "now"}
    assert (fields["status"], fields["overdue"]) == (status, False)
    assert datetime.fromisoformat(fields["expires_at"]) == shopfront.order(order.token).expires_at
    assert datetime.fromisoformat(fields["now"]).utcoffset() is not None
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_status_tells_that_the_time_is_up(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.clock.move(minutes=15, seconds=1)
    fields = buyer.get(f"/orders/{order.token}/status").json()
    assert (fields["status"], fields["overdue"]) == ("held", True)


def test_the_pay_page_hands_over_the_secret_and_nobody_keeps_it(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    answer = buyer.get(f"/orders/{order.token}/pay")
    secret = shopfront.stripe.v1.payment_intents.retrieve(buyer.open_pay_page(order)).client_secret
    assert f'data-client-secret="{secret}"' in answer.text
    assert f'data-return-url="{shopfront.url}/orders/{order.token}/return"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert secret not in str(answer.headers)
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_the_return_page_leaves_no_parameter_of_stripes_in_sight(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    params = {
        "payment_intent": pi,
        "payment_intent_client_secret": f"{pi}_secret_x",
        "redirect_status": "succeeded",
    }
    answer = buyer.get(f"/orders/{order.token}/return", params=params, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/orders/{order.token}"
    assert pi not in answer.text
    assert "order-paid" in buyer.get(answer.headers["Location"]).text


@pytest.mark.parametrize("fate", ["refused", "lost"])
def test_stripe_does_not_answer_on_the_way_back(shopfront, fate):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    line = StripeProxy(shopfront)
    line.fate = lambda _call: fate
    answer = buyer.get(f"/orders/{order.token}/return")
    assert answer.status_code == 200
    assert "flash-bad" in answer.text
    assert shopfront.order(order.token).status == "held"
    line.fate = lambda _call: None
    assert "order-paid" in buyer.get(f"/orders/{order.token}/return").text


def test_a_free_order_asks_nothing_of_stripe_on_any_page(shopfront):
    free = shopfront.event.ticket_types[0]
    shopfront.shop.db.transaction(lambda s: setattr(s.get_one(type(free), free.id), "price", 0))
    buyer = shopfront.buyer()
    line = StripeProxy(shopfront)
    order = buyer.reserve(1)
    for page in ("", "/pay", "/return", "/status"):
        assert buyer.get(f"/orders/{order.token}{page}").status_code == 200
    assert shopfront.order(order.token).status == "paid"
    assert not line.calls
