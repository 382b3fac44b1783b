"""A single card payment through the official SDK: every state and every card."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tmt.sandbox.simulated_methods import all_cards

from .conftest import BEARER, NEW, NO_REDIRECTS, Pay, Receiver, error_of, served_sandbox
from .driver import Driver

CARDS = {token: card for card in all_cards() for token in card.tokens.split()}
REASONS = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"]
UNEXPECTED_STATE = "payment_intent_unexpected_state"


def test_a_payment_succeeds_and_reaches_the_balance_a_little_later(v1: Any, pay: Pay) -> None:
    intent = pay(expand=["latest_charge"])
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert (intent.id[:4], intent.latest_charge.id[:4]) == ("pi_3", "ch_3")
    start, _, secret = intent.client_secret.partition("_secret_")
    assert start == intent.id
    assert len(secret) >= 22
    assert intent.latest_charge.balance_transaction is None
    path = {"expand": ["latest_charge.balance_transaction"]}
    charge = v1.payment_intents.retrieve(intent.id, path).latest_charge
    entry = charge.balance_transaction
    assert (entry.fee, entry.net, entry.currency, entry.exchange_rate) == (82, 1718, "eur", 0.9)


@pytest.mark.parametrize("token", sorted(CARDS))
def test_each_test_card_does_what_its_row_says(v1: Any, pay: Pay, token: str) -> None:
    card = CARDS[token]
    if card.three_d_secure == "required":
        assert pay(token).status == "requires_action"
    elif card.code:
        error = error_of(pay, token)
        assert isinstance(error, stripe.CardError)
        assert (error.code, error.error.decline_code) == (card.code, card.decline_code)
        assert error.error.payment_intent.status == "requires_payment_method"
        assert error.error.payment_intent.latest_charge == error.error.charge
        outcome = v1.charges.retrieve(error.error.charge).outcome
        blocked = card.risk == "highest"
        assert outcome.type == ("blocked" if blocked else "issuer_declined")
        network_status = "not_sent_to_network" if blocked else "declined_by_network"
        assert outcome.network_status == network_status
    else:
        assert pay(token).status == "succeeded"


def test_a_declined_intent_shows_why_and_can_be_paid_again(
    v1: Any, pay: Pay, receiver: Receiver, driver: Driver
) -> None:
    error = error_of(pay, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert (error.http_status, error.user_message) == (402, "Your card has insufficient funds.")
    intent = v1.payment_intents.retrieve(error.error.payment_intent.id)
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    charge = v1.charges.retrieve(error.error.charge)
    assert (charge.status, charge.outcome.type) == ("failed", "issuer_declined")
    receiver.wait_for("payment_intent.payment_failed", "charge.failed")
    again = {"payment_method": "pm_card_visa", "return_url": "https://example.com"}
    paid = v1.payment_intents.confirm(intent.id, again)
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert len(v1.charges.list({"payment_intent": intent.id}).data) == 2


def test_a_payment_method_without_confirm_waits_for_it(v1: Any) -> None:
    method = {"payment_method": "pm_card_visa", "automatic_payment_methods": NO_REDIRECTS}
    intent = v1.payment_intents.create({**NEW, **method})
    assert (intent.status, intent.latest_charge) == ("requires_confirmation", None)
    assert v1.payment_intents.confirm(intent.id).status == "succeeded"


def test_a_server_must_send_a_return_url_when_methods_may_redirect(v1: Any) -> None:
    method = {"payment_method": "pm_card_visa"}
    error = error_of(v1.payment_intents.create, {**NEW, **method, "confirm": True})
    assert "return_url" in str(error)
    assert error.http_status == 400
    assert v1.payment_intents.list().data == []
    intent = v1.payment_intents.create({**NEW, "allowed_payment_method_types": ["card"]})
    assert v1.payment_intents.confirm(intent.id, method).status == "succeeded"


def test_manual_capture_takes_a_part_and_releases_the_rest(v1: Any, pay: Pay) -> None:
    held, capture = pay(capture_method="manual"), v1.payment_intents.capture
    assert (held.status, held.amount_capturable) == ("requires_capture", 2000)
    too_much = error_of(capture, held.id, {"amount_to_capture": 2001})
    assert too_much.code == "amount_too_large"
    taken = capture(held.id, {"amount_to_capture": 1500, "expand": ["latest_charge"]})
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 1500, 0)
    assert taken.latest_charge.amount_captured == 1500
    assert error_of(capture, held.id).code == UNEXPECTED_STATE


@pytest.mark.parametrize("reason", REASONS)
def test_canceling_with_each_reason(v1: Any, reason: str) -> None:
    intents = v1.payment_intents
    intent = intents.create(NEW)
    canceled = intents.cancel(intent.id, {"cancellation_reason": reason})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", reason)
    for action in (intents.cancel, intents.confirm):
        error = error_of(action, intent.id)
        assert error.code == UNEXPECTED_STATE
        assert error.error.payment_intent.status == "canceled"


def test_what_can_and_cannot_be_canceled(v1: Any, pay: Pay) -> None:
    for intent in (pay(capture_method="manual"), pay("pm_card_authenticationRequired")):
        assert v1.payment_intents.cancel(intent.id).status == "canceled"
    assert error_of(v1.payment_intents.cancel, pay().id).http_status == 400


@pytest.mark.parametrize(
    ("outcome", "status", "redirect_status"),
    [("complete", "succeeded", "succeeded"), ("fail", "requires_payment_method", "failed")],
)
def test_the_banks_page_authenticates_and_sends_the_buyer_back(
    v1: Any, pay: Pay, outcome: str, status: str, redirect_status: str
) -> None:
    intent = pay("pm_card_threeDSecure2Required", return_url="https://shop.example/x?a=1")
    url = intent.next_action.redirect_to_url.url
    assert "$20.00" in requests.get(url).text
    assert requests.post(url[:-1] + "!", {"outcome": "complete"}).status_code == 404
    answer = requests.post(url, {"outcome": outcome}, allow_redirects=False)
    assert answer.headers["Location"] == (
        f"https://shop.example/x?a=1&payment_intent={intent.id}"
        f"&payment_intent_client_secret={intent.client_secret}&redirect_status={redirect_status}"
    )
    after = v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.next_action) == (status, None)
    assert requests.post(url, {"outcome": "complete"}).status_code == 404
    if outcome == "fail":
        assert after.last_payment_error.code == "payment_intent_authentication_failure"
        assert v1.charges.list({"payment_intent": intent.id}).data == []


def test_off_session_and_error_on_requires_action(pay: Pay) -> None:
    token = "pm_card_authenticationRequired"
    error = error_of(pay, token, off_session=True)
    assert (error.code, error.error.decline_code) == ("authentication_required",) * 2
    error = error_of(pay, token, error_on_requires_action=True)
    assert error.code == "authentication_required"
    assert error.error.payment_intent.status == "requires_payment_method"
    exempt = pay("pm_card_authenticationRequiredSetupForOffSession", off_session=True)
    assert exempt.status == "succeeded"


def test_manual_confirmation_is_finished_by_the_server(v1: Any, pay: Pay) -> None:
    intent = pay("pm_card_threeDSecure2Required", confirmation_method="manual")
    requests.post(intent.next_action.use_stripe_sdk["stripe_js"], {"outcome": "complete"})
    assert v1.payment_intents.retrieve(intent.id).status == "requires_confirmation"
    paid = v1.payment_intents.confirm(intent.id, {"expand": ["latest_charge"]})
    assert paid.status == "succeeded"
    card = paid.latest_charge.payment_method_details.card
    assert card.three_d_secure.result == "authenticated"


def test_three_d_secure_on_request(pay: Pay) -> None:
    on_request = {"payment_method_options": {"card": {"request_three_d_secure": "any"}}}
    intent = pay(**on_request, expand=["latest_charge"])
    card = intent.latest_charge.payment_method_details.card
    assert card.three_d_secure.result == "attempt_acknowledged"
    assert pay("pm_card_threeDSecureOptional", **on_request).status == "requires_action"


def test_update_merges_and_clears(v1: Any) -> None:
    intents, metadata = v1.payment_intents, {"a": "1", "b": "2"}
    intent = intents.create({**NEW, "metadata": metadata, "receipt_email": "a@b.example"})
    changes = {"amount": 2500, "metadata": {"a": "", "c": "3"}, "receipt_email": ""}
    after = intents.update(intent.id, changes)
    assert (after.amount, after.metadata.to_dict()) == (2500, {"b": "2", "c": "3"})
    assert after.receipt_email is None
    assert intents.update(intent.id, {"metadata": ""}).metadata.to_dict() == {}


def test_a_paid_intent_takes_a_description_but_no_other_amount(v1: Any, pay: Pay) -> None:
    intent, update = pay(), v1.payment_intents.update
    assert update(intent.id, {"description": "x"}).description == "x"
    assert error_of(update, intent.id, {"amount": 3000}).code == UNEXPECTED_STATE


def test_only_one_of_many_concurrent_confirms_charges(v1: Any) -> None:
    intent = v1.payment_intents.create({**NEW, "allowed_payment_method_types": ["card"]})

    def confirm(_: int) -> str:
        try:
            return v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status
        except stripe.InvalidRequestError as error:
            return str(error.code)

    with ThreadPoolExecutor(8) as pool:
        results = sorted(pool.map(confirm, range(8)))
    assert results == [UNEXPECTED_STATE] * 7 + ["succeeded"]
    assert len(v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_two_processes_may_share_a_store(v1: Any, root: str, store: Path) -> None:
    intent = v1.payment_intents.create(NEW)
    with served_sandbox(store) as (_, other_root, _), ThreadPoolExecutor(8) as pool:

        def update(number: int) -> None:
            # Without an idempotency key, so that reading comes before writing.
            url = f"{(root, other_root)[number % 2]}/v1/payment_intents/{intent.id}"
            requests.post(url, {f"metadata[key{number}]": "set"}, headers=BEARER)

        list(pool.map(update, range(40)))
    assert len(v1.payment_intents.retrieve(intent.id).metadata.to_dict()) == 40
