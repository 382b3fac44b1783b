"""A raw line to a shop, and what must not have changed after what was said on it."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from tests.actions import Shopfront
from tests.stripe_line import StripeLine
from tmt.checkout.models import Order
from tmt.core.database import Base
from tmt.payments.models import Payment

Headers = Mapping[str, str | bytes]
# What is written down about saying something, whatever it is.
BOOKS = frozenset({"api_keys", "stripe_events"})


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


class RawLine:
    """Says things to the shop that a well-behaved client would not say.

    `seen` counts the answers by status, for a trial to tell that it got where it wanted.
    """

    def __init__(self, front: Shopfront) -> None:
        self.front = front
        self.seen: Counter[int] = Counter()
        self.stripe = StripeLine(front)
        self._statuses: list[int] = []
        answering = front.sandbox.wsgi.wsgi_app
        front.sandbox.wsgi.wsgi_app = lambda environ, start: answering(environ, self._noted(start))

    def say(
        self, method: str, path: str, body: bytes = b"", headers: Headers | None = None
    ) -> Answer:
        """One request; never answered with a 5xx of the shop's own making."""
        self._statuses.clear()
        address = self.front.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as line:
            line.request(method, path, body, dict(headers or {}))
            told = line.getresponse()
            answer = Answer(
                told.status, told.read(), told.getheader("Location", ""), tuple(self._statuses)
            )
        self.seen[answer.status] += 1
        # An id that would be another address at Stripe is answered as one that it does not know.
        refused = any(status >= 400 for status in answer.stripe) or _UNKNOWN in answer.body
        assert answer.status < 500 or refused, answer
        return answer

    def _noted(self, start: Any) -> Any:
        def noted(status: str, *more: Any) -> Any:
            self._statuses.append(int(status.split()[0]))
            return start(status, *more)

        return noted


def state(front: Shopfront) -> dict[str, Any]:
    """Everything that counts: rows of every table but the books', where orders and payments stand,
    places, and PaymentIntents."""
    with front.shop.db.reading() as session:
        rows = {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
            if name not in BOOKS
        }
        stand = [
            sorted(map(tuple, session.execute(select(table.id, table.status))))
            for table in (Order, Payment)
        ]
    return rows | {"stand": stand, "stock": front.stock(), "intents": len(intents(front))}


def intents(front: Shopfront) -> dict[str, Any]:
    """Every PaymentIntent that Stripe has, by its id."""
    path = front.shop.settings.instance.parent / "sandbox.sqlite"
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        rows = connection.execute("SELECT id, body FROM objects WHERE id LIKE 'pi\\_%' ESCAPE '\\'")
        return {row[0]: json.loads(row[1]) for row in rows}


@contextlib.contextmanager
def unchanged(front: Shopfront) -> Iterator[None]:
    """What is said in this block changes nothing."""
    before = state(front)
    yield
    assert state(front) == before
