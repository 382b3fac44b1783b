"""The buyers: people with a browser, a purpose and not much patience.

What they do after they have placed an order is `SCENARIOS`: steps on a `ChaosBuyer`, in order.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import requests

from tests.buyer import Buyer, order_token
from tests.chaos.plan import Visit
from tests.deployment import Deployment
from tests.racing import together
from tests.sandbox_client import BANK_PAGE, Json, NoAnswer, SandboxClient, card, debit

# Stands in every buyer's name and e-mail address, so that either is found wherever it is.
MARK = "Quetzalin"
# Calls and deliveries that were to suffer, whether they came or not.
ORDERED = "times ordered"
_TRIES = 4
# Longer than a hold, by the shop's clock.
_HOLD_SECONDS = 16 * 60


class Tally:
    """What was counted in a run, and the breaches that were seen; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.breaches: list[str] = []

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def reach(self, situation: str) -> None:
        """A situation that each run must go through has come about."""
        with self._lock:
            self.reached[situation] += 1

    def breach(self, text: str) -> None:
        """Something that breaks a promise; the text says where to look."""
        with self._lock:
            self.breaches.append(text)


class GaveUp(Exception):
    """The buyer went away: something did not answer, or there is nothing to buy."""


def client_of(shop: Deployment) -> SandboxClient:
    return SandboxClient(shop.stripe_url, shop.secret_key, shop.publishable_key, shop.store)


class ChaosBuyer(Buyer):
    """One visit of one buyer, who has one order and what the pay page says of it."""

    def __init__(self, shop: Deployment, tally: Tally, visit: Visit, number: str) -> None:
        super().__init__(shop.url, f"{MARK} {number}", f"{MARK.lower()}-{number}@chaos.example")
        self.visit = visit
        self.stripe = client_of(shop)
        self.order = ""
        self.details: tuple[str, str] | None = None
        self._tally = tally
        self.session.headers["X-Forwarded-For"] = visit.address

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        """The shop's answer, after some patience with a connection that breaks. `GaveUp`."""
        for attempt in range(_TRIES):
            time.sleep(0.3 * attempt)
            answer = self._try(partial(super().request, method, path), **more)
            if answer is not None and answer.status_code < 500:
                return answer
        raise GaveUp(path)

    def _try(self, send: Callable[..., requests.Response], **more: Any) -> requests.Response | None:
        self._tally.count("requests")
        try:
            answer = send(**{"timeout": 60} | more)
        except requests.RequestException:
            self._tally.count("requests cut")
            return None
        for one in (*answer.history, answer):
            if one.status_code >= 500:
                self._tally.count(f"answers {one.status_code}")
            elif one.status_code not in (200, 302, 303, 422):
                what = f"{one.request.method} {one.url} was answered {one.status_code}"
                self._tally.breach(f"{what}: {one.text[:300]}")
        return answer

    def place(self) -> None:
        """Reserves. `GaveUp` when the tickets are gone."""
        fields = self._form()
        self._placed(self.submit(self.visit.event, fields))

    def place_twice(self) -> None:
        """Clicks twice on "Reserve": both clicks must lead to one order."""
        fields = self._form()
        click = partial(self._click, fields)
        answers = [answer for answer in together(click, click) if answer is not None]
        tokens = {order_token(answer) for answer in answers if answer.status_code == 303}
        if len(tokens) > 1:
            self._tally.breach(f"a double click of {self.email} led to {len(tokens)} orders")
        # Where both clicks were lost, or one met the end of the other's, a third one tells.
        self._placed(self.submit(self.visit.event, fields))

    def _form(self) -> dict[str, str]:
        fields = self.fill_in(self.visit.event, self.visit.places)
        if not any(name.startswith("quantity-") for name in fields):
            raise GaveUp("no form")
        return fields

    def _click(self, fields: dict[str, str]) -> requests.Response | None:
        # A session is not made for two threads: each click takes its cookies along.
        more: Json = {"cookies": self.session.cookies.get_dict(), "allow_redirects": False}
        more["headers"] = {"X-Forwarded-For": self.visit.address}
        url = f"{self.url}/events/{self.visit.event}/orders"
        return self._try(partial(requests.post, url, data=fields), **more)

    def _placed(self, answer: requests.Response) -> None:
        token = order_token(answer)
        if not token:
            raise GaveUp("no tickets left")
        self.order = token

    def open_pay_page(self) -> None:
        """`GaveUp` when the order has ended."""
        self.details = self.payment_details(self.order)
        if self.details is None:
            raise GaveUp("nothing to pay")

    def confirm(self, method: Json) -> Json:
        """Confirms, again when Stripe does not answer; the PaymentIntent or Stripe's error."""
        if self.details is None:
            self.open_pay_page()
        assert self.details
        for attempt in range(_TRIES):
            time.sleep(0.3 * attempt)
            try:
                return self.stripe.confirm(self.details[0], method, self.details[1])
            except NoAnswer:
                self._tally.count("confirmations unanswered")
        raise GaveUp("confirm")

    def pay(self) -> None:
        self.confirm(card(self.visit.card))

    def be_declined(self) -> None:
        self.confirm(card(self.visit.declined))

    def pay_after_challenge(self, passed: bool) -> None:
        self._challenge(self.confirm(card(self.visit.asking)), passed)

    def abandon_challenge(self) -> None:
        self.confirm(card(self.visit.asking))

    def _challenge(self, intent: Json, passed: bool) -> None:
        """Answers the bank, if it asks."""
        if intent.get("status") == "requires_action":
            try:
                self.stripe.answer_challenge(intent, passed)
            except NoAnswer:
                raise GaveUp("bank") from None

    def come_back(self) -> None:
        """Looks at the return page and the order, as the browser is led there."""
        self.get(f"/orders/{self.order}/return")
        self.get(f"/orders/{self.order}")

    def cancel(self) -> None:
        page = f"/orders/{self.order}"
        fields = {"csrf_token": token} if (token := self._csrf(page)) else {}
        if fields:
            self.post(f"{page}/cancel", fields)

    def _csrf(self, page: str) -> str:
        try:
            return self.csrf_token(page)
        except KeyError:
            return ""

    def pay_twice_at_once(self) -> None:
        self.open_pay_page()
        together(partial(_tried, self.pay), partial(_tried, self.pay))

    def pay_and_cancel_at_once(self) -> None:
        self.open_pay_page()
        together(partial(_tried, self.pay), partial(_tried, self.cancel))

    def find_the_order_again(self) -> None:
        """Looks at the event's page, which leads back to an order that is not paid yet."""
        page = self.get(f"/events/{self.visit.event}").text
        if f"/orders/{self.order}/pay" not in page:
            # Time has passed, or it was paid for: then the page offers tickets again.
            raise GaveUp("the order has ended")

    def wait_until_the_hold_has_ended(self) -> None:
        since, end = self.stripe.now(), time.monotonic() + 15
        while self.stripe.now() - since < _HOLD_SECONDS and time.monotonic() < end:
            time.sleep(0.2)

    def look_around(self) -> None:
        for path in ("/", f"/events/{self.visit.event}", "/orders/find"):
            self.get(path)

    def pay_by_debit(self) -> None:
        self.confirm(debit(self.visit.iban, self.name, self.email))

    def pay_at_a_bank(self) -> None:
        """Passes, fails, or closes the bank's page."""
        intent = self.confirm(BANK_PAGE)
        if self.visit.pause > 0.2:
            self._challenge(intent, passed=self.visit.pause > 0.4)
            self.come_back()

    def take_a_free_ticket(self) -> None:
        (self.place_twice if self.visit.pause > 0.5 else self.place)()
        self.get(f"/orders/{self.order}")


