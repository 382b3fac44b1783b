"""What is for sale: events and their ticket types, with the stock counted on their rows."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from secrets import token_hex
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from tmt.core.database import Amount, Base

# The last defence against overselling, behind the conditional UPDATEs of stock.py.
_STOCK_CHECKS = (
    CheckConstraint("held >= 0 AND sold >= 0", name="stock_not_negative"),
    CheckConstraint("capacity IS NULL OR held + sold <= capacity", name="stock_within_capacity"),
)


# The columns of an event that its visitors' searches look into.
SEARCHED = ("title", "venue", "city", "description")


class EventStatus(StrEnum):
    """Nobody sees a draft; a canceled event is shown, but nothing of it is sold."""

    DRAFT = "draft"
    PUBLISHED = "published"
    CANCELED = "canceled"


# Letters that people type without their stroke, and that Unicode does not take apart.
_STROKES = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)
# What keyboards write in several ways, and people leave out: apostrophes, the point of "col·legi".
_LEFT_OUT = str.maketrans("", "", "'’‘‛ʼʻʹ′´`＇·")


def folded(text: str) -> str:
    """The text as it is searched for: 'Canción' is found by 'cancion', 'L’Hora' by 'lhora'.

    Without case, accents, apostrophes and invisible characters; dashes separate words.
    """
    # Apostrophes first: Unicode would take the acute accent apart into a space and a mark.
    plain = unicodedata.normalize("NFKD", text.translate(_LEFT_OUT))
    letters = ("" if _is_unseen(c) else " " if _is_dash(c) else c for c in plain)
    return " ".join("".join(letters).casefold().translate(_STROKES).split())


def _is_unseen(character: str) -> bool:
    return bool(unicodedata.combining(character)) or unicodedata.category(character) == "Cf"


def _is_dash(character: str) -> bool:
    return character == "−" or unicodedata.category(character) == "Pd"


class ChangeKind(StrEnum):
    """What happened to an event that people have tickets for."""

    CANCELED = "canceled"
    MOVED = "moved"


class Event(Base):
    """A concert or the like. Times are UTC; `time_zone` is only for showing them.

    An online event needs no venue, address and city: they may be empty. `sequence` is raised by
    each change that a calendar must take over (RFC 5545, 3.8.7.4).
    """

    __tablename__ = "events"
    __table_args__ = (*_STOCK_CHECKS, Index("ix_events_upcoming", "status", "ends_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text)
    venue: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(300))
    city: Mapped[str] = mapped_column(String(120))
    online: Mapped[bool] = mapped_column(default=False)
    search_text: Mapped[str] = mapped_column(Text, default="")
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
    max_per_buyer: Mapped[int | None]
    confirm_email: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(String(12))
    image_url: Mapped[str | None] = mapped_column(String(500))
    sequence: Mapped[int] = mapped_column(default=0)
    # Of the sandbox's demo: never shown or sold where money is real.
    demo: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime]

    ticket_types: Mapped[list[TicketType]] = relationship(
        back_populates="event", order_by="TicketType.position", cascade="all, delete-orphan"
    )

    @validates(*SEARCHED)
    def _index(self, key: str, text: str) -> str:
        texts = {name: getattr(self, name) for name in SEARCHED} | {key: text}
        self.search_text = folded("\n".join(texts[name] or "" for name in SEARCHED))
        return text

    @property
    def max_at_once(self) -> int:
        """How many tickets a buyer who has none yet may order."""
        return min(self.max_per_order, self.max_per_buyer or self.max_per_order)

    @property
    def left(self) -> int | None:
        """Tickets of the whole event that are neither held nor sold; None without a limit."""
        return None if self.capacity is None else self.capacity - self.held - self.sold


class TicketType(Base):
    """A kind of ticket of an event, with its price in minor units of the event's currency.

    `key` is its name in catalogue files for good: the name that people read may change.
    """

    __tablename__ = "ticket_types"
    __table_args__ = (
        *_STOCK_CHECKS,
        CheckConstraint("price >= 0", name="price_not_negative"),
        Index("uq_ticket_types_key", "event_id", "key", unique=True),
        Index("ix_ticket_types_event", "event_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    key: Mapped[str] = mapped_column(String(80), default=lambda: f"type-{token_hex(8)}")
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(500), default="")
    price: Mapped[Amount]
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


class EventChange(Base):
    """A change that the buyers of an event are informed of, and what came of it so far.

    `before` is where and when the event was to be (`changes.py`), `message` the organiser's own
    words. The jobs put a row for each order into the outbox: `orders` of them so far, the orders up
    to the id `last_order`; all of them at `queued_at`.
    """

    __tablename__ = "event_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    kind: Mapped[str] = mapped_column(String(12))
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    message: Mapped[str] = mapped_column(Text, default="")
    with_mail: Mapped[bool]
    created_at: Mapped[datetime]
    orders: Mapped[int] = mapped_column(default=0)
    last_order: Mapped[int] = mapped_column(default=0)
    queued_at: Mapped[datetime | None]


class PlanStatus(StrEnum):
    """Nobody can join a draft; those who are members of it stay so."""

    DRAFT = "draft"
    PUBLISHED = "published"


class PlanInterval(StrEnum):
    """How often a plan is paid for, spelt as Stripe spells it."""

    MONTH = "month"
    YEAR = "year"


class Plan(Base):
    """What a member pays for, at `price` (minor units) for each interval, and what it comes with.

    Nobody can have two plans of one family. `price` is that of new members: each member's own is
    in `PlanPrice` (`tmt/billing/models.py`). What a plan comes with: its ticket types are on sale
    `presale_days` earlier; `member_places` tickets of an event cost less, by a percentage or by an
    amount in the plan's currency; `included_places` tickets in each paid period cost nothing.
    `version` counts the changes that Stripe has to be informed of.
    """

    __tablename__ = "plans"
    __table_args__ = (
        CheckConstraint("price > 0", name="plan_price_positive"),
        CheckConstraint(
            "member_percent_off IS NULL OR member_amount_off IS NULL", name="plan_one_member_price"
        ),
        CheckConstraint(
            "NOT donation OR (included_places = 0 AND member_places = 0)",
            name="plan_donation_without_benefits",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    family: Mapped[str] = mapped_column(String(80))
    # By locale.
    names: Mapped[dict[str, str]] = mapped_column(JSON)
    price: Mapped[Amount]
    currency: Mapped[str] = mapped_column(String(3))
    interval: Mapped[str] = mapped_column(String(5))
    status: Mapped[str] = mapped_column(String(12))
    donation: Mapped[bool] = mapped_column(default=False)
    presale_days: Mapped[int] = mapped_column(default=0)
    member_percent_off: Mapped[int | None]
    member_amount_off: Mapped[Amount | None]
    member_places: Mapped[int] = mapped_column(default=0)
    included_places: Mapped[int] = mapped_column(default=0)
    position: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime]

    def name_in(self, locale: str) -> str:
        """Its name in this language, or in the one that it has."""
        return self.names.get(locale) or next(iter(self.names.values()))
