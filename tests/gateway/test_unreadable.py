"""Answers and events of Stripe's that lack what the shop needs: said, never guessed."""

from __future__ import annotations

import json

import pytest

from tests.gateway.stripe_events import found, stripes_own
from tests.payments.flows import alert_kinds, flask, paid, refunds
from tests.sandbox_client import SandboxClient
from tests.shopfront import PUBLISHABLE_KEY, SECRET_KEY, rendered_event
from tests.stripe_answers import StripeAnswers
from tmt.gateway.errors import UnreadableAnswer
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
REMOVED = object()


def changed(field, value):
    def change(body):
        for item in body["data"] if body.get("object") == "list" else [body]:
            item.pop(field, None)
            if value is not REMOVED:
                item[field] = value

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, REMOVED) for name in ("id", "status", "amount", "amount_received", "currency")),
        *(("amount", value) for value in (None, "7500", 75.0, True)),
        ("status", ""),
        ("livemode", None),
        ("metadata", "no object"),
    ],
)
def test_a_payment_intent_that_cannot_be_read(shopfront, field, value):
    answers = StripeAnswers(shopfront)
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    answers.rules["GET /v1/payment_intents"] = changed(field, value)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    assert buyer.get(f"/orders/{order.token}/return").status_code == 200
    pi = shopfront.payment(order).payment_intent_id
    assert shopfront.api("get_payment_intent", {"payment_intent_id": pi}).status_code == 500
    assert flask(shopfront, "reconcile").exit_code == 1
    assert alert_kinds(shopfront) == ["stripe_unreadable"]
    assert shopfront.order(order.token).status == "held"


@pytest.mark.parametrize("shape", ["expanded", "missing", "other"])
@pytest.mark.parametrize("kind", ["refund", "dispute"])
def test_an_event_that_does_not_name_its_payment_is_read_again(shopfront, kind, shape):
    order, pi = paid(shopfront, 1)
    shopfront.silence_stripe()
    if kind == "refund":
        shopfront.stripe.v1.refunds.create({"payment_intent": pi})
        event, (thing,) = "refund.created", shopfront.stripe.v1.refunds.list().data
    else:
        store = shopfront.stripe_store
        client = SandboxClient(shopfront.stripe_url, SECRET_KEY, PUBLISHABLE_KEY, store)
        client.dashboard(f"payments/{pi}/dispute", reason="fraudulent")
        event, (thing,) = "charge.dispute.created", shopfront.stripe.v1.disputes.list().data
    body = json.loads(stripes_own(shopfront, event, thing.id))
    named = body["data"]["object"]
    if shape == "expanded":
        named["payment_intent"] = {"id": pi, "object": "payment_intent"}
    elif shape == "missing":
        del named["payment_intent"]
    else:
        named["payment_intent"] = 7
    shopfront.deliver(json.dumps(body))
    shopfront.shop.jobs.run("inbox")
    assert found(shopfront, json.dumps(body)).outcome == "handled"
    if kind == "refund":
        assert [refund.stripe_id for refund in refunds(shopfront)] == [thing.id]
        assert shopfront.order(order.token).status == "refunded"
    else:
        assert alert_kinds(shopfront) == ["dispute_opened"]


@pytest.mark.parametrize(
    ("type_", "object_"),
    [
        ("payment_intent.succeeded", {"object": "payment_intent", "status": "succeeded"}),
        ("refund.updated", {"object": "refund"}),
        ("charge.dispute.closed", None),
        ("charge.refunded", {"id": "ch_1", "object": "charge"}),
    ],
)
def test_an_event_that_cannot_be_read_is_parked_and_reported(shopfront, type_, object_):
    body = rendered_event(shopfront, type_, object_)
    assert shopfront.deliver(body).status_code == 200
    shopfront.shop.jobs.run("inbox")
    assert found(shopfront, body).state == "parked"
    assert alert_kinds(shopfront) == ["work_given_up"]


def test_refunds_and_disputes_of_other_systems_are_none_of_ours(shopfront):
    for type_ in ("refund.updated", "charge.refunded", "charge.dispute.created"):
        body = rendered_event(shopfront, type_, {"id": "x_1", "payment_intent": None})
        shopfront.deliver(body)
        shopfront.shop.jobs.run("inbox")
        assert found(shopfront, body).outcome == "handled"
    assert alert_kinds(shopfront) == []


