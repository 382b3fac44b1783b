"""A single card payment through the official SDK: every state and every card."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tmt.sandbox import Sandbox
from tmt.sandbox.simulated_methods import all_cards

from .conftest import (
    NO_REDIRECTS,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    Pay,
    Receiver,
    refused,
    serve,
)

NEW: Any = {"amount": 2000, "currency": "usd"}


def test_a_payment_succeeds_and_reaches_the_balance_a_little_later(
    client: stripe.StripeClient, pay: Pay
) -> None:
    intent = pay(expand=["latest_charge"])
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert intent.latest_charge.balance_transaction is None
    path: Any = {"expand": ["latest_charge.balance_transaction"]}
    charge: Any = client.v1.payment_intents.retrieve(intent.id, path).latest_charge
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (88, 1912)


def test_ids_and_secrets_look_like_stripes(pay: Pay) -> None:
    intent = pay()
    assert intent.id.startswith("pi_3")
    assert str(intent.latest_charge).startswith("ch_3")
    start, _, secret = str(intent.client_secret).partition("_secret_")
    assert start == intent.id
    assert len(secret) >= 22


CARDS = {token: card for card in all_cards() for token in card.tokens.split()}


@pytest.mark.parametrize("token", sorted(CARDS))
def test_each_test_card_does_what_its_row_says(pay: Pay, token: str) -> None:
    card = CARDS[token]
    if card.three_d_secure == "required":
        assert pay(token).status == "requires_action"
    elif card.code:
        error = refused(lambda: pay(token))
        assert isinstance(error, stripe.CardError)
        assert error.error is not None
        assert (error.code, error.error.decline_code) == (card.code, card.decline_code)
        assert error.error.payment_intent.status == "requires_payment_method"
        assert error.error.payment_intent.latest_charge == error.error.charge
    else:
        assert pay(token).status == "succeeded"


def test_a_declined_intent_remembers_why_and_can_be_paid_again(
    client: stripe.StripeClient, pay: Pay, receiver: Receiver, box: Any
) -> None:
    box.start()
    error: Any = refused(lambda: pay("pm_card_visa_chargeDeclinedInsufficientFunds"))
    assert (error.http_status, error.user_message) == (402, "Your card has insufficient funds.")
    intent = client.v1.payment_intents.retrieve(error.error.payment_intent.id)
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    charge = client.v1.charges.retrieve(error.error.charge)
    assert charge.outcome is not None
    assert (charge.status, charge.outcome.type) == ("failed", "issuer_declined")
    receiver.wait_for("payment_intent.payment_failed", "charge.failed")
    again: Any = {"payment_method": "pm_card_visa", "return_url": "https://example.com"}
    paid = client.v1.payment_intents.confirm(intent.id, again)
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 2


def test_radar_blocks_before_the_bank_is_asked(client: stripe.StripeClient, pay: Pay) -> None:
    error: Any = refused(lambda: pay("pm_card_radarBlock"))
    outcome: Any = client.v1.charges.retrieve(error.error.charge).outcome
    assert (outcome.type, outcome.network_status) == ("blocked", "not_sent_to_network")


def test_a_payment_method_without_confirm_waits_for_it(client: stripe.StripeClient) -> None:
    given = {**NEW, "payment_method": "pm_card_visa", "automatic_payment_methods": NO_REDIRECTS}
    intent = client.v1.payment_intents.create(given)
    assert (intent.status, intent.latest_charge) == ("requires_confirmation", None)
    assert client.v1.payment_intents.confirm(intent.id).status == "succeeded"


def test_server_side_confirm_wants_a_return_url_when_methods_may_redirect(
    client: stripe.StripeClient,
) -> None:
    given = {**NEW, "confirm": True, "payment_method": "pm_card_visa"}
    error = refused(lambda: client.v1.payment_intents.create(given))
    assert "return_url" in str(error)
    assert error.http_status == 400
    assert client.v1.payment_intents.list().data == []
    del given["confirm"]
    del given["payment_method"]
    only_cards = {**given, "allowed_payment_method_types": ["card"]}
    intent = client.v1.payment_intents.create(only_cards)
    confirm: Any = {"payment_method": "pm_card_visa"}
    assert client.v1.payment_intents.confirm(intent.id, confirm).status == "succeeded"


def test_manual_capture_holds_takes_a_part_and_releases_the_rest(
    client: stripe.StripeClient, pay: Pay
) -> None:
    held = pay(capture_method="manual")
    assert (held.status, held.amount_capturable) == ("requires_capture", 2000)
    too_much = refused(
        lambda: client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2001})
    )
    assert too_much.code == "amount_too_large"
    taken: Any = client.v1.payment_intents.capture(
        held.id, {"amount_to_capture": 1500, "expand": ["latest_charge"]}
    )
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 1500, 0)
    assert taken.latest_charge.amount_captured == 1500
    again = refused(lambda: client.v1.payment_intents.capture(held.id))
    assert again.code == "payment_intent_unexpected_state"


REASONS = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"]


@pytest.mark.parametrize("reason", REASONS)
def test_canceling_with_each_reason(client: stripe.StripeClient, reason: Any) -> None:
    intent = client.v1.payment_intents.create(NEW)
    gone = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": reason})
    assert (gone.status, gone.cancellation_reason) == ("canceled", reason)
    for action in (client.v1.payment_intents.cancel, client.v1.payment_intents.confirm):
        error: Any = refused(lambda action=action: action(intent.id))
        assert error.code == "payment_intent_unexpected_state"
        assert error.error.payment_intent.status == "canceled"


def test_what_can_and_cannot_be_canceled(client: stripe.StripeClient, pay: Pay) -> None:
    held = pay(capture_method="manual")
    challenged = pay("pm_card_authenticationRequired")
    for intent in (held, challenged):
        assert client.v1.payment_intents.cancel(intent.id).status == "canceled"
    assert refused(lambda: client.v1.payment_intents.cancel(pay().id)).http_status == 400


def test_a_page_asks_for_three_d_secure_and_sends_the_buyer_back(
    client: stripe.StripeClient, pay: Pay
) -> None:
    for outcome, status in (("complete", "succeeded"), ("fail", "requires_payment_method")):
        intent: Any = pay("pm_card_threeDSecure2Required", return_url="https://shop.example/x?a=1")
        url = intent.next_action.redirect_to_url.url
        assert "$20.00" in requests.get(url).text
        answer = requests.post(url, {"outcome": outcome}, allow_redirects=False)
        word = "succeeded" if outcome == "complete" else "failed"
        assert answer.headers["Location"] == (
            f"https://shop.example/x?a=1&payment_intent={intent.id}"
            f"&payment_intent_client_secret={intent.client_secret}&redirect_status={word}"
        )
        after = client.v1.payment_intents.retrieve(intent.id)
        assert (after.status, after.next_action) == (status, None)
        assert requests.post(url, {"outcome": "complete"}).status_code == 404
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert client.v1.charges.list({"payment_intent": intent.id}).data == []


def test_a_challenge_needs_its_secret(pay: Pay) -> None:
    intent: Any = pay("pm_card_authenticationRequired")
    url = intent.next_action.use_stripe_sdk["stripe_js"]
    assert requests.post(url[:-1] + "!", {"outcome": "complete"}).status_code == 404


def test_off_session_and_error_on_requires_action(pay: Pay) -> None:
    token = "pm_card_authenticationRequired"
    error: Any = refused(lambda: pay(token, off_session=True))
    assert (error.code, error.error.decline_code) == ("authentication_required",) * 2
    error = refused(lambda: pay(token, error_on_requires_action=True))
    assert error.code == "authentication_required"
    assert error.error.payment_intent.status == "requires_payment_method"
    assert pay("pm_card_authenticationRequiredSetupForOffSession", off_session=True).status == (
        "succeeded"
    )


def test_manual_confirmation_is_finished_by_the_server(
    client: stripe.StripeClient, pay: Pay
) -> None:
    intent: Any = pay("pm_card_threeDSecure2Required", confirmation_method="manual")
    requests.post(intent.next_action.use_stripe_sdk["stripe_js"], {"outcome": "complete"})
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_confirmation"
    paid: Any = client.v1.payment_intents.confirm(intent.id, {"expand": ["latest_charge"]})
    assert paid.status == "succeeded"
    secure = paid.latest_charge.payment_method_details.card.three_d_secure
    assert secure.result == "authenticated"


@pytest.mark.parametrize(
    ("token", "result"),
    [("pm_card_visa", "attempt_acknowledged"), ("pm_card_threeDSecureOptional", None)],
)
def test_three_d_secure_on_request(pay: Pay, token: str, result: str | None) -> None:
    options = {"card": {"request_three_d_secure": "any"}}
    intent: Any = pay(token, payment_method_options=options, expand=["latest_charge"])
    if result is None:
        assert intent.status == "requires_action"
    else:
        assert intent.latest_charge.payment_method_details.card.three_d_secure.result == result


def test_update_merges_and_unsets(client: stripe.StripeClient) -> None:
    v1 = client.v1.payment_intents
    intent = v1.create({**NEW, "metadata": {"a": "1", "b": "2"}, "receipt_email": "a@b.example"})
    given: Any = {"amount": 2500, "metadata": {"a": "", "c": "3"}, "receipt_email": ""}
    after = v1.update(intent.id, given)
    assert (after.amount, after.metadata.to_dict()) == (2500, {"b": "2", "c": "3"})
    assert after.receipt_email is None
    assert v1.update(intent.id, {"metadata": ""}).metadata.to_dict() == {}


def test_a_paid_intent_takes_a_description_but_no_other_amount(
    client: stripe.StripeClient, pay: Pay
) -> None:
    intent = pay()
    assert client.v1.payment_intents.update(intent.id, {"description": "x"}).description == "x"
    error = refused(lambda: client.v1.payment_intents.update(intent.id, {"amount": 3000}))
    assert error.code == "payment_intent_unexpected_state"


def test_only_one_of_many_concurrent_confirms_charges(client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create({**NEW, "allowed_payment_method_types": ["card"]})
    confirm: Any = {"payment_method": "pm_card_visa"}

    def attempt(_: int) -> str | None:
        try:
            return client.v1.payment_intents.confirm(intent.id, confirm).status
        except stripe.InvalidRequestError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = sorted(str(result) for result in pool.map(attempt, range(8)))
    assert results == ["payment_intent_unexpected_state"] * 7 + ["succeeded"]
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_two_processes_may_share_a_store(
    client: stripe.StripeClient, root: str, store: Path
) -> None:
    other = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY)
    served = serve(other.wsgi)
    intent = client.v1.payment_intents.create(NEW)

    def update(number: int) -> None:
        # Without an idempotency key, so that reading comes before writing.
        path = f"{(root, served.url)[number % 2]}/v1/payment_intents/{intent.id}"
        headers = {"Authorization": f"Bearer {SECRET_KEY}"}
        requests.post(path, {f"metadata[key{number}]": "set"}, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(update, range(40)))
    assert len(client.v1.payment_intents.retrieve(intent.id).metadata.to_dict()) == 40
    served.stop()
    other.close()


def test_lists_page_forward_and_back(client: stripe.StripeClient) -> None:
    v1 = client.v1.payment_intents
    ids = [v1.create({**NEW, "amount": 1000 + n}).id for n in range(5)][::-1]
    assert [i.id for i in v1.list({"limit": 2}).auto_paging_iter()] == ids
    back = v1.list({"limit": 2, "ending_before": ids[3]})
    assert ([i.id for i in back.data], back.has_more) == (ids[1:3], True)
    assert v1.list({"created": {"lt": 1}}).data == []
    assert len(v1.list({"created": {"gte": 1}}).data) == 5
    error: Any = refused(lambda: v1.list({"starting_after": "pi_none"}))
    assert (error.http_status, error.param) == (404, "starting_after")


def test_expanding(client: stripe.StripeClient, pay: Pay) -> None:
    pay()
    path: Any = {"expand": ["data.latest_charge.balance_transaction", "data.payment_method"]}
    listed: Any = client.v1.payment_intents.list(path).data[0]
    assert listed.latest_charge.balance_transaction.object == "balance_transaction"
    assert listed.payment_method.card.last4 == "4242"
    charge: Any = client.v1.charges.list({"expand": ["data.payment_intent"]}).data[0]
    assert charge.payment_intent.id == listed.id
    error = refused(lambda: client.v1.charges.list({"expand": ["data.nothing"]}))
    assert "cannot be expanded" in str(error)
