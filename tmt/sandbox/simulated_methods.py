"""What each of Stripe's test payment methods does: the rows of data/methods.yaml, typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace

from tmt.sandbox.errors import api_error, card_error
from tmt.sandbox.objects import Json, load_table, split_words


class SimulatedMethod(SimpleNamespace):
    """One test card, bank account or redirect; data/methods.yaml explains its fields."""


@cache
def _all() -> dict[str, SimulatedMethod]:
    """Every row by its key: the first token, else what names it without a card's number."""
    rows, table = {}, load_table("simulated_methods")
    for kind in table["kinds"]:
        for name, row in table[kind].items():
            unnamed = f"pm_{kind}_{name[-4:] if kind == 'card' else name}"
            key = split_words(row.get("token", unnamed))[0]
            given = table["unless_said"] | row
            rows[key] = SimulatedMethod(key=key, kind=kind, number=name, **given)
    return rows


def all_cards() -> list[SimulatedMethod]:
    """The test cards."""
    return [row for row in _all().values() if row.kind == "card"]


def simulated_method(method_or_charge: Json) -> SimulatedMethod:
    """What the payment method, or the one that a charge was made with, does."""
    return _all()[method_or_charge["_test"]]


def by_token(token: str) -> SimulatedMethod | None:
    """What a token does: `pm_card_visa`, `pm_sepaDebit_success_de`, `pm_ideal`; None if unknown."""
    if token.startswith("pm_sepaDebit_"):
        return _all().get("pm_sepa_debit_" + token.split("_")[2])
    return next((row for row in _all().values() if token in split_words(row.token)), None)


def typed_card(card: Json) -> SimulatedMethod:
    """The test card behind a number, expiry and CVC typed in a browser.

    Raises ApiError (402, card_error) as Stripe does for one that cannot be a test card.
    """
    number = str(card["number"]).replace(" ", "")
    if not re.fullmatch(r"[0-9]{12,19}", number) or not _luhn(number):
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


def typed_iban(iban: str, billing: Json) -> tuple[str, SimulatedMethod]:
    """The IBAN without blanks and what it does. Raises ApiError (400) for one of no use."""
    plain = iban.replace(" ", "").upper()
    if not re.fullmatch(r"[0-9A-Z]{15,34}", plain) or _mod97(plain) != 1:
        raise api_error("invalid_iban")
    for ends, reason in load_table("simulated_methods")["iban_refused"].items():
        if plain.endswith(ends):
            raise api_error("iban_refused", reason=reason)
    wanted = [("name", billing.get("name")), ("email", billing.get("email"))]
    # Outside of the European Economic Area the whole address too.
    if plain[:2] in split_words(load_table("simulated_methods")["iban_needs_address"]):
        address = billing.get("address") or {}
        lines = ("line1", "city", "postal_code", "country")
        wanted += [(f"address][{line}", address.get(line)) for line in lines]
    for name, value in wanted:
        if not value:
            raise api_error("parameter_missing", f"billing_details[{name}]")
    fits = (row for row in _all().values() if row.ends and plain.endswith(row.ends))
    return plain, next(fits, _all()["pm_sepa_debit_success"])


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _mod97(iban: str) -> int:
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97
