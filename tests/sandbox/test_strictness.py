"""The finer points of what Stripe takes and refuses, beyond tests/contract."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tmt.payments import methods
from tmt.sandbox.objects import load_table

from .conftest import BEARER, PUBLISHABLE_KEY, SECRET_KEY, Pay, error_of
from .generate_tables import KINDS

HOOK = {"url": "https://shop.example/hook", "enabled_events[]": "refund.created"}
CREATE = {"amount": "2000", "currency": "usd"}


def post(root: str, path: str, data: Any) -> Any:
    return requests.post(f"{root}/v1/{path}", data, headers=BEARER)


def test_the_shop_names_methods_as_stripe_does() -> None:
    excluded = {*methods._DECIDED_WITHIN, *methods._VOUCHERS}
    assert excluded <= {*load_table("enums")["excluded_methods"]}
    assert {*methods._DEBITS, *methods._BRANDS} <= KINDS


@pytest.mark.parametrize(
    ("path", "data", "param"),
    [
        ("payment_intents", {**CREATE, "application_fee_amount": "0"}, "application_fee_amount"),
        ("webhook_endpoints", {**HOOK, "connect": "true"}, "connect"),
        ("setup_intents", {"attach_to_self": "true"}, "attach_to_self"),
        ("payment_intents", {**CREATE, "customer_account": "acct_1"}, "customer_account"),
        ("payment_intents", {**CREATE, "statement_descriptor_suffix": "<a"}, None),
        ("payment_intents", {**CREATE, "statement_descriptor_suffix": "123"}, None),
        ("payment_intents", {**CREATE, "statement_descriptor": "a" * 23}, None),
        ("payment_method_domains", {"domain_name": "x y"}, "domain_name"),
        ("payment_method_domains", {"domain_name": "https://shop.example"}, "domain_name"),
        ("customers", {"address[country]": "JA"}, "address[country]"),
        ("customers", {"metadata[]": "x"}, "metadata"),
        ("payment_intents", {**CREATE, "metadata[][a]": "x"}, "metadata"),
    ],
)
def test_refused(root: str, path: str, data: Any, param: str | None) -> None:
    answer = post(root, path, data)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == (param or list(data)[-1])


def test_connect_that_asks_for_nothing_is_taken(root: str) -> None:
    assert post(root, "webhook_endpoints", {**HOOK, "connect": "false"}).status_code == 200


def test_the_answer_to_a_foreign_host_or_a_proxy_is_no_crash(root: str) -> None:
    for headers in ({"Host": "shop.example"}, {"Via": "1.1 proxy"}):
        answer = requests.get(f"{root}/v1/balance", headers={**BEARER, **headers})
        assert answer.status_code == 400
        assert "this machine" in answer.text


def test_no_page_of_the_web_reads_with_a_secret_key(root: str) -> None:
    def read(key: str, **headers: str) -> Any:
        return requests.get(
            f"{root}/v1/charges", headers={"Authorization": f"Bearer {key}"} | headers
        )

    allowed = "Access-Control-Allow-Origin"
    assert allowed not in read(SECRET_KEY).headers
    refused = read(SECRET_KEY, Origin="https://evil.example")
    assert (refused.status_code, allowed in refused.headers) == (403, False)
    assert read(PUBLISHABLE_KEY, Origin="https://shop.example").headers[allowed] == "*"


@pytest.mark.parametrize(
    ("token", "country"),
    [("pm_card_br", "BR"), ("tok_jp", "JP"), ("tok_no", "NO"), ("pm_card_gb", "GB")],
)
def test_cards_of_countries(v1: Any, token: str, country: str) -> None:
    method = v1.payment_methods.create({"type": "card", "card": {"token": token}})
    assert method.card.country == country


@pytest.mark.parametrize(
    ("token", "line1", "postal_code"),
    [
        ("avsFail", "fail", "fail"),
        ("avsLine1Fail", "fail", "pass"),
        ("avsUnchecked", *["unchecked"] * 2),
    ],
)
def test_checks_of_addresses(v1: Any, pay: Pay, token: str, line1: str, postal_code: str) -> None:
    address = {"line1": "Main Street 1", "postal_code": "10001"}
    card = {
        "type": "card",
        "card": {"token": f"tok_{token}"},
        "billing_details": {"address": address},
    }
    method = v1.payment_methods.create(card)
    checks = pay(method.id, expand=["payment_method"]).payment_method.card.checks
    assert (checks.address_line1_check, checks.address_postal_code_check) == (line1, postal_code)


def test_a_test_token_can_be_retrieved(v1: Any) -> None:
    token = v1.tokens.retrieve("tok_visa")
    assert (token.card.last4, token.used) == ("4242", False)
    method = v1.payment_methods.create({"type": "card", "card": {"token": token.id}})
    assert method.card.last4 == "4242"
    assert error_of(v1.tokens.retrieve, "tok_none").http_status == 404


def test_searches_take_numbers_without_quotes(v1: Any, pay: Pay) -> None:
    address = {"postal_code": "10001"}
    card = {"type": "card", "card": {"token": "tok_visa"}, "billing_details": {"address": address}}
    intent = pay(v1.payment_methods.create(card).id)
    query = "payment_method_details.card.last4:4242 AND billing_details.address.postal_code:10001"
    (charge,) = v1.charges.search({"query": query}).data
    assert charge.id == intent.latest_charge
