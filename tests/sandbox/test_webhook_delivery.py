"""Events: recorded with the change, delivered signed, at once, again until received."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import requests
import stripe
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tmt.sandbox import Endpoint, Sandbox

from .conftest import (
    NO_REDIRECTS,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_SECRET,
    Pay,
    Receiver,
    refused,
    serve,
    until,
)


def test_a_payment_and_its_refund_tell_their_story(
    box: Sandbox, client: stripe.StripeClient, pay: Pay, receiver: Receiver
) -> None:
    box.start()
    intent = pay()
    event: Any = receiver.wait_for(
        "payment_intent.created", "charge.succeeded", "charge.updated", "payment_intent.succeeded"
    )
    assert event.data.object.id == intent.id
    assert event.api_version == "2026-10-28.endive"
    assert event.request.idempotency_key
    assert event.request.id.startswith("req_")
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    event = receiver.wait_for("refund.created", "charge.refunded")
    assert event.data.object.amount_refunded == 500
    assert event.data.previous_attributes["amount_refunded"] == 0


def test_capture_and_cancel_tell_theirs(
    box: Sandbox, client: stripe.StripeClient, pay: Pay, receiver: Receiver
) -> None:
    box.start()
    client.v1.payment_intents.capture(pay(capture_method="manual").id)
    receiver.wait_for("payment_intent.amount_capturable_updated", "charge.captured")
    pay("pm_card_authenticationRequired")
    receiver.wait_for("payment_intent.requires_action")
    client.v1.payment_intents.cancel(pay(capture_method="manual").id)
    receiver.wait_for("payment_intent.canceled")


def test_a_failed_delivery_is_repeated_with_a_fresh_signature_and_the_same_body(
    box: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302]
    box.start()
    client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    receiver.wait_count(3)
    assert len(set(receiver.bodies)) == 1
    until(lambda: client.v1.events.list().data[0].pending_webhooks == 0)
    assert len(client.v1.events.list({"delivery_success": True}).data) == 1


def test_after_the_last_attempt_only_sending_again_helps(
    box: Sandbox, client: stripe.StripeClient, receiver: Receiver, root: str
) -> None:
    receiver.statuses = [500, 500, 500]
    box.start()
    client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    receiver.wait_count(3)
    event = client.v1.events.list({"delivery_success": False}).data[0]
    until(lambda: "failed" in requests.get(f"{root}/events").text)
    page = requests.get(f"{root}/events/{event.id}").text
    assert page.count("answer 500") == 3
    again = re.search(r'action="([^"]+)"', page)
    assert again is not None
    foreign = {"Origin": root, "Sec-Fetch-Site": "cross-site"}
    for headers in ({}, {"Origin": "https://evil.example"}, foreign):
        assert requests.post(root + again[1], headers=headers).status_code == 403
    assert requests.post(root + again[1], headers={"Origin": root}).status_code == 200
    receiver.wait_count(4)
    until(lambda: client.v1.events.retrieve(event.id).pending_webhooks == 0)


def test_a_restart_loses_nothing(
    box: Sandbox, client: stripe.StripeClient, receiver: Receiver, store: Path
) -> None:
    client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    box.close()
    assert receiver.events == []
    endpoints = [Endpoint(receiver.url, SIGNING_SECRET)]
    again = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, endpoints)
    again.start()
    receiver.wait_for("payment_intent.created")
    again.close()


def test_delivery_is_at_once(box: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    box.start()
    time.sleep(0.05)
    client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    event = receiver.wait_for("payment_intent.created")
    assert event.pending_webhooks == 1


def test_an_endpoint_hears_what_it_asked_for(
    box: Sandbox, client: stripe.StripeClient, pay: Pay, receiver: Receiver
) -> None:
    endpoints = client.v1.webhook_endpoints
    everything = endpoints.list().data[0]
    assert everything.enabled_events == ["*"]
    assert "secret" not in everything
    endpoints.update(everything.id, {"disabled": True})
    box.start()
    made = endpoints.create({"url": receiver.url, "enabled_events": ["refund.created"]})
    assert str(made.secret).startswith("whsec_")
    client.v1.refunds.create({"payment_intent": pay().id})
    events = client.v1.events.list({"delivery_success": False}).data
    until(lambda: len(client.v1.events.list({"type": "refund.created"}).data) == 1)
    assert {event.type for event in events} <= {"refund.created"}
    endpoints.delete(made.id)
    assert refused(lambda: endpoints.retrieve(made.id)).http_status == 404


def test_events_are_listed_by_type(client: stripe.StripeClient, pay: Pay) -> None:
    pay()
    found = client.v1.events.list({"type": "payment_intent.*"}).data
    assert {event.type for event in found} == {"payment_intent.created", "payment_intent.succeeded"}
    both: Any = {"types": ["charge.succeeded", "payment_intent.created"]}
    assert len(client.v1.events.list(both).data) == 2


def test_the_receiver_may_be_the_server_that_hosts_the_sandbox(store: Path) -> None:
    receiver = Receiver()
    mounted = DispatcherMiddleware(receiver)
    served = serve(mounted)
    endpoints = [Endpoint(served.url + "/hook", SIGNING_SECRET)]
    box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, endpoints)
    mounted.mounts["/sandbox"] = box.wsgi
    box.start()
    root = served.url + "/sandbox"
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": root})
    given: Any = {"amount": 2000, "currency": "usd", "automatic_payment_methods": NO_REDIRECTS}
    given |= {"confirm": True, "payment_method": "pm_card_threeDSecure2Required"}
    intent: Any = client.v1.payment_intents.create(given)
    receiver.wait_for("payment_intent.requires_action")
    url = intent.next_action.use_stripe_sdk["stripe_js"]
    assert url.startswith(root + "/3ds/")
    assert requests.post(url, {"outcome": "complete"}).status_code == 204
    receiver.wait_for("payment_intent.succeeded")
    assert intent.id in requests.get(f"{root}/").text
    box.close()
    served.stop()
