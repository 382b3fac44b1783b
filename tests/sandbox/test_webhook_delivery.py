"""Events: recorded with the change, delivered signed, at once, again until received."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import requests
import stripe
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.servers import serve
from tmt.sandbox import Endpoint, Sandbox

from .conftest import (
    NEW,
    NO_REDIRECTS,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_SECRET,
    Pay,
    Receiver,
    error_of,
    until,
)
from .driver import Driver


def test_the_events_of_a_payment_and_its_refund(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    intent = pay()
    event = receiver.wait_for(
        "payment_intent.created", "charge.succeeded", "charge.updated", "payment_intent.succeeded"
    )
    assert event.data.object.id == intent.id
    assert event.api_version == "2026-10-28.endive"
    assert event.request.idempotency_key
    assert event.request.id.startswith("req_")
    v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    event = receiver.wait_for("refund.created", "charge.refunded")
    assert event.data.object.amount_refunded == 500
    assert event.data.previous_attributes["amount_refunded"] == 0


def test_the_events_of_capture_and_cancel(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    v1.payment_intents.capture(pay(capture_method="manual").id)
    receiver.wait_for("payment_intent.amount_capturable_updated", "charge.captured")
    pay("pm_card_authenticationRequired")
    receiver.wait_for("payment_intent.requires_action")
    v1.payment_intents.cancel(pay(capture_method="manual").id)
    receiver.wait_for("payment_intent.canceled")


def test_a_failed_delivery_is_repeated_with_a_fresh_signature_and_the_same_body(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302]
    v1.payment_intents.create(NEW)
    receiver.wait_count(3)
    assert len(set(receiver.bodies)) == 1
    until(lambda: v1.events.list().data[0].pending_webhooks == 0)
    assert len(v1.events.list({"delivery_success": True}).data) == 1


def test_after_the_last_attempt_only_sending_again_helps(
    v1: Any, driver: Driver, receiver: Receiver, root: str
) -> None:
    receiver.statuses = [500, 500, 500]
    v1.payment_intents.create(NEW)
    receiver.wait_count(3)
    (event,) = v1.events.list({"delivery_success": False}).data
    url = f"{root}/events/{event.id}"
    until(lambda: requests.get(url).text.count("answer 500") == 3)
    assert "failed" in requests.get(f"{root}/events").text
    page = requests.get(url).text
    again = re.search(r'action="([^"]+)"', page)
    assert again is not None
    foreign = {"Origin": root, "Sec-Fetch-Site": "cross-site"}
    for headers in ({}, {"Origin": "https://evil.example"}, foreign):
        assert requests.post(root + again[1], headers=headers).status_code == 403
    assert requests.post(root + again[1], headers={"Origin": root}).status_code == 200
    receiver.wait_count(4)
    until(lambda: v1.events.retrieve(event.id).pending_webhooks == 0)


def test_a_restart_loses_nothing(box: Sandbox, v1: Any, receiver: Receiver, store: Path) -> None:
    v1.payment_intents.create(NEW)
    box.close()
    assert receiver.events == []
    endpoints = [Endpoint(receiver.url, SIGNING_SECRET)]
    again = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, endpoints)
    again.start()
    receiver.wait_for("payment_intent.created")
    again.close()


def test_delivery_is_at_once(v1: Any, driver: Driver, receiver: Receiver) -> None:
    time.sleep(0.05)
    v1.payment_intents.create(NEW)
    assert receiver.wait_for("payment_intent.created").pending_webhooks == 1


def test_an_endpoint_gets_the_events_that_it_subscribed_to(
    box: Sandbox, v1: Any, pay: Pay, receiver: Receiver
) -> None:
    endpoints = v1.webhook_endpoints
    (everything,) = endpoints.list().data
    assert everything.enabled_events == ["*"]
    assert "secret" not in everything
    endpoints.update(everything.id, {"disabled": True})
    box.start()
    created = endpoints.create({"url": receiver.url, "enabled_events": ["refund.created"]})
    assert created.secret.startswith("whsec_")
    v1.refunds.create({"payment_intent": pay().id})
    events = v1.events.list({"delivery_success": False}).data
    until(lambda: len(v1.events.list({"type": "refund.created"}).data) == 1)
    assert {event.type for event in events} <= {"refund.created"}
    endpoints.delete(created.id)
    assert error_of(endpoints.retrieve, created.id).http_status == 404


def test_the_receiver_may_be_the_server_that_hosts_the_sandbox(store: Path) -> None:
    receiver = Receiver()
    mounted = DispatcherMiddleware(receiver)
    server = serve(mounted)
    box = Sandbox(
        store, SECRET_KEY, PUBLISHABLE_KEY, [Endpoint(server.url + "/hook", SIGNING_SECRET)]
    )
    mounted.mounts["/sandbox"] = box.wsgi
    box.start()
    root = server.url + "/sandbox"
    v1 = stripe.StripeClient(SECRET_KEY, base_addresses={"api": root}).v1
    method = {"confirm": True, "payment_method": "pm_card_threeDSecure2Required"}
    method["automatic_payment_methods"] = NO_REDIRECTS
    intent: Any = v1.payment_intents.create({**NEW, **method})
    receiver.wait_for("payment_intent.requires_action")
    url = intent.next_action.use_stripe_sdk["stripe_js"]
    assert url.startswith(root + "/3ds/")
    assert requests.post(url, {"outcome": "complete"}).status_code == 204
    receiver.wait_for("payment_intent.succeeded")
    assert intent.id in requests.get(f"{root}/").text
    box.close()
    server.stop()
