"""The sandbox as people reach it: the buyer's browser, the organiser's dashboard, the trial."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.chaos.servers import Place

Json = dict[str, Any]


class NoAnswer(Exception):
    """Stripe does not answer, or with an error of its own."""


@dataclass(frozen=True)
class Stripe:
    """Stripe's stand-in at its place."""

    place: Place

    def confirm(self, client_secret: str, method: Json, return_url: str) -> Json:
        """Pays as Stripe.js does; the PaymentIntent or the error. `NoAnswer`."""
        payment_intent = client_secret.partition("_secret_")[0]
        data = {"client_secret": client_secret, "return_url": return_url, **method}
        data["use_stripe_sdk"] = "true"
        url = f"{self.place.stripe_url}/v1/payment_intents/{payment_intent}/confirm"
        headers = {"Authorization": f"Bearer {self.place.publishable_key}"}
        return self._told(url, data, headers)

    def answer_bank(self, intent: Json, passed: bool) -> str | None:
        """What the buyer says on the bank's page; the address that it sends back to, if any."""
        action = intent["next_action"]
        if action["type"] == "redirect_to_url":
            url = action["redirect_to_url"]["url"]
        else:
            url = f"{self.place.stripe_url}/3ds/{action['use_stripe_sdk']['source']}"
        data = {"outcome": "complete" if passed else "fail"}
        try:
            answer = requests.post(url, data, timeout=60, allow_redirects=False)
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from None
        return answer.headers.get("Location")

    def order(self, path: str, **values: Any) -> Json:
        """A change by the dashboard: `clock`, `faults`, `payments/pi_…/refund` and so on.

        `NoAnswer` with the reason when it refuses.
        """
        headers = {"Authorization": f"Bearer {self.place.secret_key}", "Accept": "application/json"}
        url = f"{self.place.stripe_url}/{path}"
        answer = requests.post(url, values, headers=headers, timeout=300, allow_redirects=False)
        if answer.status_code >= 400:
            raise NoAnswer(f"{path}: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json()) if path == "clock" else {}

    def armed(self) -> list[Json]:
        """The faults that are still to strike."""
        headers = {"Accept": "application/json"}
        listed = requests.get(f"{self.place.stripe_url}/faults", headers=headers, timeout=60)
        return list(listed.json())

    def now(self) -> float:
        """What time it is at Stripe (Unix seconds)."""
        url = f"{self.place.stripe_url}/clock"
        answer = requests.get(url, headers={"Accept": "application/json"}, timeout=300)
        return float(answer.json()["now"])

    def objects(self, kind: str) -> list[Json]:
        """All objects of the kind as Stripe has them."""
        return objects_of(self.place.store, kind)

    def _told(self, url: str, data: Json, headers: dict[str, str]) -> Json:
        try:
            answer = requests.post(url, data, headers=headers, timeout=30)
            told: Json = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise NoAnswer(type(error).__name__) from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise NoAnswer(str(answer.status_code))
        return told


def objects_of(store: Path, kind: str) -> list[Json]:
    """All objects of the kind in a sandbox's store; no fault comes between."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=60)) as opened:
        rows = opened.execute("SELECT body FROM objects WHERE kind = ?", (kind,)).fetchall()
    return [json.loads(body) for (body,) in rows]


def card(number: str) -> Json:
    """A card as its field sends it."""
    typed = {"number": number, "exp_month": "12", "exp_year": "2034", "cvc": "123"}
    fields = {f"payment_method_data[card][{name}]": value for name, value in typed.items()}
    return {"payment_method_data[type]": "card", **fields}


def debit(iban: str, name: str, email: str) -> Json:
    """A bank account as its field sends it."""
    return {
        "payment_method_data[type]": "sepa_debit",
        "payment_method_data[sepa_debit][iban]": iban,
        "payment_method_data[billing_details][name]": name,
        "payment_method_data[billing_details][email]": email,
    }


def bank_page() -> Json:
    """A method that is paid on the bank's own page."""
    return {"payment_method_data[type]": "ideal"}
