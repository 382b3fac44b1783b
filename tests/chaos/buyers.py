"""The buyers: people with a browser, a purpose and not much patience."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests

from tests.chaos.plan import Visit
from tests.chaos.sandbox import Json, NoAnswer, Stripe, bank_page, card, debit
from tests.chaos.servers import Place
from tests.chaos.tally import Tally
from tests.racing import together

# Stands in every buyer's name and e-mail address, so that either is found wherever it is.
MARK = "Quetzalin"
_HIDDEN = re.compile(r'name="(checkout_token|csrf_token|shown_price-\d+)"\s+value="([^"]*)"')
_QUANTITY = re.compile(r'name="(quantity-\d+)"')
_DATA = re.compile(r'data-(client-secret|return-url)="([^"]*)"')
_ORDER = re.compile(r"/orders/([\w-]{22})")
_TRIES = 4
# Longer than a hold, by the shop's clock.
_HOLD_SECONDS = 16 * 60


class GaveUp(Exception):
    """The buyer went away: something did not answer, or there is nothing to buy."""


class Shopper:
    """One visit of one buyer, with a browser of their own."""

    def __init__(self, place: Place, tally: Tally, visit: Visit, number: str) -> None:
        self.visit = visit
        self.stripe = Stripe(place)
        self.name = f"{MARK} {number}"
        self.email = f"{MARK.lower()}-{number}@chaos.example"
        self._url = place.shop_url
        self._tally = tally
        self._session = requests.Session()
        self._session.headers["X-Forwarded-For"] = visit.address

    def shop(self, method: str, path: str, data: Any = None, **more: Any) -> requests.Response:
        """The shop's answer, after some patience with a line that is cut. `GaveUp`."""
        for attempt in range(_TRIES):
            time.sleep(0.3 * attempt)
            answer = self._ask(self._session, method, path, data, **more)
            if answer is not None and answer.status_code < 500:
                return answer
        raise GaveUp(path)

    def _ask(
        self, session: Any, method: str, path: str, data: Any, **more: Any
    ) -> requests.Response | None:
        self._tally.count("requests")
        try:
            url = self._url + path
            answer: requests.Response = session.request(method, url, data=data, timeout=60, **more)
        except requests.RequestException:
            self._tally.count("requests cut")
            return None
        for one in (*answer.history, answer):
            if one.status_code >= 500:
                self._tally.count(f"answers {one.status_code}")
            elif one.status_code not in (200, 302, 303, 422):
                told = f"{method} {path} was answered {one.status_code}"
                self._tally.breach(f"{told}: {one.text[:300]}")
        return answer

    def form(self) -> dict[str, str]:
        """The event page's form, filled in. `GaveUp` when there is none."""
        page = self.shop("GET", f"/events/{self.visit.event}").text
        names = _QUANTITY.findall(page)
        if not names:
            raise GaveUp("no form")
        wanted = {name: str(n) for name, n in zip(names, self.visit.places, strict=False) if n}
        return dict(_HIDDEN.findall(page)) | wanted | {"name": self.name, "email": self.email}

    def place(self) -> str:
        """Reserves; the order's token. `GaveUp` when the places are gone."""
        path, fields = f"/events/{self.visit.event}/orders", self.form()
        return self._token(self.shop("POST", path, fields, allow_redirects=False))

    def place_twice(self) -> str:
        """Clicks twice on "Reserve": both clicks must lead to one order."""
        path, fields = f"/events/{self.visit.event}/orders", self.form()
        click = partial(self._click, path, fields)
        answers = [answer for answer in together(click, click) if answer is not None]
        tokens = {self._token(answer) for answer in answers if answer.status_code == 303}
        if len(tokens) > 1:
            self._tally.breach(f"a double click of {self.email} led to {len(tokens)} orders")
        # Where both clicks were lost, or one met the end of the other's, a third one tells.
        return self._token(self.shop("POST", path, fields, allow_redirects=False))

    def _click(self, path: str, fields: dict[str, str]) -> requests.Response | None:
        # A session is not made for two threads: each click takes its cookies along.
        more = {"cookies": self._session.cookies.get_dict(), "allow_redirects": False}
        more["headers"] = {"X-Forwarded-For": self.visit.address}
        return self._ask(requests, "POST", path, fields, **more)

    def _token(self, answer: requests.Response) -> str:
        found = _ORDER.search(answer.headers.get("Location", ""))
        if not found:
            raise GaveUp("no places")
        return found[1]

    def secret(self, token: str) -> tuple[str, str]:
        """The pay page's client secret and return address. `GaveUp` when the order has ended."""
        page = self.shop("GET", f"/orders/{token}/pay").text
        found = {name: html.unescape(value) for name, value in _DATA.findall(page)}
        if "client-secret" not in found:
            raise GaveUp("nothing to pay")
        return found["client-secret"], found["return-url"]

    def confirm(self, paper: tuple[str, str], method: Json) -> Json:
        """Confirms, again when Stripe does not answer; the PaymentIntent or Stripe's error."""
        secret, return_url = paper
        for attempt in range(_TRIES):
            time.sleep(0.3 * attempt)
            try:
                return self.stripe.confirm(secret, method, return_url)
            except NoAnswer:
                self._tally.count("confirmations unanswered")
        raise GaveUp("confirm")

    def come_back(self, token: str) -> None:
        """Looks at the return page and the order, as the browser is led there."""
        self.shop("GET", f"/orders/{token}/return")
        self.shop("GET", f"/orders/{token}")

    def cancel(self, token: str) -> None:
        """Gives the places up."""
        page = self.shop("GET", f"/orders/{token}").text
        fields = {k: v for k, v in _HIDDEN.findall(page) if k == "csrf_token"}
        if fields:
            self.shop("POST", f"/orders/{token}/cancel", fields)

    def to_the_bank(self, intent: Json, passed: bool) -> None:
        """Answers the bank, if it asks."""
        if intent.get("status") == "requires_action":
            try:
                self.stripe.answer_bank(intent, passed)
            except NoAnswer:
                raise GaveUp("bank") from None


