"""Fifty who write at once: buyers, Stripe, other programs; each a thread with its connection."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests
import stripe

from tests.benchmarks.bench_env import SLUG
from tests.buyer import Buyer, hidden_fields, order_token
from tests.chaos.buyers import client_of
from tests.deployment import Deployment
from tests.sandbox_client import NoAnswer, SandboxClient, card
from tmt.gateway.types import API_VERSION


@dataclass
class Observed:
    """What the writers saw: how long each kind of answer took, and every one that was wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, seconds: float) -> None:
        with self._lock:
            self.seconds.setdefault(kind, []).append(seconds)

    def forget_times(self) -> None:
        """Leaves out what was measured so far: a server's first pages take it seconds."""
        with self._lock:
            self.seconds.clear()

    def blame(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)


class Writer(Buyer):
    """Somebody who notes how long each answer takes, and each that is not 200 or 303."""

    def __init__(self, shop: Deployment, observed: Observed) -> None:
        super().__init__(shop.url)
        self.observed = observed
        self.signing_secret = shop.signing_secret
        self.stripe: SandboxClient = client_of(shop)

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        started = time.perf_counter()
        answer = super().request(method, path, **{"allow_redirects": False} | more, timeout=60)
        kind = f"{method} {_kind(path)}"
        self.observed.note(kind, time.perf_counter() - started)
        if answer.status_code not in (200, 303):
            self.observed.blame(f"{kind}: {answer.status_code} {answer.text[:200]!r}")
        return answer


def _kind(path: str) -> str:
    """The path without what is different for each order."""
    return "/".join("…" if len(part) == 22 else part for part in path.split("/"))


def buy(writer: Writer, rng: random.Random) -> None:
    """Places an order, looks at the pay page, and pays, cancels or goes away."""
    writer.session.cookies.clear()
    writer.email = f"{uuid4().hex}@example.com"
    quantities = [1, *(rng.randint(0, 2) for _type in range(3))]
    fields = writer.fill_in(SLUG, quantities)
    token = order_token(writer.submit(SLUG, fields))
    if not token:
        writer.observed.blame("an order led nowhere")
        return
    writer.observed.orders.append(token)
    # None: its hold ended before the page was looked at.
    details = writer.payment_details(token)
    choice = rng.random()
    if choice < 0.2 and details:
        # Stripe refuses when the hold has ended meanwhile.
        writer.stripe.confirm(details[0], card(), details[1])
        writer.get(f"/orders/{token}/return")
    elif choice < 0.6:
        writer.post(f"/orders/{token}/cancel", {"csrf_token": fields["csrf_token"]})


def deliver(writer: Writer, rng: random.Random) -> None:
    """Delivers an event as Stripe does, some of them twice."""
    kinds = ("payment_intent.created", "payment_intent.succeeded", "customer.created")
    event = f"evt_{uuid4().hex}"
    body = json.dumps(_event(event, rng.choice(kinds)))
    for _time in range(rng.choice((1, 1, 2))):
        signed = stripe.WebhookSignature.generate_signature_header(body, writer.signing_secret)
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
        if writer.post("/stripe_webhook", body, headers=headers).status_code == 200:
            writer.observed.events.add(event)


def find(writer: Writer, _rng: random.Random) -> None:
    """Asks for a mail with the orders of an address."""
    writer.session.cookies.clear()
    form = hidden_fields(writer.get("/orders/find").text)
    writer.post("/orders/find", form | {"email": f"{uuid4().hex}@example.com"})


def create(writer: Writer, rng: random.Random) -> None:
    """Creates a PaymentIntent as another program does, with a key that the shop keeps."""
    body = {"data": {"amount": rng.randint(1, 90)}}
    headers = {"Idempotency-Key": uuid4().hex}
    writer.request("POST", "/stripe_create_payment_intent", json=body, headers=headers)


def repeat(
    act: Callable[[Writer, random.Random], None], writer: Writer, seed: int, over: threading.Event
) -> None:
    """Does it again and again until it is over; an answer that never came is noted."""
    rng = random.Random(seed)
    while not over.is_set():
        try:
            act(writer, rng)
        except (requests.RequestException, NoAnswer) as error:
            writer.observed.blame(f"{act.__name__}: {type(error).__name__}: {error}")


def _event(event: str, kind: str) -> dict[str, Any]:
    """An event about something of another system's on the same account."""
    object_ = {"id": f"pi_{uuid4().hex}", "object": "payment_intent", "status": "succeeded"}
    return {
        "id": event,
        "object": "event",
        "api_version": API_VERSION,
        "created": int(time.time()),
        "livemode": False,
        "pending_webhooks": 1,
        "type": kind,
        "data": {"object": object_ | {"amount": 1000, "currency": "usd"}},
    }
