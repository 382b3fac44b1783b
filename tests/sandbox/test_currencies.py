"""Each currency has its decimals and an exchange rate."""

from __future__ import annotations

from typing import Any

import pytest

from tmt.core.money import THREE_DECIMAL, ZERO_DECIMAL
from tmt.sandbox.currencies import convert, exchange_rate, format_amount
from tmt.sandbox.objects import load_table

TABLE = load_table("currencies")
SUPPORTED = TABLE["supported"].split()


def test_every_currency_has_a_rate_and_the_decimals_of_the_shop() -> None:
    assert sorted(TABLE["euros_for_one"]) == sorted(SUPPORTED)
    for currency in SUPPORTED:
        decimals = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
        rate = exchange_rate(currency, "eur")
        assert 0 < rate < 5
        assert convert(1000 * 10**decimals, currency, "eur") == round(1000 * rate * 100)


@pytest.mark.parametrize(
    ("currency", "amount", "settled", "written"),
    [
        ("bhd", 10000, 2390, "10.000 bhd"),
        ("kwd", 1230, 360, "1.230 kwd"),
        ("jpy", 1000, 600, "1000 jpy"),
    ],
)
def test_charges_settle_at_their_decimals(
    v1: Any, currency: str, amount: int, settled: int, written: str
) -> None:
    paid = {
        "payment_method": "pm_card_visa",
        "return_url": "https://shop.example/",
        "confirm": True,
        "capture_method": "automatic",
    }
    paid |= {
        "amount": amount,
        "currency": currency,
        "expand": ["latest_charge.balance_transaction"],
    }
    entry = v1.payment_intents.create(paid).latest_charge.balance_transaction
    assert (entry.amount, entry.currency) == (settled, "eur")
    assert format_amount(amount, currency) == written
