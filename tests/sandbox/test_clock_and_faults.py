"""The sandbox's clock, and every kind of trouble that can be ordered."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest
import requests
import stripe

from tmt.sandbox import Endpoint, Sandbox
from tmt.sandbox.console import parse_duration

from .conftest import PUBLISHABLE_KEY, SECRET_KEY, SIGNING_SECRET, Pay, Receiver, refused, serve
from .driver import Driver

NEW: Any = {"amount": 2000, "currency": "usd"}


def test_the_clock_moves_on_over_http(root: str, box: Sandbox) -> None:
    bearer = {"Authorization": f"Bearer {SECRET_KEY}"}
    before = requests.get(f"{root}/clock").json()
    assert before["ahead"] == 0
    assert requests.post(f"{root}/clock", json={"advance": "5d"}).status_code == 403
    after = requests.post(f"{root}/clock", json={"advance": "5d"}, headers=bearer).json()
    assert 5 * 86400 <= after["ahead"] < 5 * 86400 + 1
    assert box.ahead() == after["ahead"]
    assert (
        requests.post(f"{root}/clock", json={"advance": "soon"}, headers=bearer).status_code == 400
    )
    assert "days ahead" in requests.get(f"{root}/clock", headers={"Accept": "text/html"}).text
    assert [parse_duration(text) for text in ("2w", "1.5h", "7")] == [14 * 86400, 5400, 7]


def test_what_is_due_happens_in_its_order_and_at_its_time(
    client: stripe.StripeClient, driver: Driver, pay: Pay
) -> None:
    held = pay(capture_method="manual")
    client.v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    driver.advance(days=30 - 7)
    types = ["payment_intent.canceled", "refund.updated", "payout.created", "payout.paid"]
    events = client.v1.events.list({"types": types, "limit": 100}).data[::-1]  # type: ignore[typeddict-item]
    told = [event.created for event in events]
    assert told == sorted(told)
    canceled = next(event for event in events if event.type == "payment_intent.canceled")
    assert canceled.created == held.created + 7 * 86400


def test_a_laptop_that_slept_catches_up_in_order(
    client: stripe.StripeClient, driver: Driver, pay: Pay
) -> None:
    held = pay(capture_method="manual")
    refund = client.v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    driver.box._store.move_clock(10 * 86400)
    types = ["payment_intent.canceled", "refund.updated"]
    last, first = client.v1.events.list({"types": types}).data  # type: ignore[typeddict-item]
    assert (first.type, first.created) == ("refund.updated", refund.created + 3 * 86400)
    assert last.created == held.created + 7 * 86400


def test_the_clock_survives_and_old_events_are_forgotten(
    client: stripe.StripeClient, driver: Driver, store: Any
) -> None:
    intent = client.v1.payment_intents.create(NEW)
    event = client.v1.events.list().data[0]
    driver.advance(days=31)
    assert client.v1.events.list({"type": "payment_intent.created"}).data == []
    assert refused(lambda: client.v1.events.retrieve(event.id)).http_status == 404
    again = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY)
    assert again.ahead() > 31 * 86400 - 1
    again.close()
    assert client.v1.payment_intents.create(NEW).created >= intent.created + 31 * 86400


def test_keys_are_forgotten_after_a_day_of_the_sandbox(
    client: stripe.StripeClient, driver: Driver
) -> None:
    key: Any = {"idempotency_key": "same"}
    first = client.v1.payment_intents.create(NEW, key).id
    assert client.v1.payment_intents.create(NEW, key).id == first
    driver.advance(hours=25)
    assert client.v1.payment_intents.create(NEW, key).id != first


@pytest.fixture
def unheard(store: Any, receiver: Receiver) -> Any:
    """A sandbox whose endpoint refuses everything, with retries for three days."""
    receiver.statuses = [500] * 1000
    endpoint = Endpoint(receiver.url, SIGNING_SECRET)
    box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, [endpoint])
    served = serve(box.wsgi)
    box.start()
    yield Driver(box), stripe.StripeClient(SECRET_KEY, base_addresses={"api": served.url})
    served.stop()
    box.close()


def test_events_are_retried_for_three_days_then_the_endpoint_is_disabled(
    unheard: Any, receiver: Receiver
) -> None:
    driver, client = unheard
    client.v1.payment_intents.create(NEW)
    receiver.wait_count(1)
    driver.advance(days=2)
    assert 6 <= len(receiver.events) <= 9
    stamps = [int(line[2:].partition(",")[0]) for line in receiver.signatures]
    gaps = [after - before for before, after in pairwise(stamps)]
    assert gaps == sorted(gaps)
    driver.advance(days=2)
    assert client.v1.webhook_endpoints.list().data[0].status == "enabled"
    client.v1.payment_intents.create(NEW)
    driver.advance(hours=1)
    assert client.v1.webhook_endpoints.list().data[0].status == "disabled"


@pytest.mark.parametrize(("status", "again"), [(429, 200), (500, 500), (502, 200)])
def test_answers_that_are_no_answers(root: str, driver: Driver, status: int, again: int) -> None:
    driver.refuse("POST /v1/payment_intents", status)
    headers = {"Authorization": f"Bearer {SECRET_KEY}", "Idempotency-Key": "k"}
    url = f"{root}/v1/payment_intents"
    assert requests.get(url, headers=headers).status_code == 200
    first, second = (requests.post(url, NEW, headers=headers) for _ in "ab")
    assert (first.status_code, second.status_code) == (status, again)
    assert (second.headers.get("Idempotent-Replayed") == "true") == (again == 500)
    assert len(requests.get(url, headers=headers).json()["data"]) == (again == 200)


def test_lines_that_are_cut_before_and_after(client: stripe.StripeClient, driver: Driver) -> None:
    v1 = client.v1.payment_intents
    driver.cut("POST /v1/payment_intents")
    driver.hang("POST /v1/payment_intents", 0.1)
    for expected in (0, 0):
        assert isinstance(refused(lambda: v1.create(NEW)), stripe.APIConnectionError)
        assert len(v1.list().data) == expected
    driver.lose_answer("POST /v1/payment_intents")
    key: Any = {"idempotency_key": "once"}
    assert isinstance(refused(lambda: v1.create(NEW, key)), stripe.APIConnectionError)
    assert v1.create(NEW, key).id == v1.list().data[0].id
    assert len(v1.list().data) == 1


def test_a_share_of_the_calls(client: stripe.StripeClient, driver: Driver) -> None:
    driver.box.faults.arm("429", "GET /v1/*", times=None, share=0.5)
    answers = set()
    for _ in range(40):
        try:
            answers.add(client.v1.payment_intents.list().object)
        except stripe.RateLimitError:
            answers.add("refused")
    assert answers == {"list", "refused"}
    driver.calm()
    assert driver.box.faults.armed() == []


def test_webhooks_dropped_doubled_and_late(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    driver.drop_webhooks("customer.*", times=1)
    driver.double_webhooks("customer.updated")
    driver.delay_webhooks("customer.deleted", hours=1)
    customer = client.v1.customers.create().id
    client.v1.customers.update(customer, {"name": "Ana"})
    client.v1.customers.delete(customer)
    receiver.wait_count(2)
    driver.deliver()
    assert receiver.types() == ["customer.updated"] * 2
    driver.advance(hours=1)
    assert receiver.types()[-1] == "customer.deleted"
    assert len(client.v1.events.list({"delivery_success": False}).data) == 1


def test_webhooks_out_of_order_and_before_the_answer(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    driver.reorder_webhooks("customer.created")
    customer = client.v1.customers.create().id
    client.v1.customers.update(customer, {"name": "Ana"})
    receiver.wait_for("customer.created")
    assert receiver.types() == ["customer.updated", "customer.created"]
    driver.deliver_early("POST /v1/customers")
    driver.lose_answer("POST /v1/customers")
    refused(lambda: client.v1.customers.create({"name": "Bea"}))
    assert receiver.types()[-1] == "customer.created"
    assert len(receiver.types()) == 3


def test_webhooks_signed_wrongly_are_noticed(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    driver.forge_webhooks()
    driver.sign_with_old_secret()
    driver.skew_clock(-3600, times=1)
    for _ in range(3):
        client.v1.customers.create()
    driver.deliver()
    time.sleep(0.3)
    attempts = driver.box._store.rows("SELECT status FROM attempts ORDER BY id")
    assert [row["status"] for row in attempts].count(500) == 3
    receiver.wait_count(3)


def test_webhooks_of_unusual_json_and_of_another_version(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver
) -> None:
    driver.write_oddly(times=1)
    driver.box.faults.arm("api_version", version="2020-08-27")
    client.v1.customers.create({"name": "Ana"})
    event: Any = receiver.wait_for("customer.created")
    assert (event.api_version, event.data.object.name) == ("2020-08-27", "Ana")
    assert b"\\u005f" in receiver.bodies[0]
    assert json.loads(receiver.bodies[0])["unknown_field"]["nothing"] is None


def test_a_rolled_secret_signs_beside_the_old_one_for_a_day(
    client: stripe.StripeClient, driver: Driver, receiver: Receiver, root: str
) -> None:
    endpoint = client.v1.webhook_endpoints.list().data[0].id
    bearer = {"Authorization": f"Bearer {SECRET_KEY}"}
    answer = requests.post(f"{root}/endpoints/{endpoint}", {"action": "roll"}, headers=bearer)
    secret = answer.json()["message"].split()[5].strip(";")
    client.v1.customers.create()
    receiver.wait_count(1)
    assert receiver.signatures[0].count("v1=") == 2
    stripe.Webhook.construct_event(receiver.bodies[0], receiver.signatures[0], secret)
    driver.advance(hours=25)
    client.v1.customers.create()
    driver.deliver()
    rows = driver.box._store.rows("SELECT status FROM attempts ORDER BY id DESC LIMIT 1")
    assert rows[0]["status"] == 500


def test_trouble_is_ordered_over_http(root: str, client: stripe.StripeClient, box: Sandbox) -> None:
    bearer = {"Authorization": f"Bearer {SECRET_KEY}"}
    order = {"kind": "429", "match": "GET /v1/charges", "times": "always"}
    assert requests.post(f"{root}/faults", json=order).status_code == 403
    armed = requests.post(f"{root}/faults", json=order, headers=bearer).json()
    assert (armed[0]["kind"], armed[0]["times"]) == ("429", None)
    assert refused(client.v1.charges.list).http_status == 429
    assert "GET /v1/charges" in requests.get(f"{root}/faults", headers={"Accept": "text/html"}).text
    assert requests.post(f"{root}/faults/clear", json={}, headers=bearer).json() == []
    assert client.v1.charges.list().data == []
    wrong = requests.post(f"{root}/faults", json={"kind": "rain"}, headers=bearer)
    assert wrong.status_code == 400
    assert "must be one of" in wrong.json()["message"]


def test_test_clocks(client: stripe.StripeClient) -> None:
    clocks = client.v1.test_helpers.test_clocks
    clock = clocks.create({"frozen_time": 1800000000, "name": "spring"})
    customer = client.v1.customers.create({"test_clock": clock.id})
    assert client.v1.customers.list({"test_clock": clock.id}).data[0].id == customer.id
    assert clocks.advance(clock.id, {"frozen_time": 1800086400}).status == "advancing"
    after = clocks.retrieve(clock.id)
    assert (after.status, after.frozen_time) == ("ready", 1800086400)
    assert refused(lambda: clocks.advance(clock.id, {"frozen_time": 5})).http_status == 400
    clocks.delete(clock.id)
    assert clocks.list().data == []


def test_strangers_may_look_at_a_public_console_and_change_nothing(tmp_path: Any) -> None:
    box = Sandbox(tmp_path / "public.sqlite", SECRET_KEY, PUBLISHABLE_KEY, local_only=False)
    client = box.wsgi.test_client()
    assert client.get("/clock").status_code == 200
    own = {"Origin": "http://localhost"}
    assert client.post("/clock", data={"advance": "1d"}, headers=own).status_code == 403
    own["Authorization"] = f"Bearer {SECRET_KEY}"
    assert client.post("/clock", data={"advance": "1d"}, headers=own).status_code == 200
    box.close()
