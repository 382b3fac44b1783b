"""Stripe's objects as the shop uses them, reduced to the fields that it reads.

Statuses are spelt as Stripe spells them. A value that this version of the API does not list is
stored as it is, and `is_known` is false for it: callers take the cautious way and raise an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

API_VERSION = "2026-10-28.endive"

# The name under which an event's account is stored with its object. No object of Stripe's has it.
CONNECTED_ACCOUNT = "connected_account"


class StripeStatus(StrEnum):
    """A status of one of Stripe's objects; accepts values that are not listed."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unlisted = str.__new__(cls, value)
        unlisted._name_, unlisted._value_ = "UNLISTED", value
        return unlisted

    @property
    def is_known(self) -> bool:
        """Whether the version of the API that the shop is written for lists this value."""
        return self._name_ != "UNLISTED"


class PaymentIntentStatus(StripeStatus):
    """https://docs.stripe.com/payments/paymentintents/lifecycle, and one of our own."""

    # Ours: the row exists, Stripe has not answered yet.
    NEW = "new"
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    REQUIRES_CAPTURE = "requires_capture"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether the PaymentIntent can never change its status again."""
        return self in (PaymentIntentStatus.SUCCEEDED, PaymentIntentStatus.CANCELED)


class RefundStatus(StripeStatus):
    """https://docs.stripe.com/api/refunds/object#refund_object-status, and one of our own."""

    # Ours: the row exists, Stripe has not answered yet.
    REQUESTED = "requested"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_failed(self) -> bool:
        """Whether the money stays with the shop for good."""
        return self in (RefundStatus.FAILED, RefundStatus.CANCELED)

    def may_follow(self, before: RefundStatus) -> bool:
        """Whether a refund can have moved here from `before`.

        Statuses move forward only, but a refund that has succeeded can still fail, weeks later. A
        status that is not listed has no place in this order: it may follow and be followed.
        """
        if before == self or before.is_failed:
            return False
        if not self.is_known or not before.is_known:
            return True
        return _REFUND_ORDER[self] >= _REFUND_ORDER[before]


_REFUND_ORDER: dict[RefundStatus, int] = {
    RefundStatus.REQUESTED: 0,
    RefundStatus.PENDING: 1,
    RefundStatus.REQUIRES_ACTION: 1,
    RefundStatus.SUCCEEDED: 2,
    RefundStatus.FAILED: 3,
    RefundStatus.CANCELED: 3,
}


class SubscriptionStatus(StripeStatus):
    """https://docs.stripe.com/api/subscriptions/object, its `status`, and one of our own."""

    # Ours: the row exists, Stripe has not answered yet.
    NEW = "new"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        """Whether the subscription can never charge or begin again."""
        return self in ENDED_SUBSCRIPTIONS


ENDED_SUBSCRIPTIONS = (SubscriptionStatus.INCOMPLETE_EXPIRED, SubscriptionStatus.CANCELED)


class InvoiceStatus(StripeStatus):
    """https://docs.stripe.com/api/invoices/object#invoice_object-status"""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    UNCOLLECTIBLE = "uncollectible"
    VOID = "void"


class DisputeStatus(StripeStatus):
    """https://docs.stripe.com/api/disputes/object#dispute_object-status

    `_DISPUTE_MEANINGS` says what each means. No status is the last one: a lost dispute may be
    appealed, and an inquiry that was closed may still become a dispute.
    """

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    APPEAL_NEEDS_RESPONSE = "appeal_needs_response"
    APPEAL_UNDER_REVIEW = "appeal_under_review"
    WON = "won"
    LOST = "lost"
    PREVENTED = "prevented"

    @property
    def meaning(self) -> DisputeMeaning:
        """What it means for money and tickets; an unlisted status is undecided."""
        return _DISPUTE_MEANINGS.get(self, DisputeMeaning.UNDECIDED)

    @property
    def is_closed(self) -> bool:
        """Whether it is decided, as far as anybody knows now."""
        return self in CLOSED_DISPUTES

    @property
    def is_inquiry(self) -> bool:
        """Whether the bank only asks: an inquiry has not taken any money."""
        return self.meaning == DisputeMeaning.INQUIRY


class DisputeMeaning(StrEnum):
    """What a dispute's status means for the money and the tickets of its order."""

    # The bank asks. No money has moved, the tickets stay valid.
    INQUIRY = "inquiry"
    # The bank withholds the money until it is decided; the tickets are blocked.
    UNDECIDED = "undecided"
    # The money is the shop's, the tickets are valid.
    SETTLED = "settled"
    # The money is the buyer's; an order that has none left ends.
    LOST = "lost"


