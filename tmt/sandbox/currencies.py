"""The currencies that can be charged, and how little and how much."""

from __future__ import annotations

from tmt.sandbox.errors import invalid
from tmt.sandbox.shape import names

SUPPORTED = frozenset(
    names("""
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn
    bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf
    gtq gyd hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp
    lkr lrd lsl mad mdl mga mkd mmk mnt mop mro mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr
    pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb
    tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar
    zmw""")
)
_ZERO_DECIMAL = frozenset(names("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"))
_WHOLE_UNITS = frozenset(("isk", "ugx"))
_MINIMUM = (
    dict.fromkeys(names("usd eur aud cad chf nzd sgd brl inr jpy krw"), 50)
    | dict.fromkeys(names("aed myr pln ron"), 200)
    | {"gbp": 30, "dkk": 250, "nok": 300, "sek": 300, "hkd": 400, "czk": 1500, "huf": 17500}
    | {"mxn": 1000, "thb": 1000}
)
_MAXIMUM = 99_999_999


def spelled(amount: int, currency: str) -> str:
    """The amount as Stripe's messages write it: `$0.50`, or `50 jpy`."""
    if currency in _ZERO_DECIMAL:
        return f"{amount} {currency}"
    plain = f"{amount / 100:,.2f}"
    return f"${plain}" if currency == "usd" else f"{plain} {currency}"


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount (minor units) that cannot be charged. Raises ApiError (400)."""
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, "amount", "parameter_invalid_integer")
    least = _MINIMUM.get(currency, 1)
    if amount < least:
        message = f"Amount must be at least {spelled(least, currency)}"
        raise invalid(message, "amount", "amount_too_small")
    if amount > _MAXIMUM:
        message = f"Amount must be no more than {spelled(_MAXIMUM, currency)}"
        raise invalid(message, "amount", "amount_too_large")
    if currency in _WHOLE_UNITS and amount % 100:
        message = f"Amounts in {currency} have no decimals and must end in 00."
        raise invalid(message, "amount", "parameter_invalid_integer")
