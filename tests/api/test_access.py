"""Who may call the JSON endpoints, with what, and what they are shown of a payer."""

from __future__ import annotations

import http.client
import inspect
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import stripe

from tests.api.test_envelope import NOT_JSON, refused
from tests.payments.test_card_testing import try_cards
from tests.stripe_proxy import StripeProxy
from tmt.api.charges import without_payer
from tmt.api.views import PATHS

TOKEN = {"api_token": "s3cret-token"}


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


@pytest.fixture
def stripe_calls(shopfront):
    calls = []
    StripeProxy(shopfront).fate = lambda call: calls.append(call)
    return calls


@pytest.mark.parametrize("settings", [{"api": "off"}])
def test_switched_off_they_do_not_exist(shopfront):
    refused(shopfront.api("create_payment_intent", {"amount": 5}), 404, "No encontrado")
    for method in ("GET", "OPTIONS"):
        answer = shopfront.buyer().request(method, PATHS[0])
        refused(answer, 404, "No encontrado")


@pytest.mark.parametrize("settings", [TOKEN])
@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer wrong", "Basic czNjcmV0", "s3cret-token"])
def test_without_the_token_nothing_is_asked_of_stripe(shopfront, stripe_calls, sent):
    headers = {"Authorization": sent} if sent else {}
    for endpoint in ("create_payment_intent", "confirm_payment", "get_payment_intent"):
        answer = shopfront.api(endpoint, {"amount": 5, "payment_intent_id": "pi_1"}, **headers)
        refused(answer, 401, "No autorizado")
    assert stripe_calls == []
    answer = shopfront.api(
        "create_payment_intent", {"amount": 5}, Authorization="bearer s3cret-token"
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("settings", [{"api_origins": ("https://a.example",)}])
def test_another_origin_is_refused_before_anything_happens(shopfront, stripe_calls):
    for origin in ("https://b.example", "null", "https://a.example.evil", ""):
        answer = shopfront.api("create_payment_intent", {"amount": 5}, Origin=origin)
        assert (answer.status_code, answer.json()["error"]) == (403, "Origen no permitido")
    assert stripe_calls == []
    for headers in ({}, {"Origin": "https://a.example"}):
        assert shopfront.api("create_payment_intent", {"amount": 5}, **headers).status_code == 200


@pytest.mark.parametrize(
    "text",
    [".", "..", "é", "../refunds", "pi_1/x", "pi 1", " pi_1", "pi_1\n", "a" * 256, "x" * 60_000],
)
def test_what_is_no_id_is_refused_and_stripe_is_not_asked(shopfront, stripe_calls, text):
    for endpoint in ("get_payment_intent", "confirm_payment"):
        answer = shopfront.api(endpoint, {"payment_intent_id": text})
        refused(answer, 400, "El ID de Payment Intent no es válido")
    assert stripe_calls == []


def test_the_shops_own_metadata_keys_are_refused(shopfront):
    for key in ("tmt_shop", "tmt_"):
        answer = shopfront.api("create_payment_intent", {"amount": 5, "metadata": {key: "x"}})
        refused(answer, 400, "Los metadatos no son válidos")
    allowed = {"amount": 5, "metadata": {"TMT_x": "1", "x_tmt_": "1", "order": "1"}}
    assert shopfront.api("create_payment_intent", allowed).status_code == 200


@pytest.mark.parametrize("settings", [{"api_floor": "5 USD, 500 jpy"}])
def test_a_floor_can_be_set(shopfront):
    for amount, currency, error in (
        (4.99, "usd", "El monto es menor que el mínimo permitido"),
        (499, "jpy", "El monto es menor que el mínimo permitido"),
        (100, "eur", "La moneda no es válida"),
    ):
        data = {"amount": amount, "currency": currency}
        refused(shopfront.api("create_payment_intent", data), 400, error)
    assert shopfront.api("create_payment_intent", {"amount": 5}).status_code == 200


@pytest.mark.parametrize("settings", [{"api_creates_overall": "2 per hour", "trusted_proxies": 1}])
def test_creations_are_limited_in_all(shopfront):
    def create(number, **data):
        forwarded = {"X-Forwarded-For": f"203.0.113.{number}"}
        return shopfront.api("create_payment_intent", {"amount": 5} | data, **forwarded)

    codes = [create(number).status_code for number in range(2)]
    assert [*codes, create(3, amount=0).status_code, create(4).status_code] == [200, 200, 400, 429]


@pytest.mark.parametrize("settings", [{"api_per_address": "1 per hour", "trusted_proxies": 1}])
def test_a_network_of_ipv6_has_four_times_an_addresss_calls(shopfront):
    def call(address):
        forwarded = {"X-Forwarded-For": address}
        return shopfront.api("get_payment_intent", {}, **forwarded).status_code

    assert [call(f"2001:db8:1:{n}::1") for n in range(5)] == [400] * 4 + [429]
    assert call("2001:db8:2::1") == 400
    assert [call("192.0.2.1"), call("::ffff:192.0.2.1"), call("::ffff:192.0.2.2")] == [
        400,
        429,
        400,
    ]


@pytest.mark.parametrize(("length", "status"), [(65_536, 400), (65_537, 413), (200_000, 413)])
def test_a_body_in_chunks_has_the_same_limit(shopfront, length, status):
    frame = len(json.dumps({"data": {"x": ""}}))
    body = json.dumps({"data": {"x": "y" * (length - frame)}}).encode()
    chunks = (body[at : at + 5000] for at in range(0, len(body), 5000))
    for path in PATHS:
        connection = http.client.HTTPConnection(urlsplit(shopfront.url).netloc, timeout=20)
        connection.request("POST", path, chunks if path == PATHS[0] else iter([body]))
        answer = connection.getresponse()
        envelope = json.loads(answer.read())
        connection.close()
        assert (answer.status, envelope["status"]) == (status, status)
        assert envelope["error"] != NOT_JSON


def charges_of(shopfront, **headers):
    answer = shopfront.api(
        "create_payment_intent", {"amount": 5, "metadata": {"email": "x"}}, **headers
    )
    pi = answer.json()["data"]["payment_intent_id"]
    method = shopfront.stripe.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"token": "tok_visa"},
            "billing_details": {"name": "Ana", "email": "a@b.co"},
        }
    )
    shopfront.confirm(pi, method.id)
    data = shopfront.api("confirm_payment", {"payment_intent_id": pi}, **headers).json()["data"]
    return data["payment_intent"]["charges"]


