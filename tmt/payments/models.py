"""Money in and out: a row for each PaymentIntent, each refund and each dispute at Stripe."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.database import Amount, Base, EnumText
from tmt.gateway.types import DisputeStatus, PaymentIntentStatus, RefundStatus

# A refund in one of these returned no money and never will. All others count as refunded, also
# one whose status is not known yet: money must not be refunded twice.
FAILED_REFUNDS = (RefundStatus.FAILED, RefundStatus.CANCELED)

# Long enough for statuses that Stripe may add.
STATUS_LENGTH = 64


class IdempotentCall:
    """The columns of a row that stands for one call to Stripe, however often it is made.

    The key is written before the call and goes with each repetition of it. Stripe remembers it for
    a day: later, or when Stripe stored an error under it (`key_exhausted`), or when the parameters
    are not those of the first call (`params_hash`), `idempotency.py` looks the object up first.
    """

    idempotency_key: Mapped[str | None] = mapped_column(String(80), unique=True)
    key_created_at: Mapped[datetime]
    key_exhausted: Mapped[bool] = mapped_column(default=False)
    params_hash: Mapped[str | None] = mapped_column(String(64))

    if TYPE_CHECKING:
        # Each table has its own.
        id: Mapped[int]
        __tablename__: str


class Payment(IdempotentCall, Base):
    """The PaymentIntent of an order, which is found by the id stored here and by nothing else.

    `status` is the PaymentIntent's own, or `new` before Stripe has answered. `amount` is what the
    order costs, `amount_received` what Stripe says has come, in `received_currency`; they differ
    only when something is wrong. `verified_at` is when its success was read from Stripe itself; it
    is None as long as a webhook alone says so.

    `version` counts what was applied to it, by which a read of Stripe that is older than the row
    is told from a newer one. `attempt` counts how often a payment was on its way: mails are about
    one attempt. The rest is about the one that is on its way now: the PaymentMethod's id, Stripe's
    `next_action`, and the slip that the buyer pays elsewhere. No name, number or address. Of a
    payment that succeeded by a slip, `slip_type` stays: not every method can be refunded.
    """

    __tablename__ = "payments"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_positive"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True, unique=True)
    payment_intent_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[PaymentIntentStatus] = mapped_column(
        EnumText(PaymentIntentStatus, STATUS_LENGTH), default=PaymentIntentStatus.NEW
    )
    amount: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    amount_received: Mapped[Amount] = mapped_column(default=0)
    received_currency: Mapped[str | None] = mapped_column(String(3))
    error_code: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    payment_method_id: Mapped[str | None] = mapped_column(String(255))
    next_action: Mapped[str | None] = mapped_column(String(64))
    slip_type: Mapped[str | None] = mapped_column(String(64))
    slip_url: Mapped[str | None] = mapped_column(String(2000))
    slip_expires_at: Mapped[datetime | None]


class Refund(IdempotentCall, Base):
    """A refund: the row first, then Stripe's refund (`stripe_id`), then its result.

    A refund that was created elsewhere, as in Stripe's dashboard, has no idempotency key.
    `tickets` are the numbers of the tickets that were refunded one by one, and became void with it;
    empty for a refund of the whole order or of an amount. With an amount of 0 they became void
    without a refund at Stripe.
    """

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount >= 0", name="amount_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    stripe_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[RefundStatus] = mapped_column(EnumText(RefundStatus, STATUS_LENGTH))
    reason: Mapped[str] = mapped_column(String(30))
    failure_reason: Mapped[str | None] = mapped_column(String(80))
    amount: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    tickets: Mapped[list[Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Dispute(Base):
    """A payment that the buyer's bank claims back; its status is Stripe's own.

    `is_charge_refundable` is Stripe's word on whether it refunds the payment in spite of it.
    """

    __tablename__ = "disputes"

    id: Mapped[int] = mapped_column(primary_key=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    stripe_id: Mapped[str] = mapped_column(String(255), unique=True)
    status: Mapped[DisputeStatus] = mapped_column(EnumText(DisputeStatus, STATUS_LENGTH))
    is_charge_refundable: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(String(80))
    amount: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def blocks_refunds(self) -> bool:
        """Whether Stripe refunds nothing of the payment until this dispute is decided."""
        return not self.status.is_closed and not self.is_charge_refundable


class ShopIdentity(Base):
    """The one row that says who this shop is: its PaymentIntents at Stripe carry `shop_id`.

    Two shops may use one Stripe account; and a database that was restored from a backup must still
    recognise what its shop created after the backup was made.
    """

    __tablename__ = "shop_identity"

    shop_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created_at: Mapped[datetime]


class OperatorAlert(Base):
    """Something that a person must see, until somebody marks it as resolved.

    It is about an order, or about the shop as a whole (`order_id` is None then).
    """

    __tablename__ = "operator_alerts"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(40))
    order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id"), index=True)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
