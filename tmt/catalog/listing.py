"""What a visitor sees of the catalogue: which events there are, and what can be bought now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tmt.catalog.models import CANCELED, DRAFT, PUBLISHED, Event, TicketType, folded
from tmt.core.errors import NotFound

ON_SALE, FEW_LEFT, LATER, SOLD_OUT = "on_sale", "few_left", "later", "sold_out"
CLOSED, OVER = "closed", "over"
BUYABLE = (ON_SALE, FEW_LEFT)

_MOST_EVENTS = 200


@dataclass(frozen=True)
class Offer:
    """A ticket type as it stands now. `left` is None where no number limits it."""

    id: int
    name: str
    description: str
    price: int
    state: str
    left: int | None
    max: int
    sale_starts_at: datetime | None
    sale_ends_at: datetime | None


@dataclass(frozen=True)
class EventCard:
    """An event in the list; prices in minor units, None when nothing is for sale."""

    event: Event
    state: str
    price_from: int | None
    price_to: int | None
    sale_starts_at: datetime | None


@dataclass(frozen=True)
class Search:
    """What the visitor looks for; each part may be left out."""

    q: str = ""
    city: str = ""
    date: date | None = None


def upcoming(
    session: Session, now: datetime, search: Search = Search(), *, few: int
) -> list[EventCard]:
    """Published and canceled events that are not over, soonest first, as the search asks."""
    found = session.scalars(_upcoming(now, search)).all()
    if search.date:
        found = [event for event in found if _local_date(event) == search.date]
    return [_card(event, now, few) for event in found]


def cities(session: Session, now: datetime) -> Sequence[str]:
    """The cities of upcoming events, for the search's list."""
    query = select(Event.city).where(Event.status != DRAFT, Event.ends_at > now)
    return session.scalars(query.distinct().order_by(Event.city)).all()


def find_event(session: Session, slug: str) -> Event:
    """The event of this address with its ticket types; `NotFound` for none or a draft."""
    # PostgreSQL takes no NUL in a text, and an address may hold one.
    if not slug.isprintable():
        raise NotFound("no event of this address")
    event = session.scalars(_BY_SLUG, {"slug": slug}).unique().one_or_none()
    if event is None or event.status == DRAFT:
        raise NotFound(f"no event '{slug[:80]}'")
    return event


# Built once: it runs for every look at an event.
_BY_SLUG = (
    select(Event).where(Event.slug == bindparam("slug")).options(joinedload(Event.ticket_types))
)


def is_upcoming(event: Event, now: datetime) -> bool:
    """Whether there is still something to pay for: the event is neither canceled nor over."""
    return event.status == PUBLISHED and event.ends_at > now


def offers(event: Event, now: datetime, *, few: int) -> list[Offer]:
    """The event's ticket types in their order, each with what can be bought of it now."""
    return [_offer(event, ticket_type, now, few) for ticket_type in event.ticket_types]


def event_state(event: Event, standing: Sequence[Offer], now: datetime) -> str:
    """One word for the event: canceled, over, later, closed, sold_out, few_left or on_sale."""
    if event.status == CANCELED:
        return CANCELED
    if event.ends_at <= now:
        return OVER
    states = {offer.state for offer in standing}
    if not states & set(BUYABLE):
        return next((s for s in (LATER, SOLD_OUT, CLOSED) if s in states), CLOSED)
    lefts = [offer.left for offer in standing if offer.state in BUYABLE]
    # "Few left" is said of the event only when it is true of all that can be bought.
    return FEW_LEFT if states & set(BUYABLE) == {FEW_LEFT} and None not in lefts else ON_SALE


def _upcoming(now: datetime, search: Search) -> Select[Event]:
    query = (
        select(Event)
        .where(Event.status.in_((PUBLISHED, CANCELED)), Event.ends_at > now)
        .options(selectinload(Event.ticket_types))
        .order_by(Event.starts_at, Event.id)
        .limit(_MOST_EVENTS)
    )
    if search.q:
        query = query.where(Event.search_text.contains(folded(search.q), autoescape=True))
    if search.city:
        query = query.where(Event.city == search.city)
    if search.date:
        # Wide enough for every zone; the exact local date is compared afterwards.
        noon = datetime.combine(search.date, datetime.min.time(), now.tzinfo) + timedelta(hours=12)
        query = query.where(
            Event.starts_at.between(noon - timedelta(hours=27), noon + timedelta(hours=27))
        )
    return query


def _card(event: Event, now: datetime, few: int) -> EventCard:
    standing = offers(event, now, few=few)
    prices = [offer.price for offer in standing]
    starts = [offer.sale_starts_at for offer in standing if offer.sale_starts_at]
    return EventCard(
        event,
        event_state(event, standing, now),
        min(prices, default=None),
        max(prices, default=None),
        min(starts, default=None),
    )


def _offer(event: Event, ticket_type: TicketType, now: datetime, few: int) -> Offer:
    lefts = [left for left in (ticket_type.left, event.left) if left is not None]
    left = min(lefts, default=None)
    starts = ticket_type.sale_starts_at or event.sale_starts_at
    ends = ticket_type.sale_ends_at or event.sale_ends_at or event.ends_at
    state = _offer_state(left, starts, ends, now, few)
    most = event.max_per_order if left is None else min(left, event.max_per_order)
    return Offer(
        id=ticket_type.id,
        name=ticket_type.name,
        description=ticket_type.description,
        price=ticket_type.price,
        state=CLOSED if event.status != PUBLISHED else state,
        left=left,
        max=most if state in BUYABLE else 0,
        sale_starts_at=starts,
        sale_ends_at=ends,
    )


def _offer_state(
    left: int | None, starts: datetime | None, ends: datetime, now: datetime, few: int
) -> str:
    if now >= ends:
        return CLOSED
    if left is not None and left <= 0:
        return SOLD_OUT
    if starts and now < starts:
        return LATER
    return FEW_LEFT if left is not None and left <= few else ON_SALE


def _local_date(event: Event) -> date:
    return event.starts_at.astimezone(ZoneInfo(event.time_zone)).date()
