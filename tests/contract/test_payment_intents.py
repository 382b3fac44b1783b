"""PaymentIntents: their life, declines, authentication, idempotency, lists."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import stripe

from .conftest import NEW, NO_REDIRECTS, Pay, error_of, eventually, refusal

DECLINES = {
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "pm_card_visa_chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": ("card_declined", "card_velocity_exceeded"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None),
    "pm_card_chargeDeclinedIncorrectCvc": ("incorrect_cvc", None),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", None),
    "pm_card_chargeCustomerFail": ("card_declined", "generic_decline"),
    "pm_card_radarBlock": ("card_declined", None),
}
CARDS = {
    "pm_card_visa": ("visa", "4242"),
    "pm_card_visa_debit": ("visa", "5556"),
    "pm_card_mastercard": ("mastercard", "4444"),
    "pm_card_amex": ("amex", "0005"),
    "pm_card_discover": ("discover", "1117"),
}
WRONG = [
    ({"amount": None}, (400, "parameter_missing", "amount")),
    ({"currency": None}, (400, "parameter_missing", "currency")),
    ({"colour": "red"}, (400, "parameter_unknown", "colour")),
    ({"amount": "ten"}, (400, "parameter_invalid_integer", "amount")),
    ({"amount": -5}, (400, "parameter_invalid_integer", "amount")),
    ({"amount": 10}, (400, "amount_too_small", "amount")),
    ({"amount": 100000000}, (400, "amount_too_large", "amount")),
    ({"description": {"a": "b"}}, (400, None, "description")),
    ({"customer": "cus_none"}, (400, "resource_missing", "customer")),
    ({"payment_method": "pm_none"}, (400, "resource_missing", "payment_method")),
    ({"receipt_email": "nobody"}, (400, "email_invalid", "receipt_email")),
]


def test_a_payment_from_creation_to_success(v1: Any) -> None:
    created = v1.payment_intents.create({**NEW, "metadata": {"order": "7"}})
    assert (created.status, created.amount_received) == ("requires_payment_method", 0)
    assert (created.latest_charge, created.payment_method) == (None, None)
    assert created.client_secret.startswith(f"{created.id}_secret_")
    v1.payment_intents.update(created.id, {"amount": 2500, "description": "Ticket"})
    params = {"payment_method": "pm_card_visa", "return_url": "https://example.com/"}
    paid = v1.payment_intents.confirm(created.id, params)
    assert (paid.status, paid.amount, paid.amount_received) == ("succeeded", 2500, 2500)
    charge = v1.charges.retrieve(paid.latest_charge)
    assert (charge.paid, charge.captured, charge.status) == (True, True, "succeeded")
    assert (charge.amount, charge.payment_intent, charge.description) == (2500, paid.id, "Ticket")
    assert charge.metadata.to_dict() == {"order": "7"}
    assert charge.outcome.type == "authorized"
    assert v1.payment_intents.retrieve(paid.id).status == "succeeded"


@pytest.mark.parametrize(("token", "expected"), CARDS.items())
def test_brands(pay: Pay, token: str, expected: tuple[str, str]) -> None:
    card = pay(token, expand=["latest_charge"]).latest_charge.payment_method_details.card
    assert (card.brand, card.last4) == expected


@pytest.mark.parametrize(("token", "expected"), DECLINES.items())
def test_declines(v1: Any, pay: Pay, token: str, expected: tuple[str, str | None]) -> None:
    error = error_of(pay, token)
    assert isinstance(error, stripe.CardError)
    assert (error.http_status, error.code) == (402, expected[0])
    if expected[1]:
        assert error.error.decline_code == expected[1]
    failed = error.error.payment_intent
    assert (failed.status, failed.last_payment_error.code) == (
        "requires_payment_method",
        expected[0],
    )
    charge = v1.charges.retrieve(failed.latest_charge)
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, expected[0])
    # The same PaymentIntent takes another card.
    paid = v1.payment_intents.confirm(failed.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize(("changes", "expected"), WRONG)
def test_wrong_parameters(v1: Any, changes: Any, expected: Any) -> None:
    params = {name: v for name, v in {**NEW, **changes}.items() if v is not None}
    assert refusal(error_of(v1.payment_intents.create, params)) == expected


def test_a_wrong_currency_names_the_right_ones(v1: Any) -> None:
    error = error_of(v1.payment_intents.create, {"amount": 2000, "currency": "xxx"})
    assert (error.http_status, error.param) == (400, "currency")
    assert "usd" in error.user_message


def test_transitions_that_are_refused(v1: Any, pay: Pay) -> None:
    new, paid = v1.payment_intents.create(NEW), pay()
    state = "payment_intent_unexpected_state"
    assert error_of(v1.payment_intents.confirm, new.id).code == state
    assert error_of(v1.payment_intents.capture, new.id).code == state
    assert error_of(v1.payment_intents.confirm, paid.id).code == state
    assert error_of(v1.payment_intents.update, paid.id, {"amount": 1}).code == state
    error = error_of(v1.payment_intents.cancel, paid.id)
    assert (error.http_status, error.code) == (400, state)
    assert error.error.payment_intent.status == "succeeded"
    missing = error_of(v1.payment_intents.retrieve, "pi_none")
    assert refusal(missing) == (404, "resource_missing", "intent")


def test_canceling(v1: Any) -> None:
    intent = v1.payment_intents.create(NEW)
    canceled = v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at >= canceled.created
    assert error_of(v1.payment_intents.cancel, intent.id).http_status == 400


@pytest.mark.parametrize("by_option", [False, True])
def test_a_held_payment_is_captured_in_part(v1: Any, pay: Pay, by_option: bool) -> None:
    manual: Any = {"capture_method": "manual"}
    held = pay(**({"payment_method_options": {"card": manual}} if by_option else manual))
    assert (held.status, held.amount_capturable, held.amount_received) == (
        "requires_capture",
        2000,
        0,
    )
    assert v1.charges.retrieve(held.latest_charge).captured is False
    error = error_of(v1.payment_intents.capture, held.id, {"amount_to_capture": 2001})
    assert error.http_status == 400
    captured = v1.payment_intents.capture(held.id, {"amount_to_capture": 1500})
    assert (captured.status, captured.amount, captured.amount_received) == ("succeeded", 2000, 1500)
    charge = v1.charges.retrieve(captured.latest_charge)
    assert (charge.captured, charge.amount_captured) == (True, 1500)
    held = pay(capture_method="manual")
    assert v1.payment_intents.cancel(held.id).status == "canceled"
    assert v1.charges.retrieve(held.latest_charge).refunded is True


def test_authentication(v1: Any, pay: Pay) -> None:
    params: Any = {"automatic_payment_methods": {"enabled": True}}
    params["return_url"] = "https://example.com/back"
    waiting = pay("pm_card_authenticationRequired", **params)
    assert (waiting.status, waiting.next_action.type) == ("requires_action", "redirect_to_url")
    assert waiting.next_action.redirect_to_url.return_url == "https://example.com/back"
    assert v1.payment_intents.cancel(waiting.id).status == "canceled"
    error = error_of(pay, "pm_card_authenticationRequired", error_on_requires_action=True)
    assert (error.http_status, error.code) == (402, "authentication_required")


@pytest.mark.parametrize("by_option", [False, True])
def test_saving_the_card_while_paying(v1: Any, pay: Pay, customer: Any, by_option: bool) -> None:
    usage: Any = {"setup_future_usage": "off_session"}
    if by_option:
        usage = {"payment_method_options": {"card": usage}}
    paid = pay(customer=customer.id, **usage)
    saved = v1.customers.payment_methods.list(customer.id).data
    assert [method.id for method in saved] == [paid.payment_method]
    again = pay(paid.payment_method, customer=customer.id, off_session=True)
    assert (again.status, again.payment_method) == ("succeeded", paid.payment_method)


def test_a_card_of_nobody_is_used_once(v1: Any, pay: Pay) -> None:
    used = pay().payment_method
    assert error_of(pay, used).http_status == 400


def test_idempotency(v1: Any, pay: Pay) -> None:
    key: Any = {"idempotency_key": str(uuid.uuid4())}
    first, second = v1.payment_intents.create(NEW, key), v1.payment_intents.create(NEW, key)
    assert (first.id, first.created) == (second.id, second.created)
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    error = error_of(v1.payment_intents.create, {**NEW, "amount": 2001}, key)
    assert (type(error), error.http_status) == (stripe.IdempotencyError, 400)
    assert isinstance(error_of(v1.customers.create, {}, key), stripe.IdempotencyError)
    # A decline is stored too, and the repetition declines the same PaymentIntent.
    key = {"idempotency_key": str(uuid.uuid4())}
    declines = [error_of(pay, "pm_card_visa_chargeDeclined", options=key) for _ in range(2)]
    assert len({error.error.payment_intent.id for error in declines}) == 1
    # Parameters that were refused before anything happened leave the key free.
    key = {"idempotency_key": str(uuid.uuid4())}
    error_of(v1.payment_intents.create, {"amount": 2000}, key)
    assert v1.payment_intents.create(NEW, key).amount == 2000


def test_expanding(v1: Any, pay: Pay) -> None:
    paid = pay(capture_method="automatic", expand=["latest_charge", "payment_method"])
    assert paid.latest_charge.object == "charge"
    assert paid.payment_method.card.brand == "visa"
    path = ["latest_charge.balance_transaction"]
    charge = v1.payment_intents.retrieve(paid.id, {"expand": path}).latest_charge
    assert charge.balance_transaction.source == charge.id
    refunds = v1.charges.retrieve(charge.id, {"expand": ["refunds"]}).refunds
    assert (refunds.object, refunds.data) == ("list", [])
    listed = v1.payment_intents.list({"limit": 1, "expand": ["data.latest_charge"]}).data
    assert listed[0].latest_charge.object == "charge"
    error = error_of(v1.payment_intents.retrieve, paid.id, {"expand": ["amount"]})
    assert error.http_status == 400


def test_lists_page_by_page(v1: Any, customer: Any) -> None:
    created = [v1.payment_intents.create({**NEW, "customer": customer.id}).id for _ in range(4)]
    newest_first = created[::-1]
    page = v1.payment_intents.list({"customer": customer.id, "limit": 2})
    assert [intent.id for intent in page.data] == newest_first[:2]
    assert (page.object, page.has_more, page.url) == ("list", True, "/v1/payment_intents")
    assert [intent.id for intent in page.auto_paging_iter()] == newest_first
    params = {"customer": customer.id, "ending_before": created[0], "limit": 2}
    assert [intent.id for intent in v1.payment_intents.list(params).data] == newest_first[1:3]
    since = {"customer": customer.id, "created": {"gte": page.data[0].created + 60}}
    assert v1.payment_intents.list(since).data == []
    for limit in (0, 101):
        error = error_of(v1.payment_intents.list, {"limit": limit})
        assert refusal(error) == (400, "parameter_invalid_integer", "limit")


def test_metadata(v1: Any) -> None:
    intent = v1.payment_intents.create({**NEW, "metadata": {"a": "1", "b": "2"}})
    changed = v1.payment_intents.update(intent.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert v1.payment_intents.update(intent.id, {"metadata": ""}).metadata.to_dict() == {}
    long = {"k" * 41: "v"}
    assert error_of(v1.payment_intents.update, intent.id, {"metadata": long}).http_status == 400
    long = {"k": "v" * 501}
    assert error_of(v1.payment_intents.update, intent.id, {"metadata": long}).http_status == 400


def test_addresses_come_back_with_all_their_fields(v1: Any) -> None:
    address = {"line1": "Calle Mayor 1", "country": "ES"}
    intent = v1.payment_intents.create({**NEW, "shipping": {"name": "Ana", "address": address}})
    assert intent.shipping.address.to_dict() == {
        "city": None,
        "country": "ES",
        "line1": "Calle Mayor 1",
        "line2": None,
        "postal_code": None,
        "state": None,
    }
    with pytest.raises(AttributeError):
        _ = intent.hooks


def test_automatic_methods(v1: Any) -> None:
    intent = v1.payment_intents.create({**NEW, "automatic_payment_methods": NO_REDIRECTS})
    assert "card" in intent.payment_method_types
    assert intent.automatic_payment_methods.to_dict() == NO_REDIRECTS
    assert error_of(v1.payment_intents.create, {**NEW, "confirm": True}).http_status == 400


def test_searching(v1: Any) -> None:
    order = uuid.uuid4().hex
    intent = v1.payment_intents.create({**NEW, "metadata": {"order": order}})
    query = f"metadata['order']:'{order}' AND amount>1999 AND -status:'succeeded'"

    def search() -> Any:
        return v1.payment_intents.search({"query": query}).data

    assert [found.id for found in eventually(search)] == [intent.id]
    assert error_of(v1.payment_intents.search, {"query": "colour:'red'"}).http_status == 400
