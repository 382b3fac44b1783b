"""Tokens of cards and ConfirmationTokens: good once, for a while, and no card data of servers."""

from __future__ import annotations

from typing import Any

import requests

from .conftest import IBAN, NEW, PUBLISHABLE_KEY, error_of
from .driver import Driver

CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "34", "name": "Ana Ejemplo"}
CONFIRM = {**NEW, "confirm": True, "return_url": "https://shop.example/"}


def token_of(root: str, **card: str) -> Any:
    """The answer to a browser that makes a token."""
    data = {f"card[{name}]": value for name, value in {**CARD, **card}.items()}
    bearer = {"Authorization": f"Bearer {PUBLISHABLE_KEY}"}
    return requests.post(f"{root}/v1/tokens", data, headers=bearer).json()


def test_a_token_is_good_once(v1: Any, root: str) -> None:
    token = token_of(root, address_zip="28013")
    assert (token["card"]["address_zip"], token["used"]) == ("28013", False)
    paying = {"type": "card", "card": {"token": token["id"]}}
    method = v1.payment_methods.create(paying)
    assert method.billing_details.name == "Ana Ejemplo"
    assert v1.tokens.retrieve(token["id"]).used is True
    assert error_of(v1.payment_methods.create, paying).code == "token_already_used"
    assert token_of(root, number="4242424242424241")["error"]["code"] == "incorrect_number"
    assert token_of(root, exp_month="x")["error"]["param"] == "card[exp_month]"
    assert "credit card numbers" in error_of(v1.tokens.create, {"card": CARD}).user_message


def test_a_confirmation_token_confirms_one_intent(v1: Any, driver: Driver) -> None:
    create = v1.test_helpers.confirmation_tokens.create
    shipping = {"name": "Ana", "address": {"country": "ES"}}
    token = create({"payment_method": "pm_card_visa", "shipping": shipping})
    assert token.payment_method_preview.card.brand == "visa"
    intent = v1.payment_intents.create({**CONFIRM, "confirmation_token": token.id})
    assert (intent.status, intent.shipping.name) == ("succeeded", "Ana")
    assert v1.confirmation_tokens.retrieve(token.id).payment_intent == intent.id
    again = error_of(v1.payment_intents.create, {**CONFIRM, "confirmation_token": token.id})
    assert "used before" in again.user_message
    owner = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    debit = {"type": "sepa_debit", "sepa_debit": {"iban": IBAN}, "billing_details": owner}
    token = create({"payment_method_data": debit})
    paid = {**CONFIRM, "currency": "eur", "confirmation_token": token.id}
    assert v1.payment_intents.create(paid).status == "processing"
    late = create({"payment_method": "pm_card_visa"})
    driver.advance(hours=13)
    expired = error_of(v1.payment_intents.create, {**CONFIRM, "confirmation_token": late.id})
    assert "has expired" in expired.user_message
    assert error_of(create, {}).code == "parameter_missing"
