"""The currencies that can be charged, and how little and how much."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import load_table, split_words


def check_currency(currency: str, param: str) -> None:
    """Refuse a currency that Stripe does not know. Raises ApiError (400)."""
    supported = split_words(load_table("currencies")["supported"])
    if currency not in supported:
        raise api_error("invalid_currency", param, currency=currency, listed=", ".join(supported))


def format_amount(amount: int, currency: str) -> str:
    """The amount as Stripe's messages write it: `$0.50`, or `50 jpy`."""
    if currency in split_words(load_table("currencies")["zero_decimal"]):
        return f"{amount} {currency}"
    plain = f"{amount / 100:,.2f}"
    return f"${plain}" if currency == "usd" else f"{plain} {currency}"


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount (minor units) that cannot be charged. Raises ApiError (400)."""
    table = load_table("currencies")
    least = next(
        (low for listed, low in table["minimum"].items() if currency in split_words(listed)), 1
    )
    if amount < 1:
        raise api_error("too_low", "amount")
    if amount < least:
        raise api_error("amount_too_small", "amount", least=format_amount(least, currency))
    if amount > table["maximum"]:
        raise api_error(
            "amount_too_large", "amount", most=format_amount(table["maximum"], currency)
        )
    if currency in split_words(table["whole_units"]) and amount % 100:
        raise api_error("whole_units", "amount", currency=currency)
