"""The buyer: somebody with a browser without JavaScript, who may pay at Stripe all the same."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

HIDDEN = re.compile(
    r'name="(checkout_token|csrf_token|shown_benefits|shown_price-\d+)"\s+value="([^"]*)"'
)
_QUANTITY = re.compile(r'name="(quantity-\d+)"')
_DATA = re.compile(r'data-(client-secret|return-url)="([^"]*)"')
_ORDER = re.compile(r"/orders/([\w-]{22})")

Json = dict[str, Any]


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of the page's form."""
    return dict(HIDDEN.findall(page))


def order_token(answer: requests.Response) -> str | None:
    """The token of the order that a redirect leads to."""
    match = _ORDER.search(answer.headers.get("Location", ""))
    return match[1] if match else None


@dataclass
class Buyer:
    """Knows nothing but the shop's address and what its pages say. `request` is the one way out."""

    url: str
    name: str = "Ana Ejemplo"
    email: str = "ana@example.com"
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.url + path, **{"timeout": 20} | more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, data: Any, **more: Any) -> requests.Response:
        return self.request("POST", path, data=data, **more)

    def csrf_token(self, path: str) -> str:
        return hidden_fields(self.get(path).text)["csrf_token"]

    def fill_in(self, slug: str, quantities: Sequence[int] = ()) -> dict[str, str]:
        """The form of the event's page with the buyer's name and so many tickets of each type."""
        page = self.get(f"/events/{slug}").text
        names = _QUANTITY.findall(page)
        counts = {name: str(n) for name, n in zip(names, quantities, strict=False) if n}
        return hidden_fields(page) | counts | {"name": self.name, "email": self.email}

    def submit(self, slug: str, fields: dict[str, Any], **more: Any) -> requests.Response:
        return self.post(f"/events/{slug}/orders", fields, **{"allow_redirects": False} | more)

    def payment_details(self, token: str) -> tuple[str, str] | None:
        """The pay page's client secret and return address; None when there is nothing to pay."""
        page = self.get(f"/orders/{token}/pay").text
        data = {name: html.unescape(value) for name, value in _DATA.findall(page)}
        return (data["client-secret"], data["return-url"]) if "client-secret" in data else None

    def cancel_order(self, token: str) -> requests.Response:
        data = {"csrf_token": self.csrf_token(f"/orders/{token}")}
        return self.post(f"/orders/{token}/cancel", data, allow_redirects=False)
