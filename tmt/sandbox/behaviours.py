"""What each of Stripe's test payment methods does: the rows of data/methods.yaml, typed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tmt.sandbox.errors import card_error, problem
from tmt.sandbox.shape import Json, known, names


@dataclass(frozen=True)
class Behaviour:
    """One test card, bank account or redirect; data/methods.yaml explains the fields.

    `key` names it where a number must not be stored: its first token.
    """

    key: str
    kind: str = "card"
    number: str = ""
    token: str = ""
    code: str = ""
    decline: str | None = None
    three_d_secure: str = "none"
    off_session: str = "never"
    attach: bool = True
    redirect: bool = False
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    cvc_check: str = "pass"
    zip_check: str = "pass"
    risk: str = "normal"
    later: str = ""
    refund: str = "succeeded"
    days: int = 0
    ends: str = ""
    available_at_once: bool = False


@cache
def all_cards() -> tuple[Behaviour, ...]:
    """The test cards."""
    return tuple(
        Behaviour(names(row.get("token", f"test_{number[-4:]}"))[0], "card", number, **row)
        for number, row in known("methods")["card"].items()
    )


@cache
def _by_key() -> dict[str, Behaviour]:
    rest = [
        Behaviour(f"pm_{kind}_{name}", kind, **row)
        for kind in ("sepa_debit", "ideal")
        for name, row in known("methods")[kind].items()
    ]
    return {row.key: row for row in (*all_cards(), *rest)}


def behaviour(method_or_charge: Json) -> Behaviour:
    """What the payment method, or the one that a charge was made with, does."""
    return _by_key()[method_or_charge["_test"]]


def by_token(token: str) -> Behaviour | None:
    """What a token does: `pm_card_visa`, `pm_sepaDebit_success_de`, `pm_ideal`; None if unknown."""
    if token.startswith("pm_sepaDebit_"):
        return _by_key().get("pm_sepa_debit_" + token.split("_")[2])
    found = (card for card in _by_key().values() if token in names(card.token))
    return next(found, None)


def typed_card(card: Json) -> Behaviour:
    """The test card behind a number, expiry and CVC typed in a browser.

    Raises ApiError (402, card_error) as Stripe does for one that cannot be a test card.
    """
    number = str(card["number"]).replace(" ", "")
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and _luhn(number)):
        raise card_error("incorrect_number", param="number")
    today, month, year = datetime.now(UTC), card["exp_month"], card["exp_year"] % 100 + 2000
    if not 1 <= month <= 12:
        raise card_error("invalid_expiry_month", param="exp_month")
    if (year, month) < (today.year, today.month):
        raise card_error("invalid_expiry_year", param="exp_year")
    found = next((row for row in all_cards() if row.number == number), None)
    if found is None:
        raise card_error("card_declined", "test_mode_live_card", param="number")
    return found


def typed_iban(iban: str, billing: Json) -> tuple[str, Behaviour]:
    """The IBAN without blanks and what it does. Raises ApiError (400) for one of no use."""
    plain = iban.replace(" ", "").upper()
    if not (plain.isascii() and plain.isalnum() and 15 <= len(plain) <= 34 and _mod97(plain) == 1):
        raise problem("invalid_iban")
    for ends, reason in known("methods")["iban_refused"].items():
        if plain.endswith(ends):
            raise problem("iban_refused", reason=reason)
    _require_billing(plain[:2], billing)
    rows = [row for row in _by_key().values() if row.ends and plain.endswith(row.ends)]
    return plain, rows[0] if rows else _by_key()["pm_sepa_debit_success"]


def _require_billing(country: str, billing: Json) -> None:
    """Name and e-mail; outside of the European Economic Area the whole address too."""
    wanted: list[tuple[str, Any]] = [(name, billing.get(name)) for name in ("name", "email")]
    if country in names(known("methods")["iban_needs_address"]):
        address = billing.get("address") or {}
        lines = ("line1", "city", "postal_code", "country")
        wanted += [(f"address][{line}", address.get(line)) for line in lines]
    for name, value in wanted:
        if not value:
            raise problem("parameter_missing", f"billing_details[{name}]")


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _mod97(iban: str) -> int:
    try:
        return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97
    except ValueError:
        return 0
