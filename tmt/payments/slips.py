"""Slips: what a buyer pays or does elsewhere, such as a voucher, a bank transfer, small deposits.

Stripe hands them out as the `next_action` of a PaymentIntent; `NEXT_ACTIONS` in
`tmt/gateway/types.py` says which kinds there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tmt.core.clock import from_unix
from tmt.gateway.types import NEXT_ACTIONS, NextAction, PaymentIntent, PaymentIntentStatus
from tmt.payments.models import Payment

# For a slip of which Stripe names no expiry.
_LONGEST_SLIP = timedelta(days=7)
# How pages and mails speak of a kind; the vouchers have names.
_FORMS = {
    "display_bank_transfer_instructions": "transfer",
    "verify_with_microdeposits": "deposits",
    "card_await_notification": "approval",
    "payto_await_authorization": "approval",
}
_VOUCHER_NAMES = {
    "boleto_display_details": "Boleto",
    "konbini_display_details": "Konbini",
    "multibanco_display_details": "Multibanco",
    "oxxo_display_details": "OXXO",
}

# While a payment is in one of these, its order waits for a bank, or is about to end anyway.
NOT_THE_BUYERS = (
    PaymentIntentStatus.PROCESSING,
    PaymentIntentStatus.SUCCEEDED,
    PaymentIntentStatus.CANCELED,
)


@dataclass(frozen=True)
class Slip:
    """A slip as pages and mails show it.

    `form` is voucher, transfer, deposits or approval; `name` is the voucher's. `is_open` means
    that it can still be paid.
    """

    form: str
    name: str
    url: str | None = field(repr=False)
    expires_at: datetime | None
    is_open: bool
    cancelable: bool
    replaceable: bool


def has_slip(payment: Payment) -> bool:
    """Whether Stripe waits for the buyer to pay what they were handed."""
    waits = payment.status == PaymentIntentStatus.REQUIRES_ACTION
    return waits and payment.slip_type is not None and payment.slip_type == payment.next_action


def shown_slip(payment: Payment, now: datetime) -> Slip | None:
    """The payment's slip, also while Stripe finds out whether it was paid; None if it has none."""
    slip_type, expires_at = payment.slip_type, payment.slip_expires_at
    if slip_type is None:
        return None
    kind = NEXT_ACTIONS[slip_type]
    return Slip(
        _FORMS.get(slip_type, "voucher"),
        _VOUCHER_NAMES.get(slip_type, ""),
        payment.slip_url,
        expires_at,
        is_open=has_slip(payment) and (expires_at is None or now < expires_at),
        cancelable=kind.cancelable,
        replaceable=kind.replaceable,
    )


def method_without_refunds(payment: Payment | None) -> str | None:
    """What people call the method that was paid with, if Stripe refunds none of its payments."""
    slip_type = payment.slip_type if payment else None
    if slip_type is None or NEXT_ACTIONS[slip_type].refundable:
        return None
    return _VOUCHER_NAMES[slip_type]


def slip_expiry(slip: NextAction) -> datetime | None:
    """When the slip can no longer be paid; None if Stripe names no time."""
    return None if slip.expires_at is None else from_unix(slip.expires_at)


def waits_until(intent: PaymentIntent) -> datetime | None:
    """Until when the payment of a slip may still be reported; None without a slip."""
    if intent.slip is None:
        return None
    expiry = slip_expiry(intent.slip) or from_unix(intent.created) + _LONGEST_SLIP
    return expiry + timedelta(days=intent.slip.kind.reported_days)
