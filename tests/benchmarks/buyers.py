"""The buyers: a process in which several of them make the same visit again and again, timed.

Run as a program by `load.carried_out`. A visit is what a browser asks one after the other; it is
over when the buyer sees the tickets. It imports the standard library only, as `client.py` does.
"""

from __future__ import annotations

import heapq
import html
import json
import re
import selectors
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlencode

from tests.benchmarks.client import Connection

# How long a buyer waits before asking again whether the order is paid for.
_ASK_AGAIN = 0.25
_HIDDEN = re.compile(r'name="(checkout_token|csrf_token|shown_price-\d+)"\s+value="([^"]*)"')
_QUANTITY = re.compile(r'name="(quantity-\d+)"')
_DATA = re.compile(r'data-(client-secret|return-url)="([^"]*)"')
_LOCATION = re.compile(rb"(?im)^location: *(?:https?://[^/]+)?(\S+)")
_COOKIE = re.compile(rb"(?im)^set-cookie: *([^;\r]+)")
_TYPE = "Content-Type: application/x-www-form-urlencoded\r\n"


@dataclass(frozen=True)
class Errand:
    """Who buys what where: `kind` is "hello", "free" or "paid"; at least `seconds` long."""

    kind: str
    port: int
    head: str
    slug: str = ""
    stripe_port: int = 0
    publishable_key: str = ""
    buyers: int = 4
    seconds: float = 1.0


@dataclass
class Visits:
    """How long each visit took, and all of them together."""

    took: list[float] = field(default_factory=list)
    seconds: float = 0.0


class NotAsExpected(Exception):
    """An answer that the buyer of a working shop does not get."""


@dataclass(frozen=True)
class Ask:
    """One request, on the buyer's connection to that port."""

    port: int
    request: bytes
    status: int = 200


# A visit asks, or waits for so many seconds; it is given the answers.
Visit = Generator[Ask | float, bytes, None]


class Browser:
    """What one visit's browser remembers: the shop's cookies."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._cookies: dict[bytes, bytes] = {}

    def ask(
        self, path: str, form: dict[str, str] | None = None, status: int = 200
    ) -> Generator[Ask | float, bytes, bytes]:
        """The shop's answer to a GET, or to a POST of the form."""
        body = urlencode(form) if form else ""
        head = self._errand.head.format(method="POST" if form else "GET", path=path)
        if self._cookies:
            pairs = b"; ".join(b"=".join(pair) for pair in self._cookies.items())
            head += f"\r\nCookie: {pairs.decode()}"
        if form:
            head += f"\r\n{_TYPE}Content-Length: {len(body)}"
        answer = yield Ask(self._errand.port, f"{head}\r\n\r\n{body}".encode(), status)
        for cookie in _COOKIE.findall(answer.partition(b"\r\n\r\n")[0]):
            name, _equals, value = cookie.partition(b"=")
            self._cookies[name] = value
        return answer


def _hello(errand: Errand) -> Visit:
    yield Ask(errand.port, (errand.head.format(method="GET", path="/") + "\r\n\r\n").encode())


def _free(errand: Errand) -> Visit:
    browser = Browser(errand)
    path = yield from _placed(browser, errand)
    yield from _tickets(browser, path)


def _paid(errand: Errand) -> Visit:
    browser = Browser(errand)
    path = yield from _placed(browser, errand)
    page = (yield from browser.ask(path)).decode()
    found = {name: html.unescape(value) for name, value in _DATA.findall(page)}
    yield _confirmation(errand, found["client-secret"], found["return-url"])
    order = path.removesuffix("/pay")
    while b'"paid"' not in (yield from browser.ask(f"{order}/status")):
        yield _ASK_AGAIN
    yield from _tickets(browser, order)


def _placed(browser: Browser, errand: Errand) -> Generator[Ask | float, bytes, str]:
    """Two places of the event's first type; where the shop leads to then."""
    page = (yield from browser.ask(f"/events/{errand.slug}")).decode()
    form = dict(_HIDDEN.findall(page)) | {_QUANTITY.findall(page)[0]: "2"}
    form |= {"name": "Ana Ejemplo", "email": "ana@example.com"}
    answer = yield from browser.ask(f"/events/{errand.slug}/orders", form, 303)
    found = _LOCATION.search(answer)
    assert found
    return found[1].decode()


def _tickets(browser: Browser, path: str) -> Visit:
    page = yield from browser.ask(path)
    if page.count(b"<svg") < 2:
        raise NotAsExpected(f"no tickets on {path}")


