"""What clients of Stripe expect beside payments: keys, searches, reviews, payouts."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from tests.servers import serve
from tmt.sandbox import Sandbox

from .conftest import DAY, NEW, Pay, Receiver, error_of

KEYS = {"sk_test_x": 200, "rk_test_x": 200, "pk_test_x": 403, "sk_live_x": 401}


@pytest.mark.parametrize(("key", "status"), KEYS.items())
def test_any_test_key_opens_a_sandbox_that_stands_alone(
    box: Sandbox, root: str, key: str, status: int
) -> None:
    alone = serve(box.application(any_key=True))
    assert requests.get(f"{alone.url}/v1/customers", auth=(key, "")).status_code == status
    assert requests.get(f"{root}/v1/customers", auth=(key, "")).status_code == 401
    alone.stop()


def test_version_2_and_connected_accounts(v1: Any, root: str) -> None:
    client = stripe.StripeClient("sk_test_x", base_addresses={"api": root})
    error = error_of(client.v2.core.events.list, {"object_id": "x"})
    assert (error.http_status, error.user_message[:12]) == (404, "Unrecognized")
    assert v1.accounts.list().data == []
    assert error_of(v1.accounts.retrieve, "acct_none").http_status == 403


QUERIES = [
    ("status:'succeeded'", "bc"),
    ("status:'succeeded' currency:'eur'", "c"),
    ("-status:'succeeded'", "a"),
    ("amount>=2000 AND amount<3000", "ab"),
    ("amount:3000 OR metadata['name']:'a'", "ac"),
    ('metadata["name"]~"xyz"', ""),
    ("metadata['other']:null AND created>1500000000", "abc"),
    ("customer:null", "abc"),
]
WRONG_QUERIES = [
    "",
    "amount",
    "amount:'x'",
    "amount~'200'",
    "status>'a'",
    "status~'ab'",
    "status:succeeded",
    "colour:'red'",
    "metadata:'a'",
    "amount:1 OR amount:2 AND amount:3",
    "status:'a' OR",
]


@pytest.fixture
def searched(v1: Any, pay: Pay) -> Any:
    """Three PaymentIntents with the names a, b and c."""
    v1.payment_intents.create({**NEW, "metadata": {"name": "a"}})
    pay(metadata={"name": "b"})
    pay(metadata={"name": "c"}, amount=3000, currency="eur")
    return v1.payment_intents


def test_searches(searched: Any, pay: Pay) -> None:
    for query, names in QUERIES:
        found = searched.search({"query": query}).auto_paging_iter()
        assert "".join(sorted(intent.metadata.name for intent in found)) == names, query
    for query in WRONG_QUERIES:
        error = error_of(searched.search, {"query": query})
        assert (error.http_status, error.param) == (400, "query"), query
    page = searched.search({"query": "amount>1", "limit": 2, "expand": ["data.latest_charge"]})
    assert (page.object, page.has_more, page.data[0].latest_charge.object) == (
        "search_result",
        True,
        "charge",
    )
    assert len([*page.auto_paging_iter()]) == 3


def test_searches_for_customers_and_charges(v1: Any, pay: Pay) -> None:
    v1.customers.create({"email": "Ana@example.com", "name": "Ana"})
    (found,) = v1.customers.search({"query": "email:'ana@EXAMPLE.com' AND name~'ana'"}).data
    assert found.name == "Ana"
    charge = pay().latest_charge
    query = "payment_method_details.card.last4:'4242' AND refunded:'false'"
    assert [found.id for found in v1.charges.search({"query": query}).data] == [charge]


def test_a_payment_in_review(v1: Any, pay: Pay, box: Sandbox, receiver: Receiver) -> None:
    box.start()
    paid = pay("pm_card_riskLevelElevated", expand=["latest_charge"])
    review = receiver.wait_for("review.opened").data.object
    assert (paid.status, paid.review, paid.latest_charge.review) == (
        "succeeded",
        review.id,
        review.id,
    )
    assert (paid.latest_charge.outcome.type, review.open) == ("manual_review", True)
    approved = v1.reviews.approve(review.id)
    assert (approved.open, approved.closed_reason) == (False, "approved")
    assert receiver.wait_for("review.closed").data.object.reason == "approved"
    assert error_of(v1.reviews.approve, review.id).http_status == 400
    other = pay("pm_card_riskLevelElevated")
    v1.refunds.create({"payment_intent": other.id, "reason": "fraudulent"})
    assert v1.reviews.retrieve(other.review).closed_reason == "refunded_as_fraud"
    held = pay("pm_card_riskLevelElevated", capture_method="manual")
    v1.payment_intents.cancel(held.id)
    assert v1.reviews.retrieve(held.review).closed_reason == "canceled"


def test_options_by_method(v1: Any, pay: Pay) -> None:
    card = {"capture_method": "manual", "setup_future_usage": "off_session"}
    held = pay(payment_method_options={"card": card})
    assert held.status == "requires_capture"
    assert (held.payment_method_options.card.capture_method, held.capture_method) == (
        "manual",
        "automatic_async",
    )
    assert held.payment_method_options.card.request_three_d_secure == "automatic"
    cleared = v1.payment_intents.create({**NEW, "payment_method_options": {"card": card}})
    options = {"payment_method_options": {"card": {"capture_method": ""}}}
    shown = v1.payment_intents.update(cleared.id, options).payment_method_options.card
    with pytest.raises(AttributeError):
        _ = shown.capture_method


def test_link_pays_where_it_is_listed(v1: Any) -> None:
    data = {"type": "link", "billing_details": {"email": "ana@example.com"}}
    params: Any = {**NEW, "confirm": True, "payment_method_data": data}
    params["return_url"] = "https://a.b/"
    assert error_of(v1.payment_intents.create, params).param == "payment_method"
    params |= {"allowed_payment_method_types": ["card", "link"], "capture_method": "manual"}
    held = v1.payment_intents.create({**params, "expand": ["payment_method", "latest_charge"]})
    assert (held.status, held.payment_method.link.email) == ("requires_capture", "ana@example.com")
    assert held.latest_charge.payment_method_details.link.country == "ES"
    v1.payment_intents.capture(held.id)
    assert v1.refunds.create({"payment_intent": held.id}).status == "succeeded"
    nobody = {"type": "link", "billing_details": {"name": "Ana"}}
    error = error_of(v1.payment_intents.create, {**params, "payment_method_data": nobody})
    assert (error.code, error.param) == ("parameter_missing", "billing_details[email]")


def test_money_in_other_currencies(v1: Any, pay: Pay, box: Sandbox) -> None:
    box.start()
    for currency, amount, settled in (("gbp", 1000, 1160), ("jpy", 1000, 600), ("eur", 1000, 1000)):
        paid = pay(currency=currency, amount=amount, capture_method="automatic")
        charge = v1.charges.retrieve(paid.latest_charge, {"expand": ["balance_transaction"]})
        assert charge.balance_transaction.amount == settled
        refund = v1.refunds.create({"charge": charge.id})
        assert (refund.amount, refund.currency) == (amount, currency)
        taken = v1.balance_transactions.retrieve(refund.balance_transaction)
        assert (taken.amount, taken.currency) == (-settled, "eur")
    box.advance(3 * DAY)
    assert [payout.currency for payout in v1.payouts.list().data] == []


def test_payouts_by_request(v1: Any, pay: Pay, box: Sandbox, receiver: Receiver) -> None:
    box.start()
    error = error_of(v1.payouts.create, {"amount": 1000, "currency": "usd"})
    assert (error.http_status, error.code) == (400, "balance_insufficient")
    pay("pm_card_bypassPending", capture_method="automatic")
    assert receiver.wait_for("balance.available").data.object.available[0].amount == 1718
    first, second = [v1.payouts.create({"amount": 500, "currency": "usd"}) for _ in range(2)]
    assert (first.status, first.automatic, first.reconciliation_status) == (
        "pending",
        False,
        "not_applicable",
    )
    assert v1.payouts.update(first.id, {"metadata": {"a": "b"}}).metadata.a == "b"
    assert v1.payouts.cancel(second.id).status == "canceled"
    assert v1.balance.retrieve().available[0].amount == 1718 - 450
    box.advance(2 * DAY)
    assert v1.payouts.retrieve(first.id).status == "paid"
    assert error_of(v1.payouts.cancel, first.id).http_status == 400
    assert {"payout.created", "payout.updated", "payout.canceled", "payout.paid"} <= {
        *receiver.types()
    }
