"""Stripe's errors: parameters, keys, unknown objects, idempotency."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from tmt.sandbox import Sandbox
from tmt.sandbox.objects import API_VERSION

from .conftest import PUBLISHABLE_KEY, SECRET_KEY, error_of, served_sandbox, until

NEW = {"amount": "2000", "currency": "usd"}


def post(root: str, path: str, data: Any, key: str = SECRET_KEY, **headers: str) -> Any:
    headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION, **headers}
    return requests.post(f"{root}/v1/{path}", data, headers=headers)


WRONG = [
    ({"amount": None}, "parameter_missing", "amount"),
    ({"colour": "red"}, "parameter_unknown", "colour"),
    ({"amount": "20.5"}, "parameter_invalid_integer", "amount"),
    ({"amount": "-5"}, "parameter_invalid_integer", "amount"),
    ({"amount": ""}, "parameter_invalid_empty", "amount"),
    ({"amount": "49"}, "amount_too_small", "amount"),
    ({"amount": "49", "currency": "jpy"}, "amount_too_small", "amount"),
    ({"amount": "100000000"}, "amount_too_large", "amount"),
    ({"currency": "xxx"}, None, "currency"),
    ({"confirm": "yes"}, None, "confirm"),
    ({"capture_method": "never"}, None, "capture_method"),
    ({"metadata": "text"}, None, "metadata"),
    ({"metadata[" + "k" * 41 + "]": "v"}, None, "metadata"),
    ({"off_session": "true"}, None, "off_session"),
    ({"shipping[name]": "Ana"}, "parameter_missing", "shipping[address]"),
    ({"automatic_payment_methods[on]": "1"}, "parameter_unknown", "automatic_payment_methods[on]"),
    (
        {"payment_method_types[0]": "card"},
        "payment_method_types_no_longer_supported",
        "payment_method_types",
    ),
    ({"customer": "cus_none"}, "resource_missing", "customer"),
    ({"payment_method": "pm_none"}, "resource_missing", "payment_method"),
    ({"excluded_payment_method_types[0]": "card"}, None, "excluded_payment_method_types"),
    ({"receipt_email": "ana"}, "email_invalid", "receipt_email"),
    ({"on_behalf_of": "acct_1"}, None, "on_behalf_of"),
    ({"transfer_data[destination]": "acct_1"}, None, "transfer_data"),
    ({"application_fee_amount": "5"}, None, "application_fee_amount"),
    ({"payment_details": "text"}, None, "payment_details"),
    ({"payment_method_options[card]": "text"}, None, "payment_method_options[card]"),
    (
        {"payment_method_options[card][capture_method]": "automatic"},
        None,
        "payment_method_options[card][capture_method]",
    ),
    (
        {"amount_details[line_items][0][quantity]": "1"},
        "parameter_missing",
        "amount_details[line_items][0][product_name]",
    ),
    ({"excluded_payment_method_types[a]": "card"}, None, "excluded_payment_method_types"),
]


@pytest.mark.parametrize(("data", "code", "param"), WRONG)
def test_wrong_parameters(root: str, data: Any, code: str | None, param: str) -> None:
    answer = post(root, "payment_intents", {**NEW, **data})
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert (error.get("code"), error["param"]) == (code, param)


@pytest.mark.parametrize("name", ["a[b", "a]b", "[a]", "a[b]c", ""])
def test_malformed_names_of_parameters(root: str, name: str) -> None:
    assert post(root, "payment_intents", {**NEW, name: "1"}).status_code == 400


def test_unknown_objects_and_urls(v1: Any, root: str) -> None:
    error = error_of(v1.payment_intents.retrieve, "pi_x")
    assert error.user_message == "No such payment_intent: 'pi_x'"
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "intent")
    for path in ("xyz", "payment_intents/", "payment_intents/a/b/c"):
        answer = post(root, path, {})
        assert answer.status_code == 404
        message = f"Unrecognized request URL (POST: /v1/{path}). "
        assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("sk_test_wrong", 401), (PUBLISHABLE_KEY, 403)]
)
def test_keys(root: str, key: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = requests.get(f"{root}/v1/payment_intents", headers=headers)
    assert answer.status_code == status
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"]


def test_a_browser_sees_little_and_only_with_the_client_secret(root: str, intent: Any) -> None:
    url = f"{root}/v1/payment_intents/{intent.id}"
    headers = {"Authorization": f"Bearer {PUBLISHABLE_KEY}"}
    answer = requests.get(url, {"client_secret": intent.client_secret}, headers=headers)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json()["status"] == "requires_payment_method"
    assert not {"metadata", "customer", "latest_charge", "amount_received"} & set(answer.json())
    for params in ({}, {"client_secret": intent.client_secret + "x"}):
        wrong = requests.get(url, params, headers=headers)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "client_secret")
    preflight = requests.options(url)
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]


def test_card_numbers_come_from_browsers_only(root: str, intent: Any) -> None:
    card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2034", "cvc": "123"}

    def confirm(key: str, **changes: str) -> Any:
        values = {**card, **changes}
        data = {f"payment_method_data[card][{name}]": value for name, value in values.items()}
        data |= {"payment_method_data[type]": "card", "client_secret": intent.client_secret}
        return post(root, f"payment_intents/{intent.id}/confirm", data, key)

    assert confirm(SECRET_KEY).status_code == 402
    for changes, field, code in (
        ({"number": "4242424242424241"}, "code", "incorrect_number"),
        ({"number": "4111111111111111"}, "decline_code", "test_mode_live_card"),
        ({"exp_year": "20"}, "code", "invalid_expiry_year"),
    ):
        assert confirm(PUBLISHABLE_KEY, **changes).json()["error"][field] == code
    assert confirm(PUBLISHABLE_KEY).json()["status"] == "succeeded"


def test_the_same_key_gets_the_same_answer_even_after_a_restart(
    box: Sandbox, store: Path, root: str
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = post(root, "payment_intents", NEW, **headers)
    assert "Idempotent-Replayed" not in first.headers
    box.close()
    with served_sandbox(store) as (_, url, _):
        second = post(url, "payment_intents", NEW, **headers)
        other = post(url, "payment_intents", {**NEW, "amount": "9999"}, **headers)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.text) == (first.status_code, first.text)
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")


def test_declines_are_replayed_and_validation_failures_are_not(root: str) -> None:
    declined = {**NEW, "confirm": "true", "payment_method": "pm_card_visa_chargeDeclined"}
    declined["allowed_payment_method_types[0]"] = "card"
    answers = [post(root, "payment_intents", declined, **{"Idempotency-Key": "k"}) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [402, 402]
    assert answers[0].text == answers[1].text
    headers = {"Idempotency-Key": "fresh"}
    assert post(root, "payment_intents", {**NEW, "amount": "1"}, **headers).status_code == 400
    assert post(root, "payment_intents", NEW, **headers).status_code == 200


def test_a_failure_of_the_sandbox_itself_is_replayed_too(root: str, store: Path) -> None:
    id = post(root, "payment_intents", NEW).json()["id"]
    with sqlite3.connect(store) as database:
        database.execute("UPDATE objects SET body = '{}' WHERE id = ?", (id,))
    database.close()
    headers = {"Idempotency-Key": "broken"}
    answers = [post(root, f"payment_intents/{id}", {"amount": "5"}, **headers) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [500, 500]
    assert answers[0].json()["error"]["type"] == "api_error"
    assert answers[1].headers["Idempotent-Replayed"] == "true"


def test_older_versions_still_take_payment_method_types(root: str) -> None:
    data = {**NEW, "payment_method_types[0]": "card"}
    older = {"Stripe-Version": "2026-03-25.dahlia"}
    assert post(root, "payment_intents", data, **older).json()["payment_method_types"] == ["card"]
    assert post(root, "payment_intents", data).status_code == 400


def test_a_key_in_use_is_refused(root: str, store: Path) -> None:
    blocker = sqlite3.connect(store, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answers: list[Any] = []

    def create() -> None:
        answers.append(post(root, "payment_intents", NEW, **{"Idempotency-Key": "busy"}))

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) == 1)
    finally:
        blocker.close()
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [409, 200]
    assert answers[0].json()["error"]["code"] == "idempotency_key_in_use"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, 200),
        ({"HTTP_HOST": "shop.localhost:5000"}, 200),
        ({"HTTP_HOST": "[::1]:5000"}, 200),
        ({"REMOTE_ADDR": "192.0.2.7"}, 403),
        ({"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, 400),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, 400),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, 400),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        ({"HTTP_HOST": "rebound.example"}, 400),
        ({"HTTP_HOST": "[::1"}, 400),
    ],
)
def test_only_this_machine_is_served(store: Path, changed: dict[str, str], status: int) -> None:
    """A page that rebinds its name, and whoever comes through a proxy on this machine, are not."""
    for local_only in (True, False):
        box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, local_only=local_only)
        base = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:5000"} | changed
        answer = box.wsgi.test_client().get("/", environ_overrides=base)
        assert answer.status_code == (status if local_only else 200)
        box.close()
