"""Money: integer minor units and a lower-case currency, everywhere.

The only place that converts or formats an amount. The API table below is Stripe's (what an
amount means on the wire) and apart from the display table, which is Babel's (how people write it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import lru_cache

from babel.numbers import format_decimal, get_currency_precision, get_currency_symbol

from tmt.core.errors import DomainError
from tmt.core.i18n import current_locale

# https://docs.stripe.com/currencies: amounts without, and with three, decimals.
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
# Two decimals on the wire, but none in use: the amount must end in 00.
WHOLE_UNITS_ONLY = frozenset("isk ugx".split())
TWO_DECIMAL = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf
    chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf
    idr ils inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk
    mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd
    shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd uyu uzs wst xcd yer zar zmw
    """.split()
)
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | TWO_DECIMAL

# Stripe's minimum charge in minor units. It depends on the settlement currency, so for other
# currencies Stripe itself decides.
MINIMUM = {
    **dict.fromkeys("usd eur aud cad chf nzd sgd brl inr".split(), 50),
    "gbp": 30,
    **dict.fromkeys("aed myr pln ron".split(), 200),
    "dkk": 250,
    "nok": 300,
    "sek": 300,
    "hkd": 400,
    "czk": 1500,
    "huf": 17500,
    "jpy": 50,
    "krw": 50,
    "mxn": 1000,
    "thb": 1000,
}
# Stripe's maximum charge has a number of digits. Eight suit every method of payment and every
# currency; what these currencies say is by https://docs.stripe.com/currencies, for all methods.
_DIGITS = {"idr": 12, "cop": 10, "inr": 9}
# Where eight digits are only some thousand dollars or less, it is the twelve that cards take;
# Stripe does not offer a method that takes less than the order's total.
_DIGITS |= dict.fromkeys(
    """
    all amd aoa ars bdt bif cdf clp crc djf dzd gnf htg huf isk jmd kes khr kmf krw kzt lak lbp lkr
    lrd mga mmk mnt mwk ngn npr pkr pyg rsd rub rwf sle sos std tzs ugx uzs vnd vuv xaf xof xpf yer
    """.split(),
    12,
)
_DEFAULT_DIGITS = 8

# Written with a plain "$" at home, for which English has no sign of its own: these get their code.
_DOLLARS = frozenset(
    "ars bbd bmd bnd bsd bzd clp cop fjd gyd jmd kyd lrd nad sbd sgd srd ttd uyu".split()
)
_SIGNS = {"dop": "RD$"} | {currency: f"{currency.upper()}$" for currency in _DOLLARS}
# The one language in which a bare "$" is understood, and whose.
_BARE = {"en": "usd"}
# Countries with a "$" that group digits by points, as Spain does.
_GROUPED_BY_POINTS = frozenset("ars clp cop uyu".split())

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?")


class UnknownCurrency(DomainError):
    """Stripe cannot charge in this currency."""


class AmountOutOfRange(DomainError):
    """The amount is below or above what Stripe charges in this currency."""


class InvalidAmount(DomainError):
    """The text is not an amount, or has more decimals than its currency."""


def known_currency(currency: str) -> str:
    """The currency in lower case, or `UnknownCurrency`."""
    lowered = currency.lower()
    if lowered not in CURRENCIES:
        raise UnknownCurrency(f"'{currency}' is not a currency that Stripe charges in")
    return lowered


def exponent(currency: str) -> int:
    """How many decimals Stripe's amounts of this currency have: 0, 2 or 3."""
    currency = known_currency(currency)
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def to_minor(amount: Decimal, currency: str) -> int:
    """Minor units of a decimal amount in major units, rounded half up on the decimal value."""
    with localcontext() as context:
        # Every digit counts: 0.00499… with forty nines is not a half.
        context.prec = len(amount.as_tuple().digits) + 40
        if currency.lower() in WHOLE_UNITS_ONLY:
            return int(amount.quantize(Decimal(1), ROUND_HALF_UP)) * 100
        return int(amount.scaleb(exponent(currency)).quantize(Decimal(1), ROUND_HALF_UP))


def to_major(amount: int, currency: str) -> Decimal:
    """The amount in major units: 7500 usd is 75.00, 7500 jpy is 7500."""
    return Decimal(amount).scaleb(-exponent(currency))