def _pays(buyer: Shopper) -> None:
    token = buyer.place()
    buyer.confirm(buyer.secret(token), card(buyer.visit.card))
    buyer.come_back(token)


def _closes_the_browser(buyer: Shopper) -> None:
    buyer.confirm(buyer.secret(buyer.place()), card(buyer.visit.card))


def _is_declined(buyer: Shopper) -> None:
    token = buyer.place()
    buyer.confirm(buyer.secret(token), card(buyer.visit.declined))
    buyer.come_back(token)


def _is_declined_once(buyer: Shopper) -> None:
    token = buyer.place()
    paper = buyer.secret(token)
    buyer.confirm(paper, card(buyer.visit.declined))
    buyer.confirm(paper, card(buyer.visit.card))
    buyer.come_back(token)


def _asked_by_the_bank(buyer: Shopper, passed: bool) -> None:
    token = buyer.place()
    buyer.to_the_bank(buyer.confirm(buyer.secret(token), card(buyer.visit.asking)), passed)
    buyer.come_back(token)


def _abandons_3d_secure(buyer: Shopper) -> None:
    buyer.confirm(buyer.secret(buyer.place()), card(buyer.visit.asking))


def _double_clicks(buyer: Shopper) -> None:
    token = buyer.place_twice()
    paper = buyer.secret(token)
    pay = partial(_tries, partial(buyer.confirm, paper, card(buyer.visit.card)))
    together(pay, pay)
    buyer.come_back(token)


def _gives_up(buyer: Shopper) -> None:
    token = buyer.place()
    buyer.secret(token)
    buyer.cancel(token)


def _gives_up_while_paying(buyer: Shopper) -> None:
    token = buyer.place()
    paper = buyer.secret(token)
    pay = partial(_tries, partial(buyer.confirm, paper, card(buyer.visit.card)))
    together(pay, partial(_tries, partial(buyer.cancel, token)))
    buyer.come_back(token)


def _comes_back(buyer: Shopper) -> None:
    token = buyer.place()
    page = buyer.shop("GET", f"/events/{buyer.visit.event}").text
    if f"/orders/{token}/pay" not in page:
        # Time has passed, or it was paid for: then the page offers new places.
        raise GaveUp("not standing any more")
    buyer.confirm(buyer.secret(token), card(buyer.visit.card))
    buyer.come_back(token)


def _pays_late(buyer: Shopper) -> None:
    token = buyer.place()
    paper, since = buyer.secret(token), buyer.stripe.now()
    end = time.monotonic() + 15
    while buyer.stripe.now() - since < _HOLD_SECONDS and time.monotonic() < end:
        time.sleep(0.2)
    buyer.confirm(paper, card(buyer.visit.card))
    buyer.come_back(token)


def _looks_only(buyer: Shopper) -> None:
    for path in ("/", f"/events/{buyer.visit.event}", "/orders/find"):
        buyer.shop("GET", path)


def _pays_by_debit(buyer: Shopper) -> None:
    token = buyer.place()
    buyer.confirm(buyer.secret(token), debit(buyer.visit.iban, buyer.name, buyer.email))
    buyer.come_back(token)


def _pays_at_a_bank(buyer: Shopper) -> None:
    token = buyer.place()
    intent = buyer.confirm(buyer.secret(token), bank_page())
    if buyer.visit.pause > 0.2:
        buyer.to_the_bank(intent, passed=buyer.visit.pause > 0.4)
        buyer.come_back(token)


def _takes_a_free_place(buyer: Shopper) -> None:
    token = buyer.place_twice() if buyer.visit.pause > 0.5 else buyer.place()
    buyer.shop("GET", f"/orders/{token}")


def _tries(action: Callable[[], object]) -> None:
    try:
        action()
    except GaveUp:
        return


TOLD: dict[str, Callable[[Shopper], None]] = {
    "pays": _pays,
    "closes_the_browser": _closes_the_browser,
    "is_declined_once": _is_declined_once,
    "is_declined": _is_declined,
    "passes_3d_secure": partial(_asked_by_the_bank, passed=True),
    "fails_3d_secure": partial(_asked_by_the_bank, passed=False),
    "abandons_3d_secure": _abandons_3d_secure,
    "double_clicks": _double_clicks,
    "gives_up": _gives_up,
    "gives_up_while_paying": _gives_up_while_paying,
    "comes_back": _comes_back,
    "pays_late": _pays_late,
    "looks_only": _looks_only,
    "pays_by_debit": _pays_by_debit,
    "pays_at_a_bank": _pays_at_a_bank,
    "takes_a_free_place": _takes_a_free_place,
}


def visit(place: Place, tally: Tally, planned: Visit, number: str) -> None:
    """Tells one visit's story to its end, or to where the buyer goes away."""
    shopper = Shopper(place, tally, planned, number)
    try:
        TOLD[planned.story](shopper)
        tally.count("visits to the end")
    except GaveUp:
        tally.count("visits given up")
    time.sleep(planned.pause * 0.3)
