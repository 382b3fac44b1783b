"""A raw HTTP client of a shop, and what must not have changed after a request."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from tests.sandbox_store import objects_of
from tests.shopfront import Shopfront
from tests.stripe_proxy import StripeProxy
from tmt.checkout.models import Order
from tmt.core.database import Base
from tmt.payments.models import Payment

Headers = Mapping[str, str | bytes]
# Tables that record requests, whatever they are.
_RECORDS = frozenset({"api_keys", "stripe_events"})
_UNKNOWN = b"No such payment_intent"


@dataclass(frozen=True)
class Answer:
    """A status, a body, and what Stripe answered meanwhile."""

    status: int
    body: bytes
    location: str
    stripe: tuple[int, ...]

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """Sends the shop what a well-behaved client would not send.

    `statuses` counts the answers, for a test to see that it got where it was meant to.
    """

    def __init__(self, front: Shopfront) -> None:
        self.front = front
        self.statuses: Counter[int] = Counter()
        self.stripe = StripeProxy(front)
        self._at_stripe: list[int] = []
        answer = front.sandbox.wsgi.wsgi_app
        front.sandbox.wsgi.wsgi_app = lambda environ, start: answer(environ, self._noting(start))

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Headers | None = None
    ) -> Answer:
        """One request; never answered with a 5xx of the shop's own making."""
        self._at_stripe.clear()
        address = self.front.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as client:
            client.request(method, path, body, dict(headers or {}))
            response = client.getresponse()
            answer = Answer(
                response.status,
                response.read(),
                response.getheader("Location", ""),
                tuple(self._at_stripe),
            )
        self.statuses[answer.status] += 1
        # An id that would be another address at Stripe is answered as one that it does not know.
        refused = any(status >= 400 for status in answer.stripe) or _UNKNOWN in answer.body
        assert answer.status < 500 or refused, answer
        return answer

    def _noting(self, start: Any) -> Any:
        def noted(status: str, *more: Any) -> Any:
            self._at_stripe.append(int(status.split()[0]))
            return start(status, *more)

        return noted


def state(front: Shopfront) -> dict[str, Any]:
    """Everything that counts: the number of rows of every table that does not record requests,
    the statuses of orders and payments, stock, and PaymentIntents."""
    with front.shop.db.reading() as session:
        rows = {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
            if name not in _RECORDS
        }
        statuses = [
            sorted(map(tuple, session.execute(select(table.id, table.status))))
            for table in (Order, Payment)
        ]
    return rows | {"statuses": statuses, "stock": front.stock(), "intents": len(intents(front))}


def intents(front: Shopfront) -> dict[str, Any]:
    """Every PaymentIntent that Stripe has, by its id."""
    return {one["id"]: one for one in objects_of(front.stripe_store, "payment_intent")}


@contextlib.contextmanager
def unchanged(front: Shopfront) -> Iterator[None]:
    """What is sent in this block changes nothing."""
    before = state(front)
    yield
    assert state(front) == before
