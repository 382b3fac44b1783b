"""Money on its way: one Payment for each PaymentIntent, one Refund for each refund at Stripe."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.db import Base

# Before Stripe has answered, a Payment has no PaymentIntent and this status; afterwards its
# status is the PaymentIntent's own.
NEW = "new"
_OPEN = text("status NOT IN ('succeeded', 'canceled')")


class Payment(Base):
    """A PaymentIntent of an order. The order is found by the id stored here and by nothing else."""

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
    idempotency_key: Mapped[str] = mapped_column(String(80), unique=True)
    payment_intent: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(32), default=NEW)
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    error_code: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None]


class Refund(Base):
    """Money given back: the row first, then Stripe's refund, then its result."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_positive"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id"), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(80), unique=True)
    refund: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    created_at: Mapped[datetime]
