"""What is for sale: events and their ticket types, with the stock counted on their rows."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from tmt.core.database import Base

# The last defence against overselling, behind the conditional UPDATEs of stock.py.
_STOCK_CHECKS = (
    CheckConstraint("held >= 0 AND sold >= 0", name="stock_not_negative"),
    CheckConstraint("capacity IS NULL OR held + sold <= capacity", name="stock_within_capacity"),
)


class EventStatus(StrEnum):
    """Nobody sees a draft; a canceled event is shown, but nothing of it is sold."""

    DRAFT = "draft"
    PUBLISHED = "published"
    CANCELED = "canceled"


def folded(text: str) -> str:
    """The text without case and accents, for searching: 'Canción' is found by 'cancion'."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


class Event(Base):
    """A concert or the like. Times are UTC; `time_zone` is only for showing them."""

    __tablename__ = "events"
    __table_args__ = (*_STOCK_CHECKS, Index("ix_events_upcoming", "status", "ends_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text)
    venue: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(300))
    city: Mapped[str] = mapped_column(String(120))
    search_text: Mapped[str] = mapped_column(String(400), default="")
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    time_zone: Mapped[str] = mapped_column(String(64))
    language: Mapped[str] = mapped_column(String(2))
    currency: Mapped[str] = mapped_column(String(3))
    capacity: Mapped[int | None]
    held: Mapped[int] = mapped_column(default=0)
    sold: Mapped[int] = mapped_column(default=0)
    sale_starts_at: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    max_per_order: Mapped[int]
    status: Mapped[str] = mapped_column(String(12))
    image_url: Mapped[str | None] = mapped_column(String(500))
    # Of the sandbox's demo: never shown or sold where money is real.
    demo: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime]

    ticket_types: Mapped[list[TicketType]] = relationship(
        back_populates="event", order_by="TicketType.position", cascade="all, delete-orphan"
    )

    @validates("title", "venue")
    def _index(self, key: str, text: str) -> str:
        title, venue = (text, self.venue) if key == "title" else (self.title, text)
        self.search_text = folded(f"{title or ''} {venue or ''}")[:400]
        return text

    @property
    def left(self) -> int | None:
        """Tickets of the whole event that are neither held nor sold; None without a limit."""
        return None if self.capacity is None else self.capacity - self.held - self.sold


class TicketType(Base):
    """A kind of ticket of an event, with its price in minor units of the event's currency."""

    __tablename__ = "ticket_types"
    __table_args__ = (
        *_STOCK_CHECKS,
        CheckConstraint("price >= 0", name="price_not_negative"),
        Index("ix_ticket_types_event", "event_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(500), default="")
    price: Mapped[int]
    capacity: Mapped[int | None]
    held: Mapped[int] = mapped_column(default=0)
    sold: Mapped[int] = mapped_column(default=0)
    sale_starts_at: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    position: Mapped[int]

    event: Mapped[Event] = relationship(back_populates="ticket_types")

    @property
    def left(self) -> int | None:
        """Tickets of this type that are neither held nor sold; None without a limit of its own."""
        return None if self.capacity is None else self.capacity - self.held - self.sold
