"""What Stripe refuses for good: truth on the page, one alert, doctor red, and the way back."""

from __future__ import annotations

import pytest

from tests.buyer import Buyer
from tests.payments.flows import alert_kinds, english_buyer, flask, order_page, paid, refunds
from tests.sandbox_store import forget_at_stripe
from tests.stripe_answers import StripeAnswers
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CREATE, RETRIEVE = "POST /v1/payment_intents", "GET /v1/payment_intents/"


@pytest.fixture
def answers(shopfront):
    return StripeAnswers(shopfront)


@pytest.fixture
def settings():
    return {"organiser_email": "organiser@example.org"}


def health(front):
    return Buyer(front.url).get("/readyz").json()


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "Invalid API Key provided: sk_test_****0001", "stripe_keys_refused"),
        (403, "The provided key does not have the required permissions", "stripe_not_permitted"),
        (400, "No valid payment method types for this Payment Intent.", "stripe_request_refused"),
        (400, "Your account cannot currently make charges.", "stripe_request_refused"),
    ],
)
def test_a_payment_that_stripe_refuses_to_create(shopfront, answers, status, message, kind):
    # Revoked keys are refused whatever they are used for.
    call = "" if status == 401 else CREATE
    answers.refuse(call, status, message)
    buyers = [english_buyer(shopfront) for _ in range(2)]
    orders = [buyer.reserve(1) for buyer in buyers]
    for buyer, order in zip(buyers, orders, strict=True):
        page = buyer.get(f"/orders/{order.token}/pay")
        assert page.status_code == 503
        assert "cannot take payments at the moment" in page.text
        assert "not responding" not in page.text
    buyers[0].session.headers["Accept-Language"] = "es"
    spanish = buyers[0].get(f"/orders/{orders[0].token}/pay").text
    assert "rechaza nuestras peticiones" in spanish
    assert alert_kinds(shopfront) == [kind]
    assert health(shopfront)["status"] == "degraded"
    assert "Stripe" in health(shopfront)["checks"]["stripe"]
    assert "red     refusals" in flask(shopfront, "doctor").output
    shopfront.run_jobs()
    (mail,) = shopfront.mails()
    assert b"sk_test_****" not in mail.read_bytes()
    assert "stripe" not in flask(shopfront, "alerts", "resolve", "99").output
    answers.rules.clear()
    buyers[0].open_pay_page(orders[0])
    assert "stripe" not in health(shopfront)["checks"]
    assert flask(shopfront, "alerts", "list").output == "no alerts\n"
    # It comes back: the same alert is open again, without another mail.
    answers.refuse(call, status, message)
    assert buyers[1].get(f"/orders/{orders[1].token}/pay").status_code == 503
    assert health(shopfront)["status"] == "degraded"
    assert alert_kinds(shopfront) == [kind]


def test_rejected_keys_on_the_way_back_and_at_giving_up(shopfront, answers):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    answers.refuse(RETRIEVE, 401, "Invalid API Key provided")
    answer = buyer.get(f"/orders/{order.token}/return", allow_redirects=True)
    assert "Please do not pay again" in answer.text
    buyer.cancel(order)
    assert "because our payment provider refuses" in buyer.get(f"/orders/{order.token}").text
    assert shopfront.order(order.token).status == "held"
    result = flask(shopfront, "reconcile")
    assert result.exit_code == 0, result.output
    assert shopfront.order(order.token).status == "paid"


def test_a_payment_that_stripe_refuses_to_show_is_reported(shopfront, answers):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    answers.refuse(RETRIEVE, 400, "This API version is gone")
    answer = buyer.get(f"/orders/{order.token}/return", allow_redirects=True)
    assert "The organizer has been notified" in answer.text
    assert alert_kinds(shopfront) == ["stripe_request_refused"]
    assert health(shopfront)["status"] == "degraded"


def test_a_refund_that_was_not_sent_stays_on_the_page(shopfront, answers):
    order, _pi = paid(shopfront, 2)
    answers.refuse("POST /v1/refunds", 400, "Insufficient funds")
    issue_refund(shopfront.shop, order.code)
    shopfront.run_jobs()
    page = order_page(shopfront, order)
    assert "We have issued a refund" not in page
    assert "failed; the organizer has been notified" in page


@pytest.mark.parametrize("by", ["time", "buyer"])
def test_a_hold_whose_payment_stripe_does_not_know_ends(shopfront, by):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    forget_at_stripe(shopfront, buyer.open_pay_page(order))
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert (shopfront.order(order.token).status, shopfront.stock()) == ("held", (1, 0))
    if by == "buyer":
        buyer.cancel(order)
    shopfront.clock.move(hours=1)
    shopfront.run_jobs()
    status = "canceled" if by == "buyer" else "expired"
    assert (shopfront.order(order.token).status, shopfront.stock()) == (status, (0, 0))
    assert alert_kinds(shopfront) == ["missing_at_stripe"]


def test_the_reconciler_stops_at_rejected_keys(shopfront, answers):
    for _ in range(4):
        shopfront.buyer().open_pay_page(shopfront.place_directly(1))
    answers.refuse("GET ", 401, "Invalid API Key provided")
    before = len(answers.calls)
    result = flask(shopfront, "reconcile")
    assert result.exit_code == 1
    assert "or refuses" in result.output
    assert len(answers.calls) - before == 1


def test_a_refund_of_a_payment_that_stripe_does_not_know_is_reported_and_sent_later(
    shopfront, answers
):
    order, _pi = paid(shopfront, 1)
    answers.refuse("POST /v1/refunds", 404, "No such payment_intent", "resource_missing")
    issue_refund(shopfront.shop, order.code)
    shopfront.run_jobs()
    assert alert_kinds(shopfront) == ["refund_not_sent"]
    answers.rules.clear()
    shopfront.clock.move(hours=1)
    shopfront.run_jobs()
    assert [refund.status for refund in refunds(shopfront)] == ["succeeded"]


def test_what_a_program_asks_for_alerts_nobody(shopfront):
    answer = shopfront.api("create_payment_intent", {"amount": 0.01})
    assert answer.status_code == 500
    assert alert_kinds(shopfront) == []


def test_money_in_another_currency_can_be_refunded_by_hand(shopfront, answers):
    shopfront.silence_stripe()
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    answers.rules[RETRIEVE] = lambda body: body.update(currency="mxn")
    answers.refuse("POST /v1/refunds", 400, "Refused for now")
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert alert_kinds(shopfront) == ["amount_mismatch", "refund_failed"]
    answers.rules.clear()
    result = flask(shopfront, "refund", order.code, "--yes")
    assert result.exit_code == 0, result.output
    assert [refund.status for refund in refunds(shopfront)] == ["failed", "succeeded"]
    assert refunds(shopfront)[1].amount == order.total
