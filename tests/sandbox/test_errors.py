"""Stripe's errors: parameters, keys, unknown things, idempotency."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tmt.sandbox import Sandbox
from tmt.sandbox.objects import API_VERSION

from .conftest import PUBLISHABLE_KEY, SECRET_KEY, Pay, refused, serve, until

NEW = {"amount": "2000", "currency": "usd"}


def post(root: str, path: str, data: Any, key: str = SECRET_KEY, **headers: str) -> Any:
    headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION, **headers}
    return requests.post(f"{root}/v1/{path}", data, headers=headers)


WRONG = [
    ({"amount": "2000"}, "parameter_missing", "currency"),
    ({**NEW, "colour": "red"}, "parameter_unknown", "colour"),
    ({**NEW, "amount": "20.5"}, "parameter_invalid_integer", "amount"),
    ({**NEW, "amount": "-5"}, "parameter_invalid_integer", "amount"),
    ({**NEW, "amount": ""}, "parameter_invalid_empty", "amount"),
    ({**NEW, "amount": "49"}, "amount_too_small", "amount"),
    ({"amount": "49", "currency": "jpy"}, "amount_too_small", "amount"),
    ({**NEW, "amount": "100000000"}, "amount_too_large", "amount"),
    ({**NEW, "currency": "xxx"}, None, "currency"),
    ({**NEW, "confirm": "yes"}, None, "confirm"),
    ({**NEW, "capture_method": "never"}, None, "capture_method"),
    ({**NEW, "metadata": "text"}, None, "metadata"),
    ({**NEW, "metadata[" + "k" * 41 + "]": "v"}, None, "metadata"),
    ({**NEW, "off_session": "true"}, None, "off_session"),
    (
        {**NEW, "automatic_payment_methods[on]": "1"},
        "parameter_unknown",
        "automatic_payment_methods[on]",
    ),
    (
        {**NEW, "payment_method_types[0]": "card"},
        "payment_method_types_no_longer_supported",
        "payment_method_types",
    ),
    ({**NEW, "customer": "cus_none"}, "resource_missing", "customer"),
    ({**NEW, "payment_method": "pm_none"}, "resource_missing", "payment_method"),
    ({**NEW, "excluded_payment_method_types[0]": "card"}, None, "excluded_payment_method_types"),
]


@pytest.mark.parametrize(("data", "code", "param"), WRONG)
def test_wrong_parameters(root: str, data: Any, code: str | None, param: str) -> None:
    answer = post(root, "payment_intents", data)
    error = answer.json()["error"]
    assert answer.status_code == (404 if code == "resource_missing" else 400)
    assert (error["type"], error.get("code"), error["param"]) == (
        "invalid_request_error",
        code,
        param,
    )


@pytest.mark.parametrize("name", ["a[b", "a]b", "[a]", "a[b]c", ""])
def test_malformed_names_of_parameters(root: str, name: str) -> None:
    assert post(root, "payment_intents", {**NEW, name: "1"}).status_code == 400


def test_unknown_objects_and_urls(client: stripe.StripeClient, root: str) -> None:
    error: Any = refused(lambda: client.v1.payment_intents.retrieve("pi_x"))
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
    answer = requests.get(
        f"{root}/v1/payment_intents", headers={"Authorization": f"Bearer {key}"} if key else {}
    )
    assert answer.status_code == status
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"]


def test_a_browser_sees_little_and_only_with_the_client_secret(
    root: str, client: stripe.StripeClient
) -> None:
    given: Any = {"amount": 2000, "currency": "usd", "metadata": {"name": "Ana"}}
    intent = client.v1.payment_intents.create(given)
    url = f"{root}/v1/payment_intents/{intent.id}"
    headers = {"Authorization": f"Bearer {PUBLISHABLE_KEY}"}
    seen = requests.get(url, {"client_secret": intent.client_secret}, headers=headers)
    assert seen.headers["Access-Control-Allow-Origin"] == "*"
    assert seen.json()["status"] == "requires_payment_method"
    assert not {"metadata", "customer", "latest_charge", "amount_received"} & set(seen.json())
    for params in ({}, {"client_secret": intent.client_secret + "x"}):
        wrong = requests.get(url, params, headers=headers)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "client_secret")
    preflight = requests.options(url)
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]


def test_card_numbers_come_from_browsers_only(root: str, client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    typed = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2034", "cvc": "123"}
    data = {f"payment_method_data[card][{name}]": value for name, value in typed.items()}
    data |= {"payment_method_data[type]": "card", "client_secret": str(intent.client_secret)}
    path = f"payment_intents/{intent.id}/confirm"
    assert post(root, path, data).status_code == 402
    wrong = {**data, "payment_method_data[card][number]": "4242424242424241"}
    error = post(root, path, wrong, PUBLISHABLE_KEY).json()["error"]
    assert error["code"] == "incorrect_number"
    unknown = {**data, "payment_method_data[card][number]": "4000000000000010"}
    error = post(root, path, unknown, PUBLISHABLE_KEY).json()["error"]
    assert error["decline_code"] == "test_mode_live_card"
    past = {**data, "payment_method_data[card][exp_year]": "20"}
    error = post(root, path, past, PUBLISHABLE_KEY).json()["error"]
    assert error["code"] == "invalid_expiry_year"
    assert post(root, path, data, PUBLISHABLE_KEY).json()["status"] == "succeeded"


def test_refunds_in_parts_until_nothing_is_left(client: stripe.StripeClient, pay: Pay) -> None:
    intent = pay()
    refunds = client.v1.refunds
    part = refunds.create({"payment_intent": intent.id, "amount": 1500})
    assert (part.status, part.amount, part.charge) == ("succeeded", 1500, intent.latest_charge)
    error = refused(lambda: refunds.create({"payment_intent": intent.id, "amount": 501}))
    assert "greater than unrefunded amount on charge ($5.00)" in str(error)
    assert refunds.create({"charge": str(intent.latest_charge)}).amount == 500
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    error = refused(lambda: refunds.create({"payment_intent": intent.id}))
    assert error.code == "charge_already_refunded"
    assert len(refunds.list({"payment_intent": intent.id}).data) == 2


def test_refund_cards_and_unpaid_intents(client: stripe.StripeClient, pay: Pay) -> None:
    pending = client.v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    assert (pending.status, pending.pending_reason) == ("pending", "processing")
    held = pay(capture_method="manual")
    assert refused(lambda: client.v1.refunds.create({"payment_intent": held.id})).http_status == 400


def test_the_same_key_gives_the_same_answer_even_after_a_restart(
    box: Sandbox, store: Path, root: str
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = post(root, "payment_intents", NEW, **headers)
    assert "Idempotent-Replayed" not in first.headers
    box.close()
    again = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY)
    served = serve(again.wsgi)
    second = post(served.url, "payment_intents", NEW, **headers)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.text) == (first.status_code, first.text)
    other = post(served.url, "payment_intents", {**NEW, "amount": "9999"}, **headers)
    assert other.status_code == 400
    assert other.json()["error"]["type"] == "idempotency_error"
    served.stop()
    again.close()


def test_declines_are_replayed_and_validation_failures_are_not(root: str) -> None:
    declined = {
        **NEW,
        "confirm": "true",
        "payment_method": "pm_card_visa_chargeDeclined",
        "allowed_payment_method_types[0]": "card",
    }
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


def test_older_versions_still_name_payment_method_types(root: str) -> None:
    data = {**NEW, "payment_method_types[0]": "card"}
    older = {"Stripe-Version": "2026-03-25.dahlia"}
    assert post(root, "payment_intents", data, **older).json()["payment_method_types"] == ["card"]
    assert post(root, "payment_intents", data).status_code == 400


def test_a_key_in_use_is_refused(root: str, store: Path) -> None:
    headers = {"Idempotency-Key": "busy"}
    blocker = sqlite3.connect(store, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answers: list[Any] = []

    def create() -> None:
        answers.append(post(root, "payment_intents", NEW, **headers))

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


def test_other_machines_are_refused(store: Path, tmp_path: Path) -> None:
    for local_only, status in ((True, "403 FORBIDDEN"), (False, "200 OK")):
        box = Sandbox(
            tmp_path / f"{local_only}.sqlite", SECRET_KEY, PUBLISHABLE_KEY, local_only=local_only
        )
        client = box.wsgi.test_client()
        answer = client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"})
        assert answer.status == status
        box.close()
