"""A sandbox on a real threaded server, a webhook receiver, and a shop page for the browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import stripe
from playwright.sync_api import Browser, Page
from werkzeug.wrappers import Request, Response

from tests.servers import serve
from tmt.sandbox import Endpoint, Sandbox

from .driver import Driver
from .shapes import CheckingClient

SECRET_KEY = "sk_test_sandboxtests0000001"
PUBLISHABLE_KEY = "pk_test_sandboxtests0000001"
SIGNING_SECRET = "whsec_sandboxtests"
BEARER = {"Authorization": f"Bearer {SECRET_KEY}"}
NEW = {"amount": 2000, "currency": "usd"}
NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}
DAY = 86400
VISA, CHALLENGED = "4242424242424242", "4000002760003184"
IBAN = "DE89370400440532013000"
Pay = Callable[..., Any]


@dataclass
class Receiver:
    """A webhook receiver that verifies signatures and answers with `statuses`, then with 200."""

    statuses: list[int] = field(default_factory=list)
    events: list[stripe.Event] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        body, header = request.get_data(), request.headers["Stripe-Signature"]
        event = stripe.Webhook.construct_event(body, header, SIGNING_SECRET)
        with self.changed:
            status = self.statuses.pop(0) if self.statuses else 200
            self.events.append(event)
            self.signatures.append(header)
            self.bodies.append(body)
            self.changed.notify_all()
        return Response(f"answer {status}", status)(environ, start_response)

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def wait_for(self, *types: str) -> Any:
        """Wait until all these types have come; returns the last event of the last type."""
        with self.changed:
            assert self.changed.wait_for(lambda: set(types) <= set(self.types()), 20), self.types()
            return next(e for e in reversed(self.events) if e.type == types[-1])

    def wait_count(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events) >= count, 20), self.types()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    server = serve(receiver)
    receiver.url = server.url + "/hook"
    yield receiver
    server.stop()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.sqlite"


@pytest.fixture
def box(store: Path, receiver: Receiver) -> Iterator[Sandbox]:
    endpoints = [Endpoint(receiver.url, SIGNING_SECRET)]
    box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, endpoints, retry_delays=(0.05, 0.05))
    yield box
    box.close()


@contextmanager
def served_sandbox(store: Path, *endpoints: Endpoint) -> Iterator[tuple[Sandbox, str, Any]]:
    """Another sandbox on the store: itself, its URL, and the official SDK's client of it."""
    box = Sandbox(store, SECRET_KEY, PUBLISHABLE_KEY, endpoints)
    server = serve(box.wsgi)
    yield box, server.url, stripe.StripeClient(SECRET_KEY, base_addresses={"api": server.url}).v1
    server.stop()
    box.close()


@pytest.fixture
def driver(box: Sandbox) -> Driver:
    """The sandbox, delivering events, as a test drives it."""
    box.start()
    return Driver(box)


@pytest.fixture
def root(box: Sandbox) -> Iterator[str]:
    server = serve(box.wsgi)
    yield server.url
    server.stop()


@pytest.fixture
def v1(root: str) -> Any:
    """The official SDK's client of the sandbox."""
    client = CheckingClient()
    return stripe.StripeClient(SECRET_KEY, base_addresses={"api": root}, http_client=client).v1


@pytest.fixture
def pay(v1: Any) -> Pay:
    """Create and confirm a PaymentIntent of 20.00 usd with a test card token."""

    def pay(token: str = "pm_card_visa", **params: Any) -> Any:
        default = {**NEW, "confirm": True, "payment_method": token}
        default["automatic_payment_methods"] = NO_REDIRECTS
        return v1.payment_intents.create({**default, **params})

    return pay


@pytest.fixture
def intent(v1: Any) -> Any:
    """A PaymentIntent of 20.00 usd that waits for the browser."""
    return v1.payment_intents.create({**NEW, "metadata": {"order": "7"}})


@pytest.fixture
def euros(v1: Any) -> Any:
    """A PaymentIntent of 20.00 eur, which takes cards, debits and iDEAL."""
    return v1.payment_intents.create({"amount": 2000, "currency": "eur"})


