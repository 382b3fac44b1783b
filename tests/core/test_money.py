"""Money: conversions in both directions, the amounts that can be charged, how people write them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmt.core.money import (
    CURRENCIES,
    MINIMUM,
    THREE_DECIMAL,
    TWO_DECIMAL,
    WHOLE_UNITS_ONLY,
    ZERO_DECIMAL,
    AmountOutOfRange,
    InvalidAmount,
    UnknownCurrency,
    check_chargeable,
    exponent,
    format_money,
    known_currency,
    maximum,
    money_format,
    parse_amount,
    to_major,
    to_minor,
)

any_currency = st.sampled_from(sorted(CURRENCIES))


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("75.00", "usd", 7500),
        ("10.005", "usd", 1001),
        ("10.0049999999999999999999999999999999999999999", "usd", 1000),
        ("0.1", "usd", 10),
        ("1.005", "eur", 101),
        ("80", "jpy", 80),
        ("80.5", "JPY", 81),
        ("1.2345", "kwd", 1235),
        ("10.5", "isk", 1100),
        ("10.4", "ISK", 1000),
        ("7", "ugx", 700),
        ("1e3", "usd", 100000),
        ("0.004", "usd", 0),
        ("-1.005", "usd", -101),
    ],
)
def test_major_units_become_minor_units(amount, currency, minor):
    assert to_minor(Decimal(amount), currency) == minor


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("usd", 2), ("jpy", 0), ("kwd", 3), ("isk", 2), ("ugx", 2), ("huf", 2)],
)
def test_exponents_are_stripes(currency, decimals):
    assert exponent(currency) == exponent(currency.upper()) == decimals


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("45.00", "eur", 4500),
        ("45", "EUR", 4500),
        ("75.5", "usd", 7550),
        ("0", "usd", 0),
        ("4500", "jpy", 4500),
        ("4500.00", "jpy", 4500),
        ("1.25", "kwd", 1250),
        ("1500", "isk", 150000),
        ("9999999999.99", "usd", 999999999999),
    ],
)
def test_amounts_are_read_as_people_type_them(text, currency, minor):
    assert parse_amount(text, currency) == minor


@pytest.mark.parametrize(
    "text",
    [
        "",
        *"- 5|-5|+5|1e3|1_000|1,5|1.000,50|.5|5.|007|0x10|inf|NaN|٣|1\n|1234567890123| 1".split(
            "|"
        ),
    ],
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(InvalidAmount, match="is not an amount such as 12.50"):
        parse_amount(text, "usd")


@pytest.mark.parametrize(
    ("text", "currency"), [("10.005", "usd"), ("80.5", "jpy"), ("1.2345", "kwd"), ("1500.5", "isk")]
)
def test_decimals_that_a_currency_does_not_have_are_not_rounded_away(text, currency):
    with pytest.raises(InvalidAmount, match=f"more decimals than {currency.upper()} has"):
        parse_amount(text, currency)


@given(any_currency, st.integers(0, 10**12 - 1))
def test_minor_units_survive_the_round_trip(currency, amount):
    if currency in WHOLE_UNITS_ONLY:
        amount -= amount % 100
    assert to_minor(to_major(amount, currency), currency) == amount
    assert parse_amount(str(to_major(amount, currency)), currency) == amount


@given(any_currency, st.decimals(0, 10**8, allow_nan=False, allow_infinity=False))
def test_rounding_is_half_up_on_the_decimal_value(currency, amount):
    unit = 1 if currency in WHOLE_UNITS_ONLY else 10 ** exponent(currency)
    wire = 100 if currency in WHOLE_UNITS_ONLY else 1
    expected = (Fraction(amount) * unit + Fraction(1, 2)) // 1 * wire
    assert to_minor(amount, currency) == expected


def test_no_currency_is_in_two_tables():
    assert not ZERO_DECIMAL & THREE_DECIMAL
    assert not (ZERO_DECIMAL | THREE_DECIMAL) & TWO_DECIMAL
    assert WHOLE_UNITS_ONLY < TWO_DECIMAL
    assert set(MINIMUM) < CURRENCIES
    assert all(len(c) == 3 and c.isascii() and c.islower() for c in CURRENCIES)


@pytest.mark.parametrize("currency", ["", "us", "xyz", "usdd", " usd", "€", "u\u017fd", "hrk"])
def test_unknown_currencies_are_refused(currency):
    attempts = (
        lambda: known_currency(currency),
        lambda: exponent(currency),
        lambda: to_minor(Decimal(1), currency),
        lambda: to_major(1, currency),
        lambda: check_chargeable(100, currency),
        lambda: parse_amount("1", currency),
        lambda: format_money(1, currency, "en"),
    )
    for attempt in attempts:
        with pytest.raises(UnknownCurrency):
            attempt()


@pytest.mark.case("MON-03")
@pytest.mark.parametrize(
    ("currency", "minimum"),
    [("usd", 50), ("eur", 50), ("gbp", 30), ("sek", 300), ("huf", 17500), ("jpy", 50)],
)
def test_mon03_the_minimum_is_the_currencys(currency, minimum):
    check_chargeable(minimum, currency)
    for amount in (minimum - 1, 1, -1, -minimum):
        with pytest.raises(AmountOutOfRange, match=str(amount)):
            check_chargeable(amount, currency)


@given(any_currency)
def test_zero_is_always_possible_and_the_maximum_is_the_currencys(currency):
    check_chargeable(0, currency)
    check_chargeable(99_999_000, currency)
    digits = {"usd": 8, "eur": 8, "inr": 9, "cop": 10, "idr": 12, "vnd": 12}
    assert maximum(currency) == 10 ** digits.get(currency, len(str(maximum(currency)))) - 1
    with pytest.raises(AmountOutOfRange):
        check_chargeable(maximum(currency) + 1, currency)


@pytest.mark.parametrize(
    ("amount", "currency"), [(1050, "isk"), (99_999, "ugx"), (1235, "kwd"), (1001, "bhd")]
)
def test_decimals_that_card_networks_round_are_refused(amount, currency):
    with pytest.raises(AmountOutOfRange, match="must end in"):
        check_chargeable(amount, currency)


@pytest.mark.case("MON-01")
@pytest.mark.parametrize(
    ("amount", "currency", "spanish", "english"),
    [
        (15000, "usd", "US$150.00", "$150.00"),
        (150000, "usd", "US$1,500.00", "$1,500.00"),
        (15000, "eur", "150,00 €", "€150.00"),
        (123456789, "eur", "1.234.567,89 €", "€1,234,567.89"),
        (150000, "mxn", "MX$1,500.00", "MX$1,500.00"),
        (5000000, "cop", "COP$50.000,00", "COP$50,000.00"),
        (150000, "clp", "CLP$150.000", "CLP$150,000"),
        (150000, "cad", "CA$1,500.00", "CA$1,500.00"),
        (150000, "dop", "RD$1,500.00", "RD$1,500.00"),
        (12000, "jpy", "12.000 ¥", "¥12,000"),
        (12340, "kwd", "12,340 KWD", "KWD 12.340"),
        (100000, "isk", "1.000 ISK", "ISK 1,000"),
        (0, "eur", "0,00 €", "€0.00"),
        (1050, "huf", "10,50 HUF", "HUF 10.50"),
        (1, "usd", "US$0.01", "$0.01"),
    ],
)
def test_mon01_amounts_are_written_as_people_do(amount, currency, spanish, english):
    texts = {locale: format_money(amount, currency, locale) for locale in ("es", "en")}
    assert {k: v.replace("\u00a0", " ") for k, v in texts.items()} == {"es": spanish, "en": english}


@given(any_currency, st.integers(0, 10**12 - 1), st.sampled_from(["es", "en"]))
def test_the_text_is_the_exact_amount(currency, amount, locale):
    text = format_money(amount, currency, locale)
    thousands, decimal = ".,"[:: 1 if money_format(currency, locale).numbers == "es" else -1]
    if "$" in text:
        # No dollar without its country but the one of the page's language.
        assert (currency, locale) == ("usd", "en") or text[0].isalpha()
    digits = "".join(c for c in text if c.isdigit() or c in ".,")
    number = Decimal(digits.replace(thousands, "").replace(decimal, "."))
    assert number == to_major(amount, currency)
