"""The webhook, given anything: what Stripe did not sign is refused, what it signed does no harm."""

from __future__ import annotations

import time

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.raw_client import RawClient, unchanged
from tests.fuzz.strategies import HEADERS, IDS, JSON, NUMBERS, TEXTS, bodies, nearly
from tests.gateway.stripe_events import stored
from tests.shopfront import SIGNING_SECRET, rendered_event
from tmt.billing.webhook_handlers import HANDLERS
from tmt.core.errors import DomainError
from tmt.gateway.types import API_VERSION

pytestmark = pytest.mark.databases("postgresql")

PATH = "/stripe_webhook"
_TYPES = st.sampled_from(
    [f"payment_intent.{what}" for what in ("succeeded", "canceled", "processing", "created")]
    + [f"charge.{what}" for what in ("refunded", "dispute.created", "dispute.closed", "updated")]
    + ["refund.created", "refund.updated", "refund.failed", "customer.created", "v2.core.x"]
)


@pytest.fixture
def client(shopfront):
    shopfront.silence_stripe()
    return RawClient(shopfront)


@pytest.fixture
def intent(shopfront, client):
    """The PaymentIntent of an order that waits for its payment."""
    buyer = shopfront.buyer()
    return buyer.open_pay_page(buyer.reserve(1))


def deliver(client, body, signature):
    headers = {"Content-Type": "application/json"}
    if signature is not None:
        headers["Stripe-Signature"] = signature
    return client.send("POST", PATH, body, headers)


def signed(body: bytes, seconds: int = 0) -> bytes:
    stamp = int(time.time()) + seconds
    made = stripe.WebhookSignature.generate_signature_header(body.decode(), SIGNING_SECRET, stamp)
    return made.encode()


def test_nothing_that_is_not_signed_is_kept(shopfront, client):
    stamps = st.integers(-(10**12), 10**12).map(lambda n: f"t={n},v1={'0' * 64}".encode())
    parts = st.lists(
        st.sampled_from(["t=", "v1=", "v0=", ",", "=", "1", "é", f"{time.time():.0f}"])
    )
    headers = st.none() | HEADERS | stamps | parts.map(lambda p: "".join(p).encode("latin-1"))

    @given(bodies(JSON), headers)
    def send(body, signature):
        with unchanged(shopfront):
            answer = deliver(client, body, signature)
        assert answer.status == 400
        assert answer.json()["error"].startswith("Webhook Error: ")

    send()
    assert stored(shopfront) == []


def test_one_other_byte_and_it_is_not_signed(shopfront, client):
    right = rendered_event(shopfront, "payment_intent.created", {"id": "pi_1"}).encode()

    @given(st.integers(0, len(right) - 1), st.integers(1, 127), st.booleans())
    def send(place, change, elsewhere):
        body, signature = bytearray(right), bytearray(signed(right))
        # The first 13 bytes are the stamp, of which any digits may be right.
        sent = signature if elsewhere else body
        sent[place % len(sent)] ^= change
        if sent is signature and sent[place % len(sent)] in b"\r\n\0":
            return  # A header cannot hold it.
        answer = deliver(client, bytes(body), bytes(signature))
        assert answer.status == 400, bytes(sent)

    send()
    assert stored(shopfront) == []


@given(st.integers(-(10**6), -310) | st.integers(310, 10**6))
def test_neither_the_past_nor_the_future_is_taken(shopfront, client, seconds):
    body = rendered_event(shopfront, "payment_intent.created", {"id": "pi_1"}).encode()
    with unchanged(shopfront):
        assert deliver(client, body, signed(body, seconds)).status == 400


def test_what_is_signed_is_kept_once_and_lies_move_nothing(shopfront, client, intent):
    """An event is a hint: one about our order is read again, whatever shape it has."""
    # What cannot be read raises one alert for each type of event.
    for type_ in HANDLERS:
        unreadable = rendered_event(shopfront, type_, {}).encode()
        deliver(client, unreadable, signed(unreadable))
    shopfront.shop.jobs.run("inbox")
    names = IDS | TEXTS | st.just(intent)
    things = nearly(
        {
            "id": names,
            "object": st.sampled_from(["payment_intent", "charge", "refund", "dispute"]),
            "status": st.sampled_from(["requires_payment_method", "processing", "new", "failed"]),
            "amount": NUMBERS,
            "payment_intent": names,
            "charge": TEXTS,
            "metadata": st.dictionaries(TEXTS, JSON, max_size=2),
        }
    )
    events = nearly(
        {
            "id": st.uuids().map(lambda u: f"evt_{u.hex}"),
            "object": st.just("event"),
            "type": _TYPES,
            "created": st.integers(0, 2**33),
            "livemode": st.booleans(),
            "api_version": st.sampled_from([API_VERSION, "2020-08-27", None]),
            "data": nearly({"object": things}),
        }
    )

    @given(bodies(events))
    def send(body):
        if not is_text(body):
            return  # Nobody could sign it.
        known = len(stored(shopfront))
        with unchanged(shopfront):
            first, again = (deliver(client, body, signed(body)) for _time in range(2))
            shopfront.shop.jobs.run("inbox")
        assert first.status == again.status
        assert len(stored(shopfront)) - known <= (first.status == 200)

    send()
    assert min(client.statuses[200], client.statuses[400]) > 10
    assert {r.last_error.split(":")[0] for r in stored(shopfront) if r.last_error} <= refusals()


def is_text(body):
    try:
        return bool(body.decode())
    except UnicodeDecodeError:
        return False


def refusals():
    """The names of what may be wrong with an event; any other error is a bug."""
    found, kinds = set(), [DomainError]
    while kinds:
        kind = kinds.pop()
        found.add(kind.__name__)
        kinds += kind.__subclasses__()
    return found