def error_of(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The error that the call raises."""
    with pytest.raises(stripe.StripeError) as caught:
        call(*arguments, **named)
    return caught.value


def until(check: Callable[[], bool]) -> None:
    """Wait (at most 5 s) for something that another thread does."""
    end = time.monotonic() + 5
    while not check():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


SHOP_PAGE = """<!doctype html><html lang="en"><title>Shop</title>
<h1>Shop</h1><label for="element">Pay by card</label><div id="element"></div>
<button id="pay">Pay</button><p id="out" role="status"></p>
<script src="{root}/stripe.js"></script><script src="/shop.js"></script></html>"""
SHOP_SCRIPT = """
const settings = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
const stripe = Stripe("KEY", { locale: settings.locale || "en" });
const { secret, appearance } = settings;
const elements = stripe.elements(settings.elements || { clientSecret: secret, appearance });
const element = elements.create(settings.element || "payment", settings.options);
window.events = [];
for (const name of ["ready", "change", "focus", "blur", "escape", "loaderror", "loaderstart"]) {
  element.on(name, (event) => window.events.push({ name, ...event }));
}
element.mount("#element");
document.querySelector("#pay").addEventListener("click", async () => {
  document.querySelector("#out").textContent = "";
  const confirm = settings.secret?.startsWith("seti") ? "confirmSetup" : "confirmPayment";
  const result = await stripe[confirm]({
    elements,
    confirmParams: { return_url: location.origin + "/done?order=7" },
    redirect: settings.redirect || "if_required",
  });
  document.querySelector("#out").textContent = JSON.stringify(result);
});
"""


@dataclass
class Shop:
    """A page of another origin with a strict policy, which loads the sandbox's script."""

    root: str
    url: str = ""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if Request(environ).path == "/shop.js":
            script = SHOP_SCRIPT.replace("KEY", PUBLISHABLE_KEY)
            return Response(script, mimetype="text/javascript")(environ, start_response)
        answer = Response(SHOP_PAGE.format(root=self.root), mimetype="text/html")
        sources = f"script-src 'self' {self.root}; frame-src {self.root}; connect-src {self.root}"
        answer.headers["Content-Security-Policy"] = f"default-src 'none'; {sources}"
        return answer(environ, start_response)


@pytest.fixture
def shop(root: str) -> Iterator[Shop]:
    shop = Shop(root)
    server = serve(shop)
    shop.url = server.url
    yield shop
    server.stop()


@dataclass
class Buyer:
    """A buyer at the shop's payment page."""

    page: Page
    shop: Shop
    problems: list[str] = field(default_factory=list)

    def open(self, secret: str | None, until_event: str = "ready", **settings: Any) -> None:
        """Show the page, with these settings for its script, until its element emits the event."""
        self.page.on("console", lambda line: self.problems.append(line.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        settings["secret"] = secret
        self.page.goto(f"{self.shop.url}/#{json.dumps(settings)}")
        until(lambda: bool(self.events(until_event)))

    def events(self, name: str) -> list[Any]:
        """The element's events of this name so far."""
        events: list[Any] = self.page.evaluate(f"events.filter((e) => e.name === '{name}')")
        return events

    def wait_for_change(self, method: str, complete: bool) -> None:
        """Wait until the element's last change says this of its content."""
        last = "[events.findLast((e) => e.name === 'change')].map((e) => [e.value, e.complete])[0]"
        until(lambda: bool(self.page.evaluate(last) == [{"type": method}, complete]))

    @property
    def frame(self) -> Any:
        return self.page.frame_locator("#element iframe")

    def choose(self, method: str) -> None:
        self.frame.locator(f"input[value={method}]").check()

    def fill(self, number: str, expiry: str = "12/34", cvc: str = "123") -> None:
        self.frame.locator("[name=number]").press_sequentially(number)
        self.frame.locator("[name=expiry]").press_sequentially(expiry)
        self.frame.locator("[name=cvc]").press_sequentially(cvc)
        self.frame.locator("[name=country]").select_option("ES")

    def fill_debit(self, iban: str) -> None:
        self.choose("sepa_debit")
        self.frame.locator("[name=iban]").press_sequentially(iban)
        self.frame.locator("[name=name]").fill("Ana Ejemplo")
        self.frame.locator("[name=email]").fill("ana@example.com")

    def result(self) -> dict[str, Any]:
        """What confirmPayment resolved with."""
        self.page.locator("#out:not(:empty)").wait_for()
        result: dict[str, Any] = json.loads(self.page.text_content("#out") or "")
        return result

    def pay(self) -> dict[str, Any]:
        self.page.click("#pay")
        return self.result()

    def returned(self) -> dict[str, str]:
        """The parameters of the return URL, once the browser is there."""
        self.page.wait_for_url("**/done**")
        return dict(parse_qsl(urlsplit(self.page.url).query))

    def answer(self, button: str) -> dict[str, Any]:
        """Press a button of the 3-D Secure challenge."""
        self.page.frame_locator("dialog iframe").frame_locator("iframe").get_by_role(
            "button", name=button
        ).click()
        return self.result()


@pytest.fixture
def buyer(browser: Browser, shop: Shop) -> Iterator[Buyer]:
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(8000)
    yield Buyer(context.new_page(), shop)
    context.close()
