"""The webhook's answers: what Stripe signed is stored, everything else leaves no trace."""

from __future__ import annotations

import json
import re
import time

import pytest
import requests
import structlog

from tests.gateway.stripe_events import (
    found,
    signed,
    stored,
    stripes_own,
    without_database,
    without_table,
)
from tests.shopfront import SIGNING_SECRET, rendered_event

pytestmark = pytest.mark.databases("sqlite")

RECEIVED = {"received": True}
PING = {"id": "pi_foreign", "object": "payment_intent", "status": "succeeded"}


@pytest.fixture
def event(shopfront):
    """An event about somebody else's PaymentIntent."""
    return rendered_event(shopfront, "payment_intent.created", PING)


def refused(front, body, signature):
    answer = front.deliver(body, signature)
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error"}
    assert re.fullmatch("Webhook Error: .+", answer.json()["error"])
    assert not stored(front)
    return answer.json()["error"]


@pytest.mark.databases("sqlite", "postgresql")
def test_a_verified_event_is_received_new_or_seen_before(shopfront, event):
    for _ in range(3):
        answer = shopfront.deliver(event)
        assert (answer.status_code, answer.json()) == (200, RECEIVED)
        assert "Set-Cookie" not in answer.headers
    assert [row.event_id for row in stored(shopfront)] == [json.loads(event)["id"]]


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("WH-08")
def test_wh08_what_stripe_did_not_sign_leaves_no_trace(shopfront, event):
    good = signed(event)
    stamp, digest = re.fullmatch("t=([0-9]+),v1=([0-9a-f]+)", good).groups()
    forged = ["", "x", ",", "=", "t=", f"t={stamp}", f"v1={digest}", f"t=x,v1={digest}"]
    forged += [f"t={stamp},v0={digest}", f"t={stamp},v1=", f"t={stamp},v1={'0' * 64}"]
    forged += [f"t={int(stamp) + 1},v1={digest}", f"t={stamp},v1={digest[:-1]}", digest]
    forged += [f"t={stamp},v2={digest},v0={digest}", f"t={'9' * 5000},v1={digest}"]
    forged += [f"t={stamp}, v1={digest}", f"t={stamp};v1={digest}", "t=1,v1=é"]
    forged += [signed(event, "whsec_other"), signed(event, ""), signed(event + " ")]
    for signature in forged:
        refused(shopfront, event, signature.encode())
    bare = requests.post(f"{shopfront.url}/stripe_webhook", data=event, timeout=20)
    assert bare.status_code == 400
    assert "Stripe-Signature" in bare.json()["error"]
    assert not stored(shopfront)


@pytest.mark.case("WH-08")
def test_wh08_a_header_carries_no_back_door(shopfront, event):
    for name in ("X-Debug", "X-Stripe-Secret", "Authorization", "X-Webhook-Secret"):
        headers = {name: SIGNING_SECRET, "Stripe-Signature": "t=1,v1=0"}
        path = f"{shopfront.url}/stripe_webhook?secret={SIGNING_SECRET}"
        answer = requests.post(path, data=event, headers=headers, timeout=20)
        assert answer.status_code == 400
    assert not stored(shopfront)


@pytest.mark.case("WH-08")
def test_wh08_one_changed_byte_is_seen(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.silence_stripe()
    pi = buyer.open_pay_page(order)
    object_ = {"id": pi, "object": "payment_intent", "status": "requires_action", "amount": 7500}
    body = rendered_event(shopfront, "payment_intent.succeeded", object_)
    changed = body.replace("requires_action", "succeeded")
    before = len(stored(shopfront))
    assert shopfront.deliver(changed, signed(body)).status_code == 400
    shopfront.run_jobs()
    assert len(stored(shopfront)) == before
    assert shopfront.order(order.token).status == "held"


@pytest.mark.case("WH-08")
@pytest.mark.parametrize("settings", [{"stripe_webhook_secrets": ()}])
def test_wh08_without_a_secret_nothing_is_believed(shopfront, event):
    for secret in ("", SIGNING_SECRET, "None", "()"):
        assert "STRIPE_WEBHOOK_SECRET" in refused(shopfront, event, signed(event, secret))


@pytest.mark.case("WH-09")
@pytest.mark.parametrize(("seconds", "status"), [(-301, 400), (-299, 200), (299, 200), (301, 400)])
def test_wh09_the_clock_may_be_300_seconds_off_either_way(shopfront, event, seconds, status):
    # Stamps are whole seconds: made late in one, the check may fall into the next.
    while time.time() % 1 > 0.3:
        time.sleep(0.02)
    assert shopfront.deliver(event, signed(event, seconds=seconds)).status_code == status
    assert len(stored(shopfront)) == (status == 200)


@pytest.mark.case("WH-09")
def test_wh09_a_later_stamp_does_not_undo_a_good_signature(shopfront, event):
    more = signed(event) + ",t=99999999999,t=x,t="
    assert shopfront.deliver(event, more).status_code == 200


@pytest.mark.case("WH-09")
def test_wh09_what_was_received_is_handled_however_late(shopfront):
    shopfront.silence_stripe()
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    shopfront.deliver(stripes_own(shopfront, "payment_intent.succeeded", pi))
    shopfront.clock.move(minutes=10)
    assert shopfront.order(order.token).status == "held"
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"


@pytest.mark.case("WH-10")
@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"stripe_webhook_secrets": ("whsec_old", "whsec_new")}, {"old", "new", "both"}),
        ({"stripe_webhook_secrets": ("whsec_new", "whsec_old")}, {"old", "new", "both"}),
        ({"stripe_webhook_secrets": ("whsec_new",)}, {"new", "both"}),
        ({"stripe_webhook_secrets": ("whsec_old",)}, {"old", "both"}),
    ],
)
def test_wh10_a_secret_is_rolled_without_downtime(shopfront, taken):
    for name in ("old", "new", "both", "neither"):
        body = rendered_event(shopfront, "payment_intent.created", PING)
        headers = {part: signed(body, f"whsec_{part}") for part in ("old", "new", "neither")}
        headers["both"] = headers["old"] + "," + headers["new"].split(",")[1]
        answer = shopfront.deliver(body, headers[name])
        assert (answer.status_code == 200) == (name in taken), name


