"""Tickets: one row for each person that an order admits."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.database import Amount, Base, EnumText


class TicketStatus(StrEnum):
    """Whether a ticket is valid for entry."""

    VALID = "valid"
    # While its payment is disputed it is neither valid nor for sale again.
    BLOCKED = "blocked"
    VOID = "void"


class Ticket(Base):
    """One ticket. `code` is its secret, 128 random bits; `number` counts within the order."""

    __tablename__ = "tickets"
    __table_args__ = (UniqueConstraint("order_id", "number", name="uq_tickets_place"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(26), unique=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    ticket_type_id: Mapped[int] = mapped_column(ForeignKey("ticket_types.id"))
    number: Mapped[int]
    type_name: Mapped[str] = mapped_column(String(120))
    price: Mapped[Amount]
    holder: Mapped[str] = mapped_column(String(120))
    status: Mapped[TicketStatus] = mapped_column(
        EnumText(TicketStatus, 8), default=TicketStatus.VALID
    )
    issued_at: Mapped[datetime]

    @property
    def is_void(self) -> bool:
        """Whether it was refunded or canceled, so that it is for sale again."""
        return self.status == TicketStatus.VOID
