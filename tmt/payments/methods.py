"""Payment methods whose money takes days: not offered when the event would be over before."""

from __future__ import annotations

from datetime import timedelta

from tmt.checkout.models import Order

# How long until such a method has succeeded or failed, at the longest that Stripe tells of:
# https://docs.stripe.com/payments/payment-methods/payment-method-support
_SETTLES_WITHIN: dict[str, timedelta] = {
    "acss_debit": timedelta(days=7),
    "au_becs_debit": timedelta(days=7),
    "bacs_debit": timedelta(days=8),
    "boleto": timedelta(days=5),
    "customer_balance": timedelta(days=7),
    "konbini": timedelta(days=5),
    "multibanco": timedelta(days=7),
    "oxxo": timedelta(days=4),
    "sepa_debit": timedelta(days=20),
    "us_bank_account": timedelta(days=6),
}


def too_slow_for(order: Order) -> list[str]:
    """The methods that may not have settled when the order's event begins, by name.

    Counted from when the order was placed, so that every attempt at it says the same.
    """
    left = order.event.starts_at - order.created_at
    return sorted(name for name, days in _SETTLES_WITHIN.items() if left < days)
