"""Fifty who write at once: buyers, Stripe, other programs; each a thread with a line of its own."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests
import stripe

from tests.benchmarks.stage import SLUG
from tests.writers.stand import SECRET_KEY, SIGNING_SECRET
from tmt.gateway.types import API_VERSION

_HIDDEN = re.compile(r'name="(checkout_token|csrf_token|shown_price-\d+)"\s+value="([^"]*)"')
_INTENT = re.compile(r"(pi_[A-Za-z0-9]+)_secret_")
_PATIENCE = 60


@dataclass
class Seen:
    """What the writers saw: how long each kind of answer took, and every one that was wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        with self._lock:
            self.seconds.setdefault(kind, []).append(time.perf_counter() - started)

    def forget_times(self) -> None:
        """Leaves out what was measured so far: a server's first pages take it seconds."""
        with self._lock:
            self.seconds.clear()

    def blame(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)


@dataclass
class Line:
    """Somebody's connection to the shop and to Stripe."""

    shop: str
    stripe: str
    seen: Seen
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, kind: str, method: str, path: str, *right: int, **more: Any) -> requests.Response:
        """One request to the shop; an answer of another status is noted."""
        with self.seen.timed(kind):
            answer = self.session.request(
                method, self.shop + path, timeout=_PATIENCE, allow_redirects=False, **more
            )
        if answer.status_code not in (right or (200,)):
            self.seen.blame(f"{kind}: {answer.status_code} {answer.text[:200]!r}")
        return answer

    def pay_at_stripe(self, intent: str) -> None:
        """As the buyer's browser; Stripe refuses when the hold has ended meanwhile."""
        self.session.post(
            f"{self.stripe}/v1/payment_intents/{intent}/confirm",
            {"payment_method": "pm_card_visa", "return_url": f"{self.shop}/elsewhere"},
            headers={"Authorization": f"Bearer {SECRET_KEY}"},
            timeout=_PATIENCE,
        )


def buy(line: Line, rng: random.Random) -> None:
    """Places an order, looks at the pay page, and pays, gives up or goes away."""
    line.session.cookies.clear()
    form = dict(_HIDDEN.findall(line.ask("event page", "GET", f"/events/{SLUG}").text))
    types = [name.removeprefix("shown_price-") for name in form if name.startswith("shown_")]
    form |= {f"quantity-{t}": str(rng.randint(0, 2)) for t in types[1:]}
    form |= {f"quantity-{types[0]}": "1", "name": "Ana", "email": f"{uuid4().hex}@example.com"}
    placed = line.ask("place order", "POST", f"/events/{SLUG}/orders", 303, data=form)
    if placed.status_code != 303:
        return
    order = placed.headers["Location"].removesuffix("/pay")
    line.seen.orders.append(order.rpartition("/")[2])
    # 303: its hold ended before the page was looked at.
    intent = _INTENT.search(line.ask("pay page", "GET", f"{order}/pay", 200, 303).text)
    fate = rng.random()
    if fate < 0.2 and intent:
        line.pay_at_stripe(intent[1])
        line.ask("return page", "GET", f"{order}/return", 303)
    elif fate < 0.6:
        token = {"csrf_token": form["csrf_token"]}
        line.ask("give up", "POST", f"{order}/cancel", 303, data=token)


def tell(line: Line, rng: random.Random) -> None:
    """Delivers an event as Stripe does, some of them twice."""
    kinds = ("payment_intent.created", "payment_intent.succeeded", "customer.created")
    event = f"evt_{uuid4().hex}"
    body = json.dumps(_event(event, rng.choice(kinds)))
    for _time in range(rng.choice((1, 1, 2))):
        signed = stripe.WebhookSignature.generate_signature_header(body, SIGNING_SECRET)
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
        answer = line.ask("webhook", "POST", "/stripe_webhook", data=body, headers=headers)
        if answer.status_code == 200:
            line.seen.events.add(event)


def find(line: Line, _rng: random.Random) -> None:
    """Asks for a mail with the orders of an address."""
    line.session.cookies.clear()
    form = dict(_HIDDEN.findall(line.ask("find page", "GET", "/orders/find").text))
    form |= {"email": f"{uuid4().hex}@example.com"}
    line.ask("find orders", "POST", "/orders/find", data=form)


def create(line: Line, rng: random.Random) -> None:
    """Creates a PaymentIntent as another program does, with a key that the shop keeps."""
    body = {"data": {"amount": rng.randint(1, 90)}}
    headers = {"Idempotency-Key": uuid4().hex}
    line.ask("create endpoint", "POST", "/stripe_create_payment_intent", json=body, headers=headers)


def keep_at_it(
    act: Callable[[Line, random.Random], None], line: Line, seed: int, over: threading.Event
) -> None:
    """Does it again and again until it is over; an answer that never came is noted."""
    rng = random.Random(seed)
    while not over.is_set():
        try:
            act(line, rng)
        except requests.RequestException as error:
            line.seen.blame(f"{act.__name__}: {type(error).__name__}: {error}")


def _event(event: str, kind: str) -> dict[str, Any]:
    """An event about something of another system's on the same account."""
    thing = {"id": f"pi_{uuid4().hex}", "object": "payment_intent", "status": "succeeded"}
    return {
        "id": event,
        "object": "event",
        "api_version": API_VERSION,
        "created": int(time.time()),
        "livemode": False,
        "pending_webhooks": 1,
        "type": kind,
        "data": {"object": thing | {"amount": 1000, "currency": "usd"}},
    }
