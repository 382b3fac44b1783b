"""The currencies that can be charged, and the smallest and largest amounts."""

from __future__ import annotations

from decimal import Decimal

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import load_table, split_words


def check_currency(currency: str, param: str) -> None:
    """Raises ApiError (400) for a currency that Stripe does not support."""
    supported = split_words(load_table("currencies")["supported"])
    if currency not in supported:
        listed = ", ".join(supported)
        raise api_error("invalid_currency", param, currency=currency, listed=listed)


def format_amount(amount: int | Decimal, currency: str) -> str:
    """The amount (minor units) as Stripe's messages write it: `$0.50`, or `50 jpy`."""
    decimals = _decimals(currency)
    if decimals == 0:
        return f"{amount} {currency}"
    # Of a price that is no whole number of minor units, every digit.
    shown = f".{decimals}f" if amount == int(amount) else "f"
    decimal = f"{Decimal(amount).scaleb(-decimals):,{shown}}"
    return f"${decimal}" if currency == "usd" else f"{decimal} {currency}"


def _decimals(currency: str) -> int:
    """How many decimals an amount in minor units has: 0, 2 or 3."""
    table = load_table("currencies")
    if currency in split_words(table["zero_decimal"]):
        return 0
    return 3 if currency in split_words(table["three_decimal"]) else 2


def exchange_rate(currency: str, other: str) -> float:
    """How many units of `other` one unit of a currency is."""
    rates = load_table("currencies")["euros_for_one"]
    return round(float(rates[currency] / rates[other]), 8)


def convert(amount: int, currency: str, other: str) -> int:
    """The amount (minor units of `currency`) in minor units of `other`."""
    units = amount / 10 ** _decimals(currency)
    converted: int = round(units * exchange_rate(currency, other) * 10 ** _decimals(other))
    return converted


def _limit(limits: dict[str, int], currency: str, default: int) -> int:
    """The limit of a currency in a table whose keys are lists of currencies."""
    fitting = (limit for listed, limit in limits.items() if currency in split_words(listed))
    return next(fitting, default)


def minimum_amount(currency: str) -> int:
    """The least amount (minor units) that can be charged."""
    return _limit(load_table("currencies")["minimum"], currency, 1)


def check_amount(amount: int, currency: str) -> None:
    """Raises ApiError (400) for an amount (minor units) that cannot be charged."""
    table = load_table("currencies")
    minimum = minimum_amount(currency)
    maximum = _limit(table["maximum"], currency, table["default_maximum"])
    if amount < 1:
        raise api_error("too_low", "amount")
    if amount < minimum:
        raise api_error("amount_too_small", "amount", least=format_amount(minimum, currency))
    if amount > maximum:
        most = format_amount(maximum, currency)
        raise api_error("amount_too_large", "amount", most=most)
    if currency in split_words(table["whole_units"]) and amount % 100:
        raise api_error("whole_units", "amount", currency=currency)