def test_anonymous_callers_do_not_learn_who_paid(shopfront):
    (charge,) = charges_of(shopfront)
    assert charge["object"] == "charge"
    assert charge["amount"] == 500
    assert set(charge["billing_details"].values()) == {None}
    card = charge["payment_method_details"]["card"]
    assert (card["fingerprint"], card["checks"]) == (None, None)
    assert card["brand"] == "visa"
    assert charge["outcome"]["type"] == "authorized"
    assert not any(charge["outcome"].get(name) for name in ("risk_level", "risk_score"))
    assert charge["receipt_url"] is charge["receipt_email"] is charge["receipt_number"] is None
    assert "Ana" not in str(charge)


@pytest.mark.parametrize("settings", [TOKEN])
def test_with_the_token_charges_are_whole(shopfront):
    (charge,) = charges_of(shopfront, Authorization="Bearer s3cret-token")
    assert (charge["billing_details"]["name"], charge["billing_details"]["email"]) == (
        "Ana",
        "a@b.co",
    )
    assert charge["payment_method_details"]["card"]["fingerprint"]


def test_names_in_any_method_are_left_out_and_metadata_is_not():
    details = {
        "type": "paypal",
        "paypal": {"payer_email": "a@b.co", "payer_name": "Ana", "transaction_id": "1"},
        "card": {"wallet": {"link": {}, "masterpass": {"name": "Ana", "email": "a@b.co"}}},
    }
    charge = {
        "metadata": {"email": "mine"},
        "shipping": {"name": "Ana"},
        "payment_method_details": details,
    }
    shown = without_payer(charge)
    assert "Ana" not in str(shown)
    assert "a@b.co" not in str(shown)
    assert shown["metadata"] == {"email": "mine"}
    assert shown["payment_method_details"]["paypal"]["transaction_id"] == "1"


# What charges and refunds may say to everybody: amounts, states, ids, and the kind of method.
PUBLIC = """
    account_type amount amount_authorized amount_captured amount_refunded application
    application_fee application_fee_amount authorization_code balance_transaction bank bank_code
    bank_name bank_transaction_id brand brand_product calculated_statement_descriptor
    capture_before charge count country created currency customer customer_account description
    destination discount_amount dynamic_last4 electronic_commerce_indicator email_sent_at entity
    exp_month exp_year expected_debit_date expires_at failure_code failure_message
    failure_reason funding funding_source_group generated_card generated_sepa_debit
    generated_sepa_debit_mandate id issuer last4 location mandate maximum_amount_capturable
    merchant_reference network network_advice_code network_decline_code network_status
    network_transaction_id number on_behalf_of order_id payment_intent payment_method
    payment_method_category payment_reference preferred_locale preferred_locales
    presentment_amount presentment_currency product_code product_description quantity reader
    reason reference reference_status reference_type refund review seller_message
    shipping_amount shipping_from_zip source_transfer source_transfer_reversal
    statement_descriptor statement_descriptor_suffix status stored_at tax_amount transaction_id
    transaction_link_id transfer transfer_group transfer_reversal type unit_cost
""".split()

# These are below a field that is left out: a shipping address, a check, a receipt, a rule.
BELOW = """
    action address_line1_check address_postal_code_check application_cryptogram
    application_preferred_name authorization_response_code cardholder_verification_method carrier
    city cvc_check dedicated_file_name line1 line2 postal_code predicate session state stripe_report
    terminal_verification_results tracking_number transaction_status_information user_report
""".split()


def test_each_field_of_stripes_types_is_decided_on():
    sources = [Path(inspect.getfile(kind)).read_text() for kind in (stripe.Charge, stripe.Refund)]
    leaf = r"(?m)^    +(\w+): (?:Optional\[|List\[)*\"?(?:str|int|float|ExpandableField|Union)\b"
    names = {name for source in sources for name in re.findall(leaf, source)}
    shown = {name for name, value in without_payer(dict.fromkeys(names, "x")).items() if value}
    assert shown == {*PUBLIC, *BELOW}


def test_what_stripe_says_about_a_refused_key_is_not_passed_on(shopfront, monkeypatch):
    key = "sk_test_revoked0000000001"
    monkeypatch.setattr(
        shopfront.gateway,
        "_client",
        stripe.StripeClient(
            key, base_addresses={"api": shopfront.stripe_url}, stripe_version="2026-10-28.endive"
        ),
    )
    for endpoint in ("create_payment_intent", "confirm_payment", "get_payment_intent"):
        answer = shopfront.api(endpoint, {"amount": 5, "payment_intent_id": "pi_1"})
        refused(answer, 500, "No se pudo contactar con Stripe")


@pytest.mark.case("PAY-16")
def test_a_payment_intent_that_a_program_created_takes_ten_declines(shopfront):
    answer = shopfront.api("create_payment_intent", {"amount": 5})
    pi = answer.json()["data"]["payment_intent_id"]
    assert try_cards(shopfront, pi, 15) == 10
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    other = shopfront.stripe.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert try_cards(shopfront, other.id, 12) == 12