@pytest.mark.parametrize("field", ["account", "context"])
@pytest.mark.parametrize("account", ["acct_other", "x" * 300, 7])
def test_events_of_connected_accounts_are_stored_and_ignored(shopfront, field, account):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.silence_stripe()
    shopfront.confirm(pi)
    body = json.loads(stripes_own(shopfront, "payment_intent.succeeded", pi))
    body = json.dumps(body | {field: account})
    assert shopfront.deliver(body).json() == {"received": True}
    shopfront.shop.jobs.run("inbox")
    assert found(shopfront, body).outcome == "ignored"
    flask(shopfront, "inbox", "replay", json.loads(body)["id"])
    assert found(shopfront, body).outcome == "ignored"
    assert shopfront.order(order.token).status == "held"


def test_events_that_an_organization_sends_of_our_account_are_handled(shopfront):
    shopfront.shop.db.account = "test:acct_own"
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.silence_stripe()
    shopfront.confirm(pi)
    body = json.loads(stripes_own(shopfront, "payment_intent.succeeded", pi))
    assert shopfront.deliver(json.dumps(body | {"context": "acct_own"})).ok
    shopfront.shop.jobs.run("inbox")
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.parametrize("field", ["created", "metadata", "id"])
def test_a_refund_that_cannot_be_read_is_made_once(shopfront, sandbox, field):
    order, pi = paid(shopfront, 1)
    shopfront.silence_stripe()
    answers = StripeAnswers(shopfront)
    answers.rules["GET /v1/refunds"] = answers.rules["POST /v1/refunds"] = changed(field, REMOVED)
    issue_refund(shopfront.shop, order.code, amount=1000)
    for _day in range(3):
        shopfront.shop.jobs.run("refunds")
        sandbox.advance(hours=25)
    shopfront.deliver(stripes_own(shopfront, "charge.refunded", charge_of(shopfront, pi)))
    shopfront.shop.jobs.run("inbox")
    assert refunds(shopfront)[0].status == "requested"
    answers.rules.clear()
    at_stripe = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert [refund.amount for refund in at_stripe] == [1000]
    sandbox.advance(hours=7)
    shopfront.run_jobs()
    assert [refund.stripe_id is not None for refund in refunds(shopfront)] == [True]


def test_a_payment_intent_that_cannot_be_read_is_not_created_again(shopfront, sandbox):
    answers = StripeAnswers(shopfront)
    answers.rules["POST /v1/payment_intents"] = changed("created", REMOVED)
    answers.rules["GET /v1/payment_intents"] = changed("created", REMOVED)
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    with shopfront.shop.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE payments SET key_exhausted = true")
    assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    answers.rules.clear()
    assert len(shopfront.stripe.v1.payment_intents.list().data) == 1


def test_a_refund_event_of_which_nothing_can_be_read_stays_open(shopfront):
    _order, pi = paid(shopfront, 1)
    shopfront.silence_stripe()
    shopfront.stripe.v1.refunds.create({"payment_intent": pi})
    StripeAnswers(shopfront).rules["GET /v1/refunds"] = changed("created", REMOVED)
    body = stripes_own(shopfront, "charge.refunded", charge_of(shopfront, pi))
    shopfront.deliver(body)
    shopfront.shop.jobs.run("inbox")
    assert found(shopfront, body).state == "failing"


@pytest.mark.parametrize(
    "page",
    [{"data": None}, {"data": {}}, {"data": [], "has_more": True}, {"has_more": True}],
)
def test_a_list_that_cannot_be_read_is_an_error_of_the_gateway(shopfront, page):
    _order, pi = paid(shopfront, 1)
    answers = StripeAnswers(shopfront)
    answers.rules["GET /v1/"] = lambda body: body.update(page if "data" in body else {})
    assert shopfront.api("confirm_payment", {"payment_intent_id": pi}).status_code == 500
    result = flask(shopfront, "reconcile")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    with pytest.raises(UnreadableAnswer):
        list(shopfront.gateway.list_refunds(since=0))
    assert alert_kinds(shopfront) == ["stripe_unreadable"]


def charge_of(shopfront, pi):
    return shopfront.stripe.v1.payment_intents.retrieve(pi).latest_charge
