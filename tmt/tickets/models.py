"""Tickets: one row for each place that somebody may take."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.db import Base

# A blocked ticket keeps its place but opens no door until the dispute over its payment is decided.
VALID, BLOCKED, VOID = "valid", "blocked", "void"


class Ticket(Base):
    """One place. `code` is its secret, 128 random bits; `number` counts within the order."""

    __tablename__ = "tickets"
    __table_args__ = (UniqueConstraint("order_id", "number", name="uq_tickets_place"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(26), unique=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    ticket_type_id: Mapped[int] = mapped_column(ForeignKey("ticket_types.id"))
    number: Mapped[int]
    type_name: Mapped[str] = mapped_column(String(120))
    price: Mapped[int]
    holder: Mapped[str] = mapped_column(String(120))
    status: Mapped[str] = mapped_column(String(8), default=VALID)
    issued_at: Mapped[datetime]