def _confirmation(errand: Errand, client_secret: str, return_url: str) -> Ask:
    """What Stripe.js sends when the buyer presses the button."""
    payment_intent = client_secret.partition("_secret_")[0]
    card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2034", "cvc": "123"}
    form = {f"payment_method_data[card][{name}]": value for name, value in card.items()}
    form |= {"payment_method_data[type]": "card", "use_stripe_sdk": "true"}
    body = urlencode(form | {"client_secret": client_secret, "return_url": return_url})
    path = f"/v1/payment_intents/{payment_intent}/confirm"
    head = errand.head.format(method="POST", path=path)
    head += f"\r\nAuthorization: Bearer {errand.publishable_key}"
    head += f"\r\n{_TYPE}Content-Length: {len(body)}"
    return Ask(errand.stripe_port, f"{head}\r\n\r\n{body}".encode())


_KINDS: dict[str, Callable[[Errand], Visit]] = {"hello": _hello, "free": _free, "paid": _paid}


class Buyer:
    """One of them: one visit at a time, over connections that stay open as long as servers let."""

    def __init__(self, errand: Errand, selector: selectors.BaseSelector) -> None:
        self._begin = partial(_KINDS[errand.kind], errand)
        self._selector = selector
        self._connections: dict[int, Connection] = {}
        self._visit = self._begin()
        self._asked: Ask | None = None
        self._since = 0.0
        self._open(errand.port)

    def begin(self) -> float | None:
        """Begins a visit; as `go_on`."""
        self._visit, self._since = self._begin(), time.perf_counter()
        return self._do(next(self._visit))

    def go_on(self, answer: bytes | None = None) -> float | None:
        """Does what comes next; for how long the buyer waits now, None for an answer.

        `Over` at the end of the visit.
        """
        if answer is not None:
            self._check(answer)
        try:
            return self._do(next(self._visit) if answer is None else self._visit.send(answer))
        except StopIteration:
            raise Over(time.perf_counter() - self._since) from None

    def _do(self, step: Ask | float) -> float | None:
        if not isinstance(step, Ask):
            return step
        self._asked = step
        (self._connections.get(step.port) or self._open(step.port)).send(step.request)
        return None

    def _check(self, answer: bytes) -> None:
        assert self._asked
        if answer[9:12].decode() != str(self._asked.status):
            raise NotAsExpected(f"{self._asked.request[:80]!r}: {answer[:2000]!r}")
        if b"\r\nconnection: close\r\n" in answer.partition(b"\r\n\r\n")[0].lower() + b"\r\n":
            closed = self._connections.pop(self._asked.port).socket
            self._selector.unregister(closed)
            closed.close()

    def _open(self, port: int) -> Connection:
        made = self._connections[port] = Connection(port)
        self._selector.register(made.socket, selectors.EVENT_READ, (self, made))
        return made


class Over(Exception):
    """A visit has ended; it took so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Crowd:
    """Several buyers in one thread."""

    def __init__(self, errand: Errand) -> None:
        self._seconds = errand.seconds
        self._selector = selectors.DefaultSelector()
        self._buyers = [Buyer(errand, self._selector) for _number in range(errand.buyers)]
        self._waiting: list[tuple[float, int, Buyer]] = []
        self._numbers = count()
        self._busy = len(self._buyers)
        self._visits = Visits()

    def work(self) -> Visits:
        """Visits until the time is over, and then the ends of those under way."""
        started = time.perf_counter()
        end = started + self._seconds
        for buyer in self._buyers:
            self._wait(buyer, buyer.begin())
        while self._busy:
            for key, _events in self._selector.select(self._pause()):
                buyer, connection = key.data
                answer = connection.receive()
                if answer is not None:
                    self._step(buyer, answer, end)
            while self._waiting and self._waiting[0][0] <= time.perf_counter():
                self._step(heapq.heappop(self._waiting)[2], None, end)
        self._visits.seconds = time.perf_counter() - started
        return self._visits

    def _step(self, buyer: Buyer, answer: bytes | None, end: float) -> None:
        try:
            self._wait(buyer, buyer.go_on(answer))
        except Over as over:
            self._visits.took.append(over.seconds)
            if time.perf_counter() < end:
                self._wait(buyer, buyer.begin())
            else:
                self._busy -= 1

    def _wait(self, buyer: Buyer, seconds: float | None) -> None:
        if seconds is not None:
            due = time.perf_counter() + seconds
            heapq.heappush(self._waiting, (due, next(self._numbers), buyer))

    def _pause(self) -> float | None:
        return max(self._waiting[0][0] - time.perf_counter(), 0.0) if self._waiting else None


def main() -> None:
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    crowd = Crowd(Errand(**told))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(crowd.work())), flush=True)


if __name__ == "__main__":
    main()
