"""SEPA debits, which take days, and a redirect method, which may be left half-way."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from .conftest import Receiver, refused
from .driver import Driver

ACCEPTED = {"customer_acceptance": {"type": "online", "online": {"ip_address": "192.0.2.1",
            "user_agent": "test"}}}  # fmt: skip
OWNER = {"name": "Ana Ejemplo", "email": "ana@example.com"}
SUCCESS, BOUNCES, DISPUTED = (
    "DE89370400440532013000", "DE62370400440532013001", "DE35370400440532013002",
)  # fmt: skip


def debit(client: stripe.StripeClient, iban: str = SUCCESS, **more: Any) -> Any:
    method = {"type": "sepa_debit", "sepa_debit": {"iban": iban}, "billing_details": OWNER}
    given = {"amount": 2000, "currency": "eur", "confirm": True, "mandate_data": ACCEPTED}
    given |= {"payment_method_data": method, "return_url": "https://shop.example/"}
    return client.v1.payment_intents.create({**given, **more})


def test_bought_today_and_settled_five_days_later(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    intent = debit(client, expand=["latest_charge"])
    assert (intent.status, intent.latest_charge.status) == ("processing", "pending")
    details = intent.latest_charge.payment_method_details.sepa_debit
    assert client.v1.mandates.retrieve(details.mandate).status == "active"
    receiver.wait_for("payment_intent.processing", "charge.pending")
    driver.advance(days=4)
    assert client.v1.payment_intents.retrieve(intent.id).status == "processing"
    driver.advance(days=1)
    assert receiver.types()[-2:] == ["charge.succeeded", "payment_intent.succeeded"]
    paid: Any = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (paid.status, paid.latest_charge.paid) == ("succeeded", True)
    assert paid.latest_charge.created == intent.created


def test_a_debit_that_bounces_can_be_paid_otherwise(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    intent = debit(client, BOUNCES)
    driver.advance(days=5)
    receiver.wait_for("charge.failed", "payment_intent.payment_failed")
    after = client.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "debit_not_authorized"
    again: Any = {"payment_method": "pm_card_visa", "return_url": "https://shop.example/"}
    assert client.v1.payment_intents.confirm(intent.id, again).status == "succeeded"


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("DE65370400440002222227", "insufficient_funds"),
        ("DE65370400440000343434", "charge_exceeds_source_limit"),
        ("DE27370400440000121212", "charge_exceeds_weekly_limit"),
    ],
)
def test_each_iban_fails_in_its_way(
    client: stripe.StripeClient, driver: Driver, iban: str, code: str
) -> None:
    intent = debit(client, iban)
    driver.advance(days=5)
    error = client.v1.payment_intents.retrieve(intent.id).last_payment_error
    assert error is not None
    assert error.code == code


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("DE89370400440532013009", "invalid_bank_account_iban"),
        ("DE91370400440000055555", "sepa_debit_bank_not_supported"),
        ("DE18370400440000066666", "sepa_debit_debits_not_supported"),
        ("GB82WEST12345698765432", "parameter_missing"),
    ],
)
def test_what_is_no_account_to_debit(client: stripe.StripeClient, iban: str, code: str) -> None:
    assert refused(lambda: debit(client, iban)).code == code


def test_a_debit_needs_consent_euros_and_no_hold(client: stripe.StripeClient) -> None:
    assert "mandate" in str(refused(lambda: debit(client, mandate_data="")))
    for wrong in ({"currency": "usd"}, {"capture_method": "manual"}):
        assert "not allowed" in str(refused(lambda wrong=wrong: debit(client, **wrong)))


def test_a_debit_in_processing_can_be_canceled(client: stripe.StripeClient, driver: Driver) -> None:
    intent = debit(client)
    assert client.v1.payment_intents.cancel(intent.id).status == "canceled"
    driver.advance(days=6)
    assert client.v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_a_settled_debit_may_be_disputed(client: stripe.StripeClient, driver: Driver) -> None:
    intent = debit(client, DISPUTED)
    driver.advance(days=5)
    dispute = client.v1.disputes.list({"payment_intent": intent.id}).data[0]
    assert (dispute.reason, dispute.status) == ("debit_not_authorized", "needs_response")


@pytest.mark.parametrize(
    ("outcome", "status", "word"),
    [
        ("complete", "succeeded", "succeeded"),
        ("fail", "requires_payment_method", "failed"),
    ],
)
def test_a_redirect_is_walked(
    client: stripe.StripeClient, outcome: str, status: str, word: str
) -> None:
    given: Any = {"payment_method_data": {"type": "ideal"}, "payment_method": None}
    del given["payment_method"]
    intent = debit(client, mandate_data="", **given)
    assert intent.status == "requires_action"
    page = intent.next_action.redirect_to_url.url
    back = requests.post(page, {"outcome": outcome}, allow_redirects=False).headers["Location"]
    assert back.startswith("https://shop.example/?payment_intent=")
    assert back.endswith(f"redirect_status={word}")
    assert client.v1.payment_intents.retrieve(intent.id).status == status


def test_a_redirect_left_half_way_ends_by_itself(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    intent = debit(client, mandate_data="", payment_method_data={"type": "ideal"})
    driver.advance(hours=2)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_payment_attempt_expired"
    receiver.wait_for("payment_intent.payment_failed")


def test_what_an_intent_takes_follows_its_currency(client: stripe.StripeClient) -> None:
    v1 = client.v1.payment_intents
    euros = v1.create({"amount": 2000, "currency": "eur"})
    assert euros.payment_method_types == ["card", "ideal", "sepa_debit"]
    dollars = v1.create({"amount": 2000, "currency": "usd"})
    assert dollars.payment_method_types == ["card"]
    without: Any = {"excluded_payment_method_types": ["ideal"]}
    some = v1.create({"amount": 2000, "currency": "eur", **without})
    assert some.payment_method_types == ["card", "sepa_debit"]
