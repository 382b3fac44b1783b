"""The currencies that can be charged, and how little and how much."""

from __future__ import annotations

from tmt.sandbox.errors import problem
from tmt.sandbox.shape import known, names


def check_currency(currency: str, param: str) -> None:
    """Refuse a currency that Stripe does not know. Raises ApiError (400)."""
    supported = names(known("currencies")["supported"])
    if currency not in supported:
        raise problem("invalid_currency", param, currency=currency, listed=", ".join(supported))


def spelled(amount: int, currency: str) -> str:
    """The amount as Stripe's messages write it: `$0.50`, or `50 jpy`."""
    if currency in names(known("currencies")["zero_decimal"]):
        return f"{amount} {currency}"
    plain = f"{amount / 100:,.2f}"
    return f"${plain}" if currency == "usd" else f"{plain} {currency}"


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount (minor units) that cannot be charged. Raises ApiError (400)."""
    table = known("currencies")
    least = next((low for listed, low in table["minimum"].items() if currency in names(listed)), 1)
    if amount < 1:
        raise problem("too_low", "amount")
    if amount < least:
        raise problem("amount_too_small", "amount", least=spelled(least, currency))
    if amount > table["maximum"]:
        raise problem("amount_too_large", "amount", most=spelled(table["maximum"], currency))
    if currency in names(table["whole_units"]) and amount % 100:
        raise problem("whole_units", "amount", currency=currency)