_DISPUTE_MEANINGS: dict[DisputeStatus, DisputeMeaning] = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: DisputeMeaning.INQUIRY,
    DisputeStatus.WARNING_UNDER_REVIEW: DisputeMeaning.INQUIRY,
    DisputeStatus.WARNING_CLOSED: DisputeMeaning.SETTLED,
    DisputeStatus.NEEDS_RESPONSE: DisputeMeaning.UNDECIDED,
    DisputeStatus.UNDER_REVIEW: DisputeMeaning.UNDECIDED,
    DisputeStatus.APPEAL_NEEDS_RESPONSE: DisputeMeaning.UNDECIDED,
    DisputeStatus.APPEAL_UNDER_REVIEW: DisputeMeaning.UNDECIDED,
    DisputeStatus.WON: DisputeMeaning.SETTLED,
    DisputeStatus.LOST: DisputeMeaning.LOST,
    DisputeStatus.PREVENTED: DisputeMeaning.SETTLED,
}


def _dispute_statuses(*meanings: DisputeMeaning) -> tuple[DisputeStatus, ...]:
    return tuple(status for status, meaning in _DISPUTE_MEANINGS.items() if meaning in meanings)


CLOSED_DISPUTES = _dispute_statuses(DisputeMeaning.SETTLED, DisputeMeaning.LOST)
LOST_DISPUTES = _dispute_statuses(DisputeMeaning.LOST)
INQUIRIES = _dispute_statuses(DisputeMeaning.INQUIRY)


class ActionPlace(StrEnum):
    """Where the buyer does what a PaymentIntent in `requires_action` waits for."""

    # In this browser or on the phone beside it, within minutes: who leaves it half-way is gone.
    HERE = "here"
    # In a shop, at a bank or days later: what the buyer was handed stays payable until it expires.
    ELSEWHERE = "elsewhere"
    # Stripe added it after this version: nobody here can say.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ActionKind:
    """A kind of `next_action`: where it happens, and the fields of its details that are read.

    `expiry_field` holds a time in Unix seconds; what the buyer was handed lapses `lapses_days`
    later, or as long after the PaymentIntent was created where there is no such field. For
    `reported_days` more, Stripe may still report a payment that was made in time.
    """

    place: ActionPlace
    url_field: str = ""
    expiry_field: str = ""
    lapses_days: int = 0
    reported_days: int = 0
    # Whether Stripe takes it back before it has lapsed.
    cancelable: bool = True
    # Whether confirming with another method does so too.
    replaceable: bool = False
    # Whether Stripe refunds what was paid with it, at once or after asking the buyer by e-mail.
    refundable: bool = True


def _elsewhere(url_field: str = "", expiry_field: str = "", **more: Any) -> ActionKind:
    return ActionKind(ActionPlace.ELSEWHERE, url_field, expiry_field, **more)


_HERE = ActionKind(ActionPlace.HERE)
_UNKNOWN = ActionKind(ActionPlace.UNKNOWN)
_VOUCHER = "hosted_voucher_url"
# Every kind of this version, and PayTo's, which its types leave out.
# https://docs.stripe.com/api/payment_intents/object#payment_intent_object-next_action
NEXT_ACTIONS: dict[str, ActionKind] = {
    "alipay_handle_redirect": _HERE,
    "blik_authorize": _HERE,
    "cashapp_handle_redirect_or_display_qr_code": _HERE,
    "klarna_display_qr_code": _HERE,
    "paynow_display_qr_code": _HERE,
    "pix_display_qr_code": _HERE,
    "promptpay_display_qr_code": _HERE,
    "redirect_to_url": _HERE,
    "swish_handle_redirect_or_display_qr_code": _HERE,
    "upi_handle_redirect_or_display_qr_code": _HERE,
    "use_stripe_sdk": _HERE,
    "wechat_pay_display_qr_code": _HERE,
    "wechat_pay_redirect_to_android_app": _HERE,
    "wechat_pay_redirect_to_ios_app": _HERE,
    # Business days: a slip that is paid on the evening before a long weekend is reported after it.
    "boleto_display_details": _elsewhere(
        _VOUCHER, "expires_at", reported_days=4, cancelable=False, refundable=False
    ),
    "multibanco_display_details": _elsewhere(_VOUCHER, "expires_at", reported_days=4),
    "oxxo_display_details": _elsewhere(
        _VOUCHER, "expires_after", reported_days=4, cancelable=False, refundable=False
    ),
    "konbini_display_details": _elsewhere(
        _VOUCHER, "expires_at", reported_days=1, replaceable=True
    ),
    "display_bank_transfer_instructions": _elsewhere(
        "hosted_instructions_url", lapses_days=7, reported_days=3
    ),
    # For ten days from their arrival, the buyer can confirm the deposits.
    "verify_with_microdeposits": _elsewhere(
        "hosted_verification_url", "arrival_date", lapses_days=10, replaceable=True
    ),
    "card_await_notification": _elsewhere("", "charge_attempt_at", reported_days=1),
    "payto_await_authorization": _elsewhere(lapses_days=5, reported_days=1),
}


