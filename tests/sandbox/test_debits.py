"""SEPA debits, which take days, and a redirect method, which may be left half-way."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from .conftest import Receiver, error_of
from .driver import Driver

ONLINE = {"ip_address": "192.0.2.1", "user_agent": "test"}
ACCEPTED = {"customer_acceptance": {"type": "online", "online": ONLINE}}
OWNER = {"name": "Ana Ejemplo", "email": "ana@example.com"}
SUCCEEDS, FAILS = "DE89370400440532013000", "DE62370400440532013001"
DISPUTED = "DE35370400440532013002"
RETURN_URL = "https://shop.example/"


def debit(v1: Any, iban: str = SUCCEEDS, **params: Any) -> Any:
    method = {"type": "sepa_debit", "sepa_debit": {"iban": iban}, "billing_details": OWNER}
    default = {"amount": 2000, "currency": "eur", "confirm": True, "mandate_data": ACCEPTED}
    default |= {"payment_method_data": method, "return_url": RETURN_URL}
    return v1.payment_intents.create({**default, **params})


def pay_with_ideal(v1: Any) -> Any:
    return debit(v1, mandate_data="", payment_method_data={"type": "ideal"})


def test_bought_today_and_settled_five_days_later(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    intent = debit(v1, expand=["latest_charge"])
    assert (intent.status, intent.latest_charge.status) == ("processing", "pending")
    details = intent.latest_charge.payment_method_details.sepa_debit
    assert v1.mandates.retrieve(details.mandate).status == "active"
    receiver.wait_for("payment_intent.processing", "charge.pending")
    driver.advance(days=4)
    assert v1.payment_intents.retrieve(intent.id).status == "processing"
    driver.advance(days=1)
    assert receiver.types()[-2:] == ["charge.succeeded", "payment_intent.succeeded"]
    paid = v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (paid.status, paid.latest_charge.paid) == ("succeeded", True)
    assert paid.latest_charge.created == intent.created


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        (FAILS, "debit_not_authorized"),
        ("DE65370400440002222227", "insufficient_funds"),
        ("DE65370400440000343434", "charge_exceeds_source_limit"),
        ("DE27370400440000121212", "charge_exceeds_weekly_limit"),
    ],
)
def test_a_debit_that_fails_can_be_paid_otherwise(
    v1: Any, driver: Driver, receiver: Receiver, iban: str, code: str
) -> None:
    intent = debit(v1, iban)
    driver.advance(days=5)
    receiver.wait_for("charge.failed", "payment_intent.payment_failed")
    after = v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.last_payment_error.code) == ("requires_payment_method", code)
    again = {"payment_method": "pm_card_visa", "return_url": RETURN_URL}
    assert v1.payment_intents.confirm(intent.id, again).status == "succeeded"


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("DE89370400440532013009", "invalid_bank_account_iban"),
        ("DE91370400440000055555", "sepa_debit_bank_not_supported"),
        ("DE18370400440000066666", "sepa_debit_debits_not_supported"),
        ("GB82WEST12345698765432", "parameter_missing"),
    ],
)
def test_what_is_no_account_to_debit(v1: Any, iban: str, code: str) -> None:
    assert error_of(debit, v1, iban).code == code


def test_a_debit_needs_consent_euros_and_no_hold(v1: Any) -> None:
    assert "mandate" in str(error_of(debit, v1, mandate_data=""))
    for wrong in ({"currency": "usd"}, {"capture_method": "manual"}):
        assert "not allowed" in str(error_of(debit, v1, **wrong))


def test_a_debit_in_processing_can_be_canceled(v1: Any, driver: Driver) -> None:
    intent = debit(v1)
    assert v1.payment_intents.cancel(intent.id).status == "canceled"
    driver.advance(days=6)
    assert v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_a_settled_debit_may_be_disputed(v1: Any, driver: Driver) -> None:
    intent = debit(v1, DISPUTED)
    driver.advance(days=5)
    (dispute,) = v1.disputes.list({"payment_intent": intent.id}).data
    assert (dispute.reason, dispute.status) == ("debit_not_authorized", "needs_response")


@pytest.mark.parametrize(
    ("outcome", "status", "redirect_status"),
    [("complete", "succeeded", "succeeded"), ("fail", "requires_payment_method", "failed")],
)
def test_a_redirect_goes_to_the_bank_and_back(
    v1: Any, outcome: str, status: str, redirect_status: str
) -> None:
    intent = pay_with_ideal(v1)
    assert intent.status == "requires_action"
    page = intent.next_action.redirect_to_url.url
    back = requests.post(page, {"outcome": outcome}, allow_redirects=False).headers["Location"]
    assert back.startswith(f"{RETURN_URL}?payment_intent=")
    assert back.endswith(f"redirect_status={redirect_status}")
    assert v1.payment_intents.retrieve(intent.id).status == status


def test_a_redirect_left_half_way_expires(v1: Any, driver: Driver, receiver: Receiver) -> None:
    intent = pay_with_ideal(v1)
    driver.advance(hours=2)
    after = v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "payment_intent_payment_attempt_expired"
    receiver.wait_for("payment_intent.payment_failed")


def test_what_an_intent_takes_follows_its_currency(v1: Any, intent: Any, euros: Any) -> None:
    assert euros.payment_method_types == ["card", "ideal", "sepa_debit"]
    assert intent.payment_method_types == ["card"]
    excluded = {"excluded_payment_method_types": ["ideal"]}
    some = v1.payment_intents.create({"amount": 2000, "currency": "eur", **excluded})
    assert some.payment_method_types == ["card", "sepa_debit"]