def test_what_is_signed_but_no_event_is_400(shopfront, event):
    whole = json.loads(event)
    bodies = ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 50_000, '{"object": NaN}']
    for name in ("id", "object", "type", "created", "livemode", "data"):
        bodies.append(json.dumps({k: v for k, v in whole.items() if k != name}))
        bodies += [json.dumps({**whole, name: wrong}) for wrong in (None, 7.5, [], "x" * 300)]
    bodies += [json.dumps({**whole, "id": "evt_\u0000"}), json.dumps({**whole, "type": "\ud800"})]
    bodies += [json.dumps({**whole, "created": 10**30}), json.dumps({**whole, "livemode": 0})]
    for body in bodies:
        refused(shopfront, body, signed(body))
    binary = b"\xff\xfe"
    headers = {"Stripe-Signature": signed("x")}
    url = f"{shopfront.url}/stripe_webhook"
    assert requests.post(url, data=binary, headers=headers, timeout=20).status_code == 400
    assert not stored(shopfront)


@pytest.mark.case("WH-12")
def test_wh12_with_and_without_a_slash_nothing_redirects(shopfront):
    for path in ("/stripe_webhook", "/stripe_webhook/"):
        body = rendered_event(shopfront, "payment_intent.created", PING)
        answer = requests.post(
            shopfront.url + path,
            data=body,
            headers={"Stripe-Signature": signed(body)},
            allow_redirects=False,
            timeout=20,
        )
        assert (answer.status_code, answer.json()) == (200, RECEIVED)
        assert "Set-Cookie" not in answer.headers
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            other = requests.request(
                method, shopfront.url + path, allow_redirects=False, timeout=20
            )
            assert other.status_code == 405
    assert len(stored(shopfront)) == 2


@pytest.mark.case("WH-12")
def test_wh12_every_other_post_wants_a_token(shopfront):
    from tmt.api.views import PATHS

    # The shop's own probe of its public address is signed; another POST to /healthz is a 404.
    free = {*PATHS, "/stripe_webhook", "/stripe_webhook/", "/healthz"}
    posts = {rule.rule for rule in shopfront.app.url_map.iter_rules() if "POST" in rule.methods}
    assert free < posts
    for rule in posts - free:
        path = re.sub("<int:[^>]+>", "1", rule)
        path = re.sub("<[^>]+>", "x", path)
        answer = requests.post(shopfront.url + path, data={}, allow_redirects=False, timeout=20)
        assert answer.status_code == 400, rule


def test_an_event_may_be_larger_than_what_pages_take(shopfront):
    metadata = {f"{n:0>40}": "ñ" * 500 for n in range(50)}
    body = rendered_event(shopfront, "payment_intent.created", {**PING, "metadata": metadata})
    assert len(body) > 128 * 1024
    assert shopfront.deliver(body).status_code == 200
    vast = json.dumps({"data": "x" * 5_000_000})
    assert shopfront.deliver(vast).status_code == 413


def without_inbox(front):
    return without_table(front, "stripe_events")


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("WH-07")
@pytest.mark.parametrize("down", [without_database, without_inbox])
def test_wh07_what_could_not_be_stored_is_asked_for_again(shopfront, event, down):
    with down(shopfront):
        assert shopfront.deliver(event).status_code == 503
    assert not stored(shopfront)
    assert shopfront.deliver(event).status_code == 200
    assert found(shopfront, event).state == "waiting"


@pytest.mark.parametrize("settings", [{"log_level": "INFO"}])
def test_handled_and_unhandled_types_are_logged_with_the_payment_intent(shopfront):
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        for type_ in ("payment_intent.succeeded", "payment_intent.payment_failed", "radar.new"):
            shopfront.deliver(rendered_event(shopfront, type_, PING))
        shopfront.run_jobs()
    told = [(line["event"], line.get("type"), line.get("object")) for line in lines]
    assert told.count(("inbox.unhandled", "radar.new", "pi_foreign")) == 1
    for type_ in ("payment_intent.succeeded", "payment_intent.payment_failed"):
        assert told.count(("request", type_, "pi_foreign")) == 1
        assert told.count(("inbox.handled", type_, "pi_foreign")) == 1