@dataclass(frozen=True)
class NextAction:
    """What a PaymentIntent in `requires_action` waits for.

    `url` is Stripe's page with the slip or the instructions; `expires_at` (Unix seconds) is when
    it can no longer be used. Both are None where Stripe names none.
    """

    type: str
    url: str | None = field(default=None, repr=False)
    expires_at: int | None = None

    @property
    def kind(self) -> ActionKind:
        """What is known of its kind."""
        return NEXT_ACTIONS.get(self.type, _UNKNOWN)


@dataclass(frozen=True)
class PaymentIntent:
    """A PaymentIntent. Amounts in minor units, `created` in Unix seconds.

    `from_event` says that it was taken from a webhook's event and not read from Stripe; then
    `client_secret` is None. The secret goes to the buyer's page, nowhere else. `method_types` are
    Stripe's names of the methods that it offers for this payment.
    `version` is that of the payment's row before this was read from Stripe: it shows whether
    something else was applied in the meantime. None when nobody looked.
    """

    id: str
    status: PaymentIntentStatus
    amount: int
    amount_received: int
    currency: str
    created: int
    livemode: bool
    payment_method: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    error_code: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    from_event: bool = False
    next_action: NextAction | None = None
    method_types: tuple[str, ...] = ()
    version: int | None = None

    @property
    def action_place(self) -> ActionPlace | None:
        """Where the buyer has to act; None when nothing is required of them."""
        if self.status != PaymentIntentStatus.REQUIRES_ACTION:
            return None
        return self.next_action.kind.place if self.next_action else ActionPlace.UNKNOWN

    @property
    def slip(self) -> NextAction | None:
        """The voucher, transfer or other thing that the buyer pays or does elsewhere."""
        return self.next_action if self.action_place == ActionPlace.ELSEWHERE else None


@dataclass(frozen=True)
class StripeRefund:
    """A refund; the amount in minor units, `created` in Unix seconds.

    `reference` is what the shop wrote into its metadata; None when somebody else created it, such
    as the organiser in Stripe's dashboard.
    """

    id: str
    status: RefundStatus
    amount: int
    currency: str
    created: int
    payment_intent: str | None = None
    reference: str | None = None
    failure_reason: str | None = None


@dataclass(frozen=True)
class StripeDispute:
    """A dispute; the amount (minor units) is what the bank claims.

    `is_charge_refundable` says whether Stripe still refunds the payment while it is undecided.
    """

    id: str
    status: DisputeStatus
    reason: str
    amount: int
    currency: str
    created: int
    is_charge_refundable: bool
    payment_intent: str | None = None


@dataclass(frozen=True)
class StripeEvent:
    """A Stripe event, reduced to what is stored of it: no personal data and no secret."""

    id: str
    type: str
    created: int
    livemode: bool
    api_version: str | None
    object: Mapping[str, Any]

    @property
    def object_id(self) -> str:
        """The id of the object that the event is about; empty when it names none."""
        value = self.object.get("id")
        return value if isinstance(value, str) else ""

    @property
    def connected_account(self) -> str | None:
        """The account that it names: another one with Connect, any one in an organization."""
        value = self.object.get(CONNECTED_ACCOUNT)
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class StripePrice:
    """A price, `amount` in minor units; `interval` is None for what is paid once."""

    id: str
    product: str
    # None unless the product was expanded.
    product_name: str | None
    amount: int | None
    currency: str
    interval: str | None


@dataclass(frozen=True)
class StripeInvoice:
    """An invoice; amounts in minor units, times in Unix seconds.

    `period_end` is the end of the last period of its lines. `subscription_metadata` is a copy that
    Stripe took when it made the invoice. `client_secret` is there only where it was asked for.
    """

    id: str
    customer: str
    subscription: str | None
    status: InvoiceStatus
    number: str | None
    billing_reason: str | None
    collection_method: str
    currency: str
    total: int
    amount_due: int
    amount_paid: int
    amount_remaining: int
    attempt_count: int
    created: int
    period_end: int | None
    due_date: int | None
    next_payment_attempt: int | None
    finalized_at: int | None
    paid_at: int | None
    payment_intent: str | None
    client_secret: str | None = field(default=None, repr=False)
    subscription_metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StripeSubscription:
    """A subscription; times in Unix seconds. `price` is the first item's."""

    id: str
    customer: str
    status: SubscriptionStatus
    price: str | None
    period_start: int | None
    period_end: int | None
    cancel_at_period_end: bool
    cancel_at: int | None
    ended_at: int | None
    metadata: Mapping[str, str]
    latest_invoice: StripeInvoice | None