def _tried(action: Callable[[], object]) -> None:
    try:
        action()
    except GaveUp:
        return


B = ChaosBuyer
SCENARIOS: dict[str, tuple[Callable[[ChaosBuyer], None], ...]] = {
    "pays": (B.place, B.pay, B.come_back),
    "closes_the_browser": (B.place, B.pay),
    "is_declined_once": (B.place, B.be_declined, B.pay, B.come_back),
    "is_declined": (B.place, B.be_declined, B.come_back),
    "passes_3d_secure": (B.place, partial(B.pay_after_challenge, passed=True), B.come_back),
    "fails_3d_secure": (B.place, partial(B.pay_after_challenge, passed=False), B.come_back),
    "abandons_3d_secure": (B.place, B.abandon_challenge),
    "double_clicks": (B.place_twice, B.pay_twice_at_once, B.come_back),
    "cancels": (B.place, B.open_pay_page, B.cancel),
    "cancels_while_paying": (B.place, B.pay_and_cancel_at_once, B.come_back),
    "comes_back": (B.place, B.find_the_order_again, B.pay, B.come_back),
    "pays_late": (B.place, B.open_pay_page, B.wait_until_the_hold_has_ended, B.pay, B.come_back),
    "looks_only": (B.look_around,),
    "pays_by_debit": (B.place, B.pay_by_debit, B.come_back),
    "pays_at_a_bank": (B.place, B.pay_at_a_bank),
    "takes_a_free_ticket": (B.take_a_free_ticket,),
}


def visit(shop: Deployment, tally: Tally, planned: Visit, number: str) -> None:
    """Goes through one visit to its end, or to where the buyer goes away."""
    buyer = ChaosBuyer(shop, tally, planned, number)
    try:
        for step in SCENARIOS[planned.scenario]:
            step(buyer)
        tally.count("visits to the end")
    except GaveUp:
        tally.count("visits given up")
    time.sleep(planned.pause * 0.3)
