"""The sandbox over HTTP, as the buyer's browser and the organiser's dashboard reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.sandbox_store import objects_of

Json = dict[str, Any]


class NoAnswer(Exception):
    """Stripe does not answer, or with an error of its own."""


@dataclass(frozen=True)
class SandboxClient:
    """A sandbox that runs in another process."""

    url: str
    secret_key: str
    publishable_key: str
    store: Path

    def confirm(self, client_secret: str, method: Json, return_url: str) -> Json:
        """Pays as Stripe.js does; the PaymentIntent or Stripe's error. `NoAnswer`."""
        payment_intent = client_secret.partition("_secret_")[0]
        data = {"client_secret": client_secret, "return_url": return_url, **method}
        data["use_stripe_sdk"] = "true"
        url = f"{self.url}/v1/payment_intents/{payment_intent}/confirm"
        headers = {"Authorization": f"Bearer {self.publishable_key}"}
        try:
            answer = requests.post(url, data, headers=headers, timeout=60)
            body: Json = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise NoAnswer(type(error).__name__) from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise NoAnswer(str(answer.status_code))
        return body

    def answer_challenge(self, intent: Json, passed: bool) -> None:
        """What the buyer says on the bank's page. `NoAnswer`."""
        action = intent["next_action"]
        if action["type"] == "redirect_to_url":
            url = action["redirect_to_url"]["url"]
        else:
            url = f"{self.url}/3ds/{action['use_stripe_sdk']['source']}"
        data = {"outcome": "complete" if passed else "fail"}
        try:
            requests.post(url, data, timeout=60, allow_redirects=False)
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from None

    def dashboard(self, path: str, **values: Any) -> Json:
        """A change by the dashboard: `clock`, `faults`, `payments/pi_…/refund` and so on.

        `NoAnswer` with the reason when it refuses.
        """
        headers = {"Authorization": f"Bearer {self.secret_key}", "Accept": "application/json"}
        url = f"{self.url}/{path}"
        answer = requests.post(url, values, headers=headers, timeout=300, allow_redirects=False)
        if answer.status_code >= 400:
            raise NoAnswer(f"{path}: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json()) if path == "clock" else {}

    def read(self, path: str) -> Any:
        """What a page of the dashboard says: `faults` (those still to strike), or `clock`."""
        headers = {"Accept": "application/json"}
        return requests.get(f"{self.url}/{path}", headers=headers, timeout=300).json()

    def now(self) -> float:
        """What time it is at Stripe (Unix seconds)."""
        return float(self.read("clock")["now"])

    def objects(self, kind: str) -> list[Json]:
        """All objects of the kind as Stripe has them; no fault comes between."""
        return objects_of(self.store, kind)


def card(number: str = "4242424242424242") -> Json:
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


# A method that is paid on the bank's own page.
BANK_PAGE: Json = {"payment_method_data[type]": "ideal"}
