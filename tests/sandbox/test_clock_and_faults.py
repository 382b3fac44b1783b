"""The sandbox's clock, and every kind of fault."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tmt.sandbox import Endpoint, Sandbox
from tmt.sandbox.console import parse_duration
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import RequestContext

from .conftest import (
    BEARER,
    DAY,
    NEW,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_SECRET,
    Pay,
    Receiver,
    error_of,
    served_sandbox,
    until,
)
from .driver import Driver
from .test_debits import pay_with_ideal

CREATE = "POST /v1/payment_intents"
HTML = {"Accept": "text/html"}


def statuses(box: Sandbox) -> list[int | None]:
    """The statuses of all deliveries so far."""
    return [row["status"] for row in box._store.rows("SELECT status FROM attempts ORDER BY id")]


def test_the_clock_advances_over_http(root: str, box: Sandbox) -> None:
    def post(advance: str, **headers: str) -> requests.Response:
        return requests.post(f"{root}/clock", json={"advance": advance}, headers=headers)

    assert requests.get(f"{root}/clock").json()["ahead"] == 0
    assert post("5d").status_code == 403
    after = post("5d", **BEARER).json()
    assert 5 * DAY <= after["ahead"] < 5 * DAY + 1
    assert box.ahead() == after["ahead"]
    assert post("soon", **BEARER).status_code == 400
    assert "days ahead" in requests.get(f"{root}/clock", headers=HTML).text
    assert [parse_duration(text) for text in ("2w", "1.5h", "7")] == [14 * DAY, 5400, 7]


def test_what_is_due_happens_in_its_order_and_at_its_time(
    v1: Any, driver: Driver, pay: Pay
) -> None:
    held = pay(capture_method="manual")
    v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    driver.advance(days=30 - 7)
    types = ["payment_intent.canceled", "refund.updated", "payout.created", "payout.paid"]
    events = v1.events.list({"types": types, "limit": 100}).data[::-1]
    times = [event.created for event in events]
    assert times == sorted(times)
    canceled = next(event for event in events if event.type == "payment_intent.canceled")
    assert canceled.created == held.created + 7 * DAY


def test_a_laptop_that_slept_catches_up_in_order(v1: Any, box: Sandbox, pay: Pay) -> None:
    held = pay(capture_method="manual")
    refund = v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    box._store.move_clock(10 * DAY)
    types = ["payment_intent.canceled", "refund.updated"]
    last, first = v1.events.list({"types": types}).data
    assert (first.type, first.created) == ("refund.updated", refund.created + 3 * DAY)
    assert last.created == held.created + 7 * DAY


def test_the_clock_survives_and_old_events_are_deleted(
    v1: Any, driver: Driver, store: Path
) -> None:
    intent = v1.payment_intents.create(NEW)
    event = v1.events.list().data[0]
    driver.advance(days=31)
    assert v1.events.list({"type": "payment_intent.created"}).data == []
    assert error_of(v1.events.retrieve, event.id).http_status == 404
    again = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY)
    assert again.ahead() > 31 * DAY - 1
    again.close()
    assert v1.payment_intents.create(NEW).created >= intent.created + 31 * DAY


def test_keys_expire_after_a_day_of_the_sandbox(v1: Any, driver: Driver) -> None:
    key = {"idempotency_key": "same"}
    first = v1.payment_intents.create(NEW, key).id
    assert v1.payment_intents.create(NEW, key).id == first
    driver.advance(hours=25)
    assert v1.payment_intents.create(NEW, key).id != first


def test_timers_of_an_older_file_still_run(v1: Any, pay: Pay, box: Sandbox, store: Path) -> None:
    held, paid = pay(capture_method="manual"), pay()
    redirected = pay_with_ideal(v1)
    secret = redirected.next_action.redirect_to_url.url.rpartition("/")[2]
    box.close()
    with sqlite3.connect(store) as database:
        database.execute("DELETE FROM timers")
        database.execute("ALTER TABLE timers DROP COLUMN argument")
        for action, object in (
            ("intents.expire_hold", held.id),
            ("after_paying.open_dispute:fraudulent", paid.latest_charge),
            ("attempts.expire_redirect", f"{redirected.id}/{secret}"),
        ):
            values = (0, action, object)
            database.execute("INSERT INTO timers (due, action, object) VALUES (?, ?, ?)", values)
        database.execute("PRAGMA user_version = 3")
    database.close()
    with served_sandbox(store) as (_, _, v1):
        intents = [v1.payment_intents.retrieve(id) for id in (held.id, redirected.id)]
        assert [i.status for i in intents] == ["canceled", "requires_payment_method"]
        assert len(v1.disputes.list({"payment_intent": paid.id}).data) == 1


def test_names_of_methods_and_timers_are_checked(box: Sandbox) -> None:
    with pytest.raises(ValueError, match="twice"):
        route("POST /v1/refunds")(print)
    with pytest.raises(ValueError, match="twice"):
        timer_action("expire_hold")(print)
    with pytest.raises(KeyError, match="expire_nothing"):
        RequestContext(box._store, 0).schedule(0, "expire_nothing", "pi_3")


def test_events_are_retried_for_three_days_then_the_endpoint_is_disabled(
    store: Path, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 1000
    with served_sandbox(store, Endpoint(receiver.url, SIGNING_SECRET)) as (box, _, v1):
        driver = Driver(box)
        box.start()
        v1.payment_intents.create(NEW)
        receiver.wait_count(1)
        driver.advance(days=2)
        assert 6 <= len(receiver.events) <= 9
        driver.advance(days=2)
        assert v1.webhook_endpoints.list().data[0].status == "enabled"
        v1.payment_intents.create(NEW)
        driver.advance(hours=1)
        assert v1.webhook_endpoints.list().data[0].status == "disabled"


@pytest.mark.parametrize(("status", "again"), [(429, 200), (500, 500), (502, 200)])
def test_failures_that_stripe_answers(root: str, driver: Driver, status: int, again: int) -> None:
    driver.refuse(CREATE, status)
    headers = {**BEARER, "Idempotency-Key": "k"}
    url = f"{root}/v1/payment_intents"
    assert requests.get(url, headers=headers).status_code == 200
    first, second = (requests.post(url, NEW, headers=headers) for _ in "ab")
    assert (first.status_code, second.status_code) == (status, again)
    assert (second.headers.get("Idempotent-Replayed") == "true") == (again == 500)
    assert len(requests.get(url, headers=headers).json()["data"]) == (again == 200)


def test_connections_that_are_closed_before_and_after(v1: Any, box: Sandbox) -> None:
    intents, key = v1.payment_intents, {"idempotency_key": "k"}
    box.faults.arm("reset", CREATE)
    box.faults.arm("hang", CREATE, seconds=0.1)
    for _ in range(2):
        assert isinstance(error_of(intents.create, NEW), stripe.APIConnectionError)
        assert intents.list().data == []
    box.faults.arm("lose_answer", CREATE)
    assert isinstance(error_of(intents.create, NEW, key), stripe.APIConnectionError)
    assert [intents.create(NEW, key).id] == [intent.id for intent in intents.list().data]


def test_a_share_of_the_calls(v1: Any, driver: Driver) -> None:
    driver.box.faults.arm("429", "GET /v1/*", times=None, share=0.5)
    answers = set()
    for _ in range(40):
        try:
            answers.add(v1.payment_intents.list().object)
        except stripe.RateLimitError:
            answers.add("refused")
    assert answers == {"list", "refused"}
    driver.calm()
    assert driver.box.faults.armed() == []


def test_webhooks_dropped_doubled_and_late(v1: Any, driver: Driver, receiver: Receiver) -> None:
    driver.drop_webhooks("customer.*", times=1)
    driver.box.faults.arm("double", "customer.updated")
    driver.box.faults.arm("delay", "customer.deleted", None, seconds=3600)
    customer = v1.customers.create().id
    v1.customers.update(customer, {"name": "Ana"})
    v1.customers.delete(customer)
    receiver.wait_count(2)
    driver.deliver()
    assert receiver.types() == ["customer.updated"] * 2
    driver.advance(hours=1)
    assert receiver.types()[-1] == "customer.deleted"
    assert len(v1.events.list({"delivery_success": False}).data) == 1


def test_webhooks_out_of_order_and_before_the_answer(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    driver.box.faults.arm("reorder", "customer.created")
    customer = v1.customers.create().id
    v1.customers.update(customer, {"name": "Ana"})
    receiver.wait_for("customer.created")
    assert receiver.types() == ["customer.updated", "customer.created"]
    driver.deliver_early("POST /v1/customers")
    driver.lose_answer("POST /v1/customers")
    error_of(v1.customers.create, {"name": "Bea"})
    assert receiver.types() == ["customer.updated", "customer.created", "customer.created"]


def test_webhooks_with_a_wrong_signature_are_noticed(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    driver.box.faults.arm("wrong_signature")
    driver.box.faults.arm("old_secret")
    driver.box.faults.arm("clock_skew", seconds=-3600)
    for _ in range(3):
        v1.customers.create()
    until(lambda: statuses(driver.box).count(500) == 3)
    receiver.wait_count(3)


def test_webhooks_of_unusual_json_and_of_another_version(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    driver.box.faults.arm("odd_json")
    driver.box.faults.arm("api_version", version="2020-08-27")
    v1.customers.create({"name": "Ana"})
    event = receiver.wait_for("customer.created")
    assert (event.api_version, event.data.object.name) == ("2020-08-27", "Ana")
    assert b"\\u005f" in receiver.bodies[0]
    assert json.loads(receiver.bodies[0])["unknown_field"]["nothing"] is None


def test_a_rolled_secret_signs_beside_the_old_one_for_a_day(
    v1: Any, driver: Driver, receiver: Receiver, root: str
) -> None:
    endpoint = v1.webhook_endpoints.list().data[0].id
    answer = requests.post(f"{root}/endpoints/{endpoint}", {"action": "roll"}, headers=BEARER)
    secret = answer.json()["message"].split()[5].strip(";")
    v1.customers.create()
    receiver.wait_count(1)
    assert receiver.signatures[0].count("v1=") == 2
    stripe.Webhook.construct_event(receiver.bodies[0], receiver.signatures[0], secret)
    driver.advance(hours=25)
    v1.customers.create()
    driver.deliver()
    assert statuses(driver.box)[-1] == 500


def test_faults_are_armed_over_http(root: str, v1: Any) -> None:
    fault = {"kind": "429", "match": "GET /v1/charges", "times": "always"}
    assert requests.post(f"{root}/faults", json=fault).status_code == 403
    (armed,) = requests.post(f"{root}/faults", json=fault, headers=BEARER).json()
    assert (armed["kind"], armed["times"]) == ("429", None)
    assert error_of(v1.charges.list).http_status == 429
    assert "GET /v1/charges" in requests.get(f"{root}/faults", headers=HTML).text
    assert requests.post(f"{root}/faults/clear", json={}, headers=BEARER).json() == []
    assert v1.charges.list().data == []
    wrong = requests.post(f"{root}/faults", json={"kind": "rain"}, headers=BEARER)
    assert wrong.status_code == 400
    assert "must be one of" in wrong.json()["message"]


def test_test_clocks(v1: Any) -> None:
    clocks = v1.test_helpers.test_clocks
    clock = clocks.create({"frozen_time": 1800000000, "name": "spring"})
    customer = v1.customers.create({"test_clock": clock.id})
    assert v1.customers.list({"test_clock": clock.id}).data[0].id == customer.id
    assert clocks.advance(clock.id, {"frozen_time": 1800086400}).status == "advancing"
    after = clocks.retrieve(clock.id)
    assert (after.status, after.frozen_time) == ("ready", 1800086400)
    assert error_of(clocks.advance, clock.id, {"frozen_time": 5}).http_status == 400
    clocks.delete(clock.id)
    assert clocks.list().data == []


def test_other_machines_may_read_a_public_console_and_change_nothing(store: Path) -> None:
    box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, local_only=False)
    client, own = box.wsgi.test_client(), {"Origin": "http://localhost"}
    assert client.get("/clock").status_code == 200
    assert client.post("/clock", data={"advance": "1d"}, headers=own).status_code == 403
    with_key = {**own, **BEARER}
    assert client.post("/clock", data={"advance": "1d"}, headers=with_key).status_code == 200
    box.close()
