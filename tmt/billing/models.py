"""Who is a member, at which price, and what Stripe has billed for it.

Whether a member has access is in none of these rows: `access.py` computes it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tmt.catalog.models import Plan
from tmt.core.database import Amount, Base, EnumText
from tmt.gateway.types import ENDED_SUBSCRIPTIONS, InvoiceStatus, SubscriptionStatus
from tmt.payments.models import STATUS_LENGTH, IdempotentCall

_IS_OPEN = text(f"status NOT IN ({', '.join(repr(str(s)) for s in ENDED_SUBSCRIPTIONS)})")


class PlanPrice(IdempotentCall, Base):
    """A price that a plan has or had, for one mode and Stripe account: a Price there.

    A plan whose price changes gets another row; members stay with the one that they joined at.
    The newest row of an account is what new members pay. Stripe's ids are None until it answered.
    """

    __tablename__ = "plan_prices"
    __table_args__ = (Index("ix_plan_prices_plan", "plan_id", "account"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id"))
    account: Mapped[str] = mapped_column(String(80))
    amount: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    interval: Mapped[str] = mapped_column(String(5))
    product_id: Mapped[str | None] = mapped_column(String(255))
    price_id: Mapped[str | None] = mapped_column(String(255), index=True)
    created_at: Mapped[datetime]

    plan: Mapped[Plan] = relationship()


class StripeCustomer(IdempotentCall, Base):
    """A customer at Stripe, for one mode and account; no id until Stripe has answered."""

    __tablename__ = "stripe_customers"
    __table_args__ = (Index("uq_stripe_customers", "customer_id", "account", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    account: Mapped[str] = mapped_column(String(80))
    stripe_id: Mapped[str | None] = mapped_column(String(255), unique=True)


class Membership(IdempotentCall, Base):
    """A customer's subscription to a plan, which is found by the id stored here.

    `status` is Stripe's own, or `new` before Stripe has answered; so are the period and what ends
    it. `paid_through` is the end of the last period whose invoice was paid. `version` counts what
    was applied, by which a read of Stripe that is older than the row is told from a newer one.
    A customer has one open membership of a plan family in each mode and account.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        Index(
            "uq_memberships_open",
            "customer_id",
            "family",
            "account",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    plan_price_id: Mapped[int] = mapped_column(ForeignKey("plan_prices.id"), index=True)
    family: Mapped[str] = mapped_column(String(80))
    account: Mapped[str] = mapped_column(String(80))
    livemode: Mapped[bool]
    subscription_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        EnumText(SubscriptionStatus, STATUS_LENGTH), default=SubscriptionStatus.NEW
    )
    created_at: Mapped[datetime]
    period_start: Mapped[datetime | None]
    period_end: Mapped[datetime | None]
    paid_through: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(default=False)
    cancel_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)

    plan_price: Mapped[PlanPrice] = relationship()

    @property
    def plan(self) -> Plan:
        return self.plan_price.plan

    @property
    def ends_at(self) -> datetime | None:
        """When it ends, if it was canceled; Stripe says so in two ways."""
        return self.cancel_at or (self.period_end if self.cancel_at_period_end else None)


class Invoice(Base):
    """An invoice as Stripe has it: statuses, numbers and amounts (minor units) are Stripe's.

    One of a membership, or written to a customer on its own. Its PaymentIntent is no order's.
    """

    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    invoice_id: Mapped[str] = mapped_column(String(255), unique=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    membership_id: Mapped[int | None] = mapped_column(ForeignKey("memberships.id"), index=True)
    account: Mapped[str] = mapped_column(String(80))
    livemode: Mapped[bool]
    status: Mapped[InvoiceStatus] = mapped_column(EnumText(InvoiceStatus, STATUS_LENGTH))
    # None while it is a draft.
    number: Mapped[str | None] = mapped_column(String(80))
    billing_reason: Mapped[str | None] = mapped_column(String(64))
    collection_method: Mapped[str] = mapped_column(String(32))
    payment_intent_id: Mapped[str | None] = mapped_column(String(255), index=True)
    currency: Mapped[str] = mapped_column(String(3))
    total: Mapped[Amount]
    amount_due: Mapped[Amount]
    amount_paid: Mapped[Amount] = mapped_column(default=0)
    amount_remaining: Mapped[Amount] = mapped_column(default=0)
    # The end of the last period that it is for.
    period_end: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    attempt_count: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finalized_at: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=0)