def less_percent(amount: int, percent: int, currency: str) -> int:
    """The amount less so many percent, rounded half up to what can be charged in the currency."""
    step = 100 if currency in WHOLE_UNITS_ONLY else 10 if currency in THREE_DECIMAL else 1
    return (amount * (100 - percent) + 50 * step) // (100 * step) * step


def parse_amount(text: str, currency: str) -> int:
    """Minor units of an amount as people type it in major units: 45.00, 45 or 4500 yen.

    Digits and a decimal point only, zero or more. Raises `InvalidAmount`, also rather than round:
    '10.005' is no amount in euros; `UnknownCurrency`.
    """
    currency = known_currency(currency)
    if not _AMOUNT.fullmatch(text):
        raise InvalidAmount(f"'{text[:40]}' is not an amount such as 12.50")
    amount = Decimal(text)
    minor = to_minor(amount, currency)
    if to_major(minor, currency) != amount:
        raise InvalidAmount(f"{text} has more decimals than {currency.upper()} has")
    return minor


def maximum(currency: str) -> int:
    """Stripe's largest charge in the currency, in minor units."""
    return int(10 ** _DIGITS.get(currency, _DEFAULT_DIGITS)) - 1


def check_chargeable(amount: int, currency: str) -> None:
    """`AmountOutOfRange` unless Stripe can charge the amount; 0 needs no charge and passes."""
    currency = known_currency(currency)
    if amount == 0:
        return
    least, most = MINIMUM.get(currency, 1), maximum(currency)
    if not least <= amount <= most:
        raise AmountOutOfRange(f"{amount} {currency} is not between {least} and {most} minor units")
    if currency in WHOLE_UNITS_ONLY and amount % 100:
        raise AmountOutOfRange(f"{currency} has no decimals in use: {amount} must end in 00")
    if currency in THREE_DECIMAL and amount % 10:
        raise AmountOutOfRange(f"{amount} {currency} must end in 0, as card networks round it")


@dataclass(frozen=True)
class MoneyFormat:
    """How amounts of a currency are written in a locale; the pages' scripts use the same."""

    numbers: str
    digits: int
    prefix: str
    suffix: str


def money_format(currency: str, locale: str | None = None) -> MoneyFormat:
    """The form of an amount for people, in the current locale unless another is named.

    A "$" has its country: 'MX$1,500.00', 'COP$50,000', and 'US$1,500.00' where the page is not in
    English. Dollars and pesos are written in Spanish as the Americas do, 'US$1,500.00' and
    'COP$50.000'; other currencies follow the amount there: '1.500,00 €'.
    """
    currency, locale = known_currency(currency), locale or current_locale()
    symbol = _SIGNS.get(currency) or get_currency_symbol(currency.upper(), "en")
    if symbol == "$" and _BARE.get(locale) != currency:
        symbol = "US$"
    spaced = "\u00a0" if symbol.isalpha() else ""
    # Babel's digits are for display and not Stripe's: an Icelandic króna has none.
    digits = get_currency_precision(currency.upper())
    if locale == "es" and "$" not in symbol:
        return MoneyFormat("es", digits, "", "\u00a0" + symbol)
    numbers = "es" if locale == "es" and currency in _GROUPED_BY_POINTS else "en"
    return MoneyFormat(numbers, digits, symbol + spaced, "")


def format_money(amount: int, currency: str, locale: str | None = None) -> str:
    """The amount (minor units) as people write it: 'MX$150.00', '150,00 €', '12.000 ¥'."""
    return _format(amount, known_currency(currency), locale or current_locale())


def format_code(amount: int, currency: str) -> str:
    """The amount (minor units) for operators, the same everywhere: '12.50 EUR', '4500 JPY'."""
    return f"{to_major(amount, currency)} {currency.upper()}"


# Every page formats the same few prices.
@lru_cache(maxsize=2048)
def _format(amount: int, currency: str, locale: str) -> str:
    form = money_format(currency, locale)
    major = to_major(amount, currency)
    # Where people leave the decimals out, an amount that has some still shows them all.
    digits = form.digits if major == round(major, form.digits) else exponent(currency)
    pattern = "#,##0." + "0" * digits if digits else "#,##0"
    number = format_decimal(major, format=pattern, locale=form.numbers)
    return f"{form.prefix}{number}{form.suffix}"
