"""Money in and out: a row for each PaymentIntent, each refund and each dispute at Stripe."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.db import Base

# Before Stripe has answered, a Payment has no PaymentIntent and this status; afterwards its
# status is the PaymentIntent's own.
NEW = "new"
_OPEN = text("status NOT IN ('succeeded', 'canceled')")

# Before Stripe has answered, a Refund has this status; afterwards it is Stripe's own.
REQUESTED = "requested"
# A refund in one of these has given, or may still give, its money back; the others never will.
COUNTED = (REQUESTED, "pending", "requires_action", "succeeded")

# A dispute in one of these is over; while it is in any other, nothing is refunded.
DISPUTE_OVER = ("won", "lost", "warning_closed", "prevented")


class Attempt:
    """The columns of a row that stands for one call to Stripe, however often it is made.

    The key is written before the call and goes with each repetition of it. Stripe keeps it for a
    day: later, or when Stripe keeps an error under it (`key_spent`), or when the parameters are
    not those of the first time (`params_hash`), payments/attempts.py looks the object up first.
    """

    idempotency_key: Mapped[str | None] = mapped_column(String(80), unique=True)
    key_made_at: Mapped[datetime]
    key_spent: Mapped[bool] = mapped_column(default=False)
    params_hash: Mapped[str | None] = mapped_column(String(64))


class Payment(Attempt, Base):
    """A PaymentIntent of an order. The order is found by the id stored here and by nothing else.

    `amount` is what was asked for, `amount_received` what Stripe says has come, in
    `received_currency`; they differ only when something is wrong.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        # At most one PaymentIntent of an order can be paid at a time.
        Index(
            "uq_payments_open",
            "order_id",
            unique=True,
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    payment_intent: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(32), default=NEW)
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    amount_received: Mapped[int] = mapped_column(default=0)
    received_currency: Mapped[str | None] = mapped_column(String(3))
    error_code: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None]


class Refund(Attempt, Base):
    """Money given back: the row first, then Stripe's refund, then its result.

    A refund that was made elsewhere, as in Stripe's dashboard, has no idempotency key.
    `tickets` are the numbers of the tickets that became void with it; over nothing, they became
    void without money, and Stripe knows nothing of it.
    """

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount >= 0", name="amount_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    refund: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(30))
    failure_reason: Mapped[str | None] = mapped_column(String(80))
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    tickets: Mapped[list[Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class Dispute(Base):
    """A payment that the buyer's bank wants back; its status is Stripe's own."""

    __tablename__ = "disputes"

    id: Mapped[int] = mapped_column(primary_key=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), index=True)
    dispute: Mapped[str] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(String(80))
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class Notice(Base):
    """Something about an order that a person must see; it stands until somebody says it is done."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(40))
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
