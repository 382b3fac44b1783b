"""Orders: reserved tickets, at the prices of that moment."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tmt.catalog.models import Event
from tmt.core.database import Amount, Base, EnumText


class OrderStatus(StrEnum):
    """An order's status; `states.py` has the allowed transitions."""

    HELD = "held"
    PROCESSING = "processing"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELED = "canceled"
    REFUNDED = "refunded"

    @property
    def holds_stock(self) -> bool:
        """Whether it has tickets reserved that are not paid yet."""
        return self in (OrderStatus.HELD, OrderStatus.PROCESSING)

    @property
    def is_abandoned(self) -> bool:
        """Whether it ended without a payment."""
        return self in (OrderStatus.EXPIRED, OrderStatus.CANCELED)

    @property
    def is_closed(self) -> bool:
        """Whether its tickets are for sale again."""
        return self.is_abandoned or self == OrderStatus.REFUNDED


class Order(Base):
    """One purchase. `token` gives access to it, `code` names it, `checkout_token` is used once."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("total >= 0", name="total_not_negative"),
        Index("ix_orders_overdue", "status", "expires_at"),
        Index("ix_orders_email", "email_key", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(12), unique=True)
    token: Mapped[str] = mapped_column(String(32), unique=True)
    checkout_token: Mapped[str] = mapped_column(String(32), unique=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    # None once the personal data were erased, and of orders of a version without customers.
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"), index=True)
    status: Mapped[OrderStatus] = mapped_column(EnumText(OrderStatus, 12))
    name: Mapped[str] = mapped_column(String(120))
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254))
    locale: Mapped[str] = mapped_column(String(2))
    total: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    livemode: Mapped[bool]
    # The mode and Stripe account that took it, such as "live:acct_1…"; not stored of old orders.
    account: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    extensions: Mapped[int] = mapped_column(default=0)
    paid_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    event: Mapped[Event] = relationship()
    lines: Mapped[list[OrderLine]] = relationship(order_by="OrderLine.id")

    @property
    def quantities(self) -> dict[int, int]:
        """The number of tickets by ticket type id, as `stock.py` takes it."""
        tickets: Counter[int] = Counter()
        for line in self.lines:
            tickets[line.ticket_type_id] += line.quantity
        return dict(tickets)


class OrderKey(Base):
    """One of the things that tell whose order it is (address, network, session, buyer), hashed.

    What one of them may hold and buy of an event is limited; after the event the rows are deleted.
    """

    __tablename__ = "order_keys"
    __table_args__ = (Index("ix_order_keys_key", "key", "event_id", "created_at"),)

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    tickets: Mapped[int]
    created_at: Mapped[datetime]


class PriceReason(StrEnum):
    """Why a ticket costs less than its list price."""

    # At the member price of a plan, for some places of each event.
    MEMBER_PRICE = "member_price"
    # One of the places that a plan includes in each period.
    INCLUDED = "included"


class OrderLine(Base):
    """Tickets of one type at one price, with name and prices (minor units) frozen at checkout.

    A line below its list price has the reason, and the membership and its period that count the
    line's tickets as used for as long as the order is open or paid.
    """

    __tablename__ = "order_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity_positive"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    ticket_type_id: Mapped[int] = mapped_column(ForeignKey("ticket_types.id"))
    name: Mapped[str] = mapped_column(String(120))
    unit_price: Mapped[Amount]
    # None of orders of a version without member prices.
    list_price: Mapped[Amount | None]
    reason: Mapped[PriceReason | None] = mapped_column(EnumText(PriceReason, 20))
    membership_id: Mapped[int | None] = mapped_column(ForeignKey("memberships.id"), index=True)
    period_start: Mapped[datetime | None]
    quantity: Mapped[int]
    holders: Mapped[list[Any]] = mapped_column(JSON)

    @property
    def total(self) -> int:
        return self.unit_price * self.quantity

    @property
    def list_total(self) -> int:
        """What it would cost at the list price."""
        price = self.unit_price if self.list_price is None else self.list_price
        return price * self.quantity


class OrderTransition(Base):
    """The order's history: every change of status, with what triggered it."""

    __tablename__ = "order_transitions"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    from_status: Mapped[OrderStatus] = mapped_column(EnumText(OrderStatus, 12))
    to_status: Mapped[OrderStatus] = mapped_column(EnumText(OrderStatus, 12))
    triggered_by: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
