"""Stripe's test cards and other test payment methods: the rows of data/simulated_methods.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from tmt.sandbox.errors import api_error, card_error
from tmt.sandbox.objects import Json, load_table, split_words


@dataclass(frozen=True)
class SimulatedMethod:
    """A test card, bank account or redirect, and how payments with it go.

    `key` is its first token, or another name that is no card number; `number` is the card's. A
    charge fails with `code` and `decline_code`, and succeeds without `code`.
    """

    key: str
    kind: str
    number: str
    tokens: str = ""
    code: str = ""
    decline_code: str | None = None
    # none, optional, required, frictionless or lookup_fails
    three_d_secure: str = "none"
    # Whether it pays without the buyer, and without 3-D Secure: never, always or once_set_up.
    off_session: str = "never"
    # Whether it can be saved for a customer.
    attachable: bool = True
    redirect: bool = False
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    cvc_check: str = "pass"
    zip_check: str = "pass"
    line1_check: str = "pass"
    # Radar's level: normal, elevated or highest, which blocks the payment.
    risk: str = "normal"
    # What follows the payment: the reason of a dispute, "inquiry", "fraud_warning" or nothing.
    after_payment: str = ""
    # A refund's course: succeeded, pending (succeeds days later) or fails (days later).
    refund: str = "succeeded"
    settlement_days: int = 0
    iban_suffix: str = ""
    # Of a voucher: after how many seconds it is paid, if at all; how long it is valid, instead of
    # what the request says; and how long after its expiry it fails.
    pays_after: int | None = None
    voucher_seconds: int | None = None
    decided_after: int = 0
    available_at_once: bool = False


@cache
def _all_by_key() -> dict[str, SimulatedMethod]:
    methods, table = {}, load_table("simulated_methods")
    for kind in table["kinds"]:
        for number, row in table[kind].items():
            name = f"pm_{kind}_{number[-4:] if kind == 'card' else number}"
            key = split_words(row.get("tokens", name))[0]
            methods[key] = SimulatedMethod(key=key, kind=kind, number=number, **row)
    return methods


def all_cards() -> list[SimulatedMethod]:
    """The test cards."""
    return [method for method in _all_by_key().values() if method.kind == "card"]


def simulated_method(method_or_charge: Json) -> SimulatedMethod:
    """The one behind a stored payment method, or behind that of a charge."""
    return _all_by_key()[method_or_charge["_test"]]


def find_by_token(token: str) -> SimulatedMethod | None:
    """The one of a token: `pm_card_visa`, `pm_sepaDebit_success_de`, `pm_ideal`."""
    if token.startswith("pm_sepaDebit_"):
        return _all_by_key().get("pm_sepa_debit_" + token.split("_")[2])
    methods = _all_by_key().values()
    return next((method for method in methods if token in split_words(method.tokens)), None)


def find_by_card(card: Json) -> SimulatedMethod:
    """The test card with the number, expiry and CVC that a buyer typed.

    Raises ApiError (402, card_error) as Stripe does for one that is no test card.
    """
    number = str(card["number"]).replace(" ", "")
    if not re.fullmatch(r"[0-9]{12,19}", number) or not _passes_luhn(number):
        raise card_error("incorrect_number", param="number")
    today, month, year = datetime.now(UTC), card["exp_month"], card["exp_year"] % 100 + 2000
    if not 1 <= month <= 12:
        raise card_error("invalid_expiry_month", param="exp_month")
    if (year, month) < (today.year, today.month):
        raise card_error("invalid_expiry_year", param="exp_year")
    for method in all_cards():
        if method.number == number:
            return method
    raise card_error("card_declined", "test_mode_live_card", param="number")


def find_by_iban(iban: str, billing_details: Json) -> SimulatedMethod:
    """The one of an IBAN without blanks. Raises ApiError (400) if it cannot be debited."""
    if not re.fullmatch(r"[0-9A-Z]{15,34}", iban) or _mod97(iban) != 1:
        raise api_error("invalid_iban")
    table = load_table("simulated_methods")
    for suffix, reason in table["rejected_ibans"].items():
        if iban.endswith(suffix):
            raise api_error("iban_rejected", reason=reason)
    required = {name: billing_details.get(name) for name in ("name", "email")}
    # Outside of the European Economic Area the whole address too.
    if iban[:2] in split_words(table["address_countries"]):
        address = billing_details.get("address") or {}
        lines = ("line1", "city", "postal_code", "country")
        required |= {f"address][{line}": address.get(line) for line in lines}
    for name, value in required.items():
        if not value:
            raise api_error("parameter_missing", f"billing_details[{name}]")
    for method in _all_by_key().values():
        if method.iban_suffix and iban.endswith(method.iban_suffix):
            return method
    return _all_by_key()["pm_sepa_debit_success"]


def find_by_email(kind: str, billing_details: Json) -> SimulatedMethod:
    """The one that the buyer's e-mail stands for.

    Raises ApiError (400) without e-mail or, where a name is needed, without name.
    """
    for name in ("email",) if kind == "link" else ("name", "email"):
        if not billing_details.get(name):
            raise api_error("parameter_missing", f"billing_details[{name}]")
    rows = [method for method in _all_by_key().values() if method.kind == kind]
    email = billing_details["email"].partition("@")[0]
    return next((method for method in rows[1:] if email.endswith(method.number)), rows[0])


def _passes_luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _mod97(iban: str) -> int:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97
