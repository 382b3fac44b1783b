"""Which payment methods an order is offered: those that are decided before its event begins.

And what people call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tmt.checkout.models import Order
from tmt.core.i18n import gettext as _

# How long until a payment by such a method has succeeded or failed, at the longest that Stripe
# names: https://docs.stripe.com/payments/payment-methods/payment-method-support
# A bank account that is confirmed by small deposits takes ten days more, and a Multibanco slip can
# be paid for a week.
_DECIDED_WITHIN: dict[str, timedelta] = {
    "acss_debit": timedelta(days=20),
    "au_becs_debit": timedelta(days=7),
    "bacs_debit": timedelta(days=8),
    "customer_balance": timedelta(days=10),
    "multibanco": timedelta(days=11),
    "nz_bank_account": timedelta(days=7),
    "pay_by_bank": timedelta(days=5),
    "payto": timedelta(days=6),
    "sepa_debit": timedelta(days=20),
    "sofort": timedelta(days=20),
    "us_bank_account": timedelta(days=20),
}


@dataclass(frozen=True)
class _Voucher:
    """A method by which the buyer gets a slip, which is valid as long as the shop says.

    Its currency, the least and the most that Stripe takes (minor units), the longest validity that
    the shop asks for, and how long after its expiry Stripe may need to say that it was not paid,
    both in days. A slip is valid until the end of its last day.
    """

    currency: str
    least: int
    most: int
    longest: int
    decided: int


# https://docs.stripe.com/payments/vouchers; the validity is Stripe's default.
_VOUCHERS: dict[str, _Voucher] = {
    "boleto": _Voucher("brl", 5_00, 49_999_99, longest=3, decided=4),
    "konbini": _Voucher("jpy", 120, 300_000, longest=3, decided=1),
    "oxxo": _Voucher("mxn", 10_00, 10_000_00, longest=3, decided=10),
}

_DEBITS = """
    acss_debit au_becs_debit bacs_debit nz_bank_account sepa_debit us_bank_account
""".split()
# Names that are more than Stripe's in capitals; brands are the same in every language.
_BRANDS = {
    "afterpay_clearpay": "Afterpay / Clearpay",
    "cashapp": "Cash App Pay",
    "eps": "EPS",
    "ideal": "iDEAL",
    "mb_way": "MB WAY",
    "mobilepay": "MobilePay",
    "oxxo": "OXXO",
    "p24": "Przelewy24",
    "payco": "PAYCO",
    "paynow": "PayNow",
    "paypal": "PayPal",
    "promptpay": "PromptPay",
    "revolut_pay": "Revolut Pay",
    "upi": "UPI",
    "wechat_pay": "WeChat Pay",
}


def excluded_payment_methods(order: Order) -> list[str]:
    """The methods that an order is not offered, by name.

    Those whose payments may not be decided when its event begins, and vouchers that are not made
    out for its amount. Counted from when the order was placed, so that every attempt at the call
    says the same.
    """
    left = _time_left(order)
    slow = [name for name, span in _DECIDED_WITHIN.items() if left < span]
    return sorted(slow + [name for name in _VOUCHERS if not _is_offered(name, order)])


def payment_method_options(order: Order) -> dict[str, dict[str, int]]:
    """Stripe's `payment_method_options`: how many days a slip is valid, so that it is in time.

    Only for the methods of the order's currency: Stripe knows the others for no such payment.
    """
    left = _time_left(order)
    return {
        name: {"expires_after_days": _valid_days(name, left)}
        for name, voucher in _VOUCHERS.items()
        if voucher.currency == order.currency and _is_offered(name, order)
    }


def method_names(types: Sequence[str]) -> list[str]:
    """What people call the methods of these names of Stripe's, in the current locale."""
    words = {
        "card": _("card"),
        "customer_balance": _("bank transfer"),
        **dict.fromkeys(_DEBITS, _("bank debit")),
    }
    return [words.get(t) or _BRANDS.get(t) or t.replace("_", " ").title() for t in types]


def _time_left(order: Order) -> timedelta:
    return order.event.starts_at - order.created_at


def _is_offered(name: str, order: Order) -> bool:
    voucher = _VOUCHERS[name]
    if order.currency == voucher.currency and not voucher.least <= order.total <= voucher.most:
        return False
    return _valid_days(name, _time_left(order)) >= 1


def _valid_days(name: str, left: timedelta) -> int:
    """How many days a slip can be valid and still be decided in time; less than 1 for none."""
    voucher = _VOUCHERS[name]
    return min(voucher.longest, left.days - voucher.decided - 1)
