"""What a visitor sees of the catalogue: which events there are, and what can be bought now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, bindparam, false, func, or_, select, true
from sqlalchemy.orm import Session, joinedload, selectinload

from tmt.catalog.models import Event, EventStatus, TicketType, folded
from tmt.core.database import account_of
from tmt.core.errors import NotFound

PAGE_SIZE = 48
_MAX_WORDS = 8
_LISTED = (EventStatus.PUBLISHED, EventStatus.CANCELED)


class SaleState(StrEnum):
    """What a buyer can do about an event or a ticket type now, and if nothing, why."""

    ON_SALE = "on_sale"
    FEW_LEFT = "few_left"
    LATER = "later"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"
    # Of events only.
    OVER = "over"
    CANCELED = "canceled"

    @property
    def is_buyable(self) -> bool:
        return self in (SaleState.ON_SALE, SaleState.FEW_LEFT)


@dataclass(frozen=True)
class Offer:
    """A ticket type as it is now. `left` is None where no number limits it."""

    id: int
    name: str
    description: str
    price: int
    state: SaleState
    left: int | None
    max: int
    sale_starts_at: datetime | None
    sale_ends_at: datetime | None


@dataclass(frozen=True)
class EventCard:
    """An event in the list; prices in minor units, None when nothing is for sale."""

    event: Event
    state: SaleState
    price_from: int | None
    price_to: int | None
    sale_starts_at: datetime | None


@dataclass(frozen=True)
class EventPage:
    """One page of the list: `count` events match in all, on `pages` pages."""

    cards: Sequence[EventCard]
    count: int
    page: int
    pages: int


@dataclass(frozen=True)
class Search:
    """What the visitor looks for; each part may be left out."""

    q: str = ""
    city: str = ""
    date: date | None = None


def upcoming(
    session: Session, now: datetime, search: Search = Search(), *, page: int = 1, few: int
) -> EventPage:
    """Published and canceled events that are not over, soonest first, as the search asks.

    A page beyond the last one is the last one.
    """
    conditions = _conditions(session, now, search)
    count = session.scalar(select(func.count()).select_from(Event).where(*conditions)) or 0
    pages = max(1, -(-count // PAGE_SIZE))
    page = min(max(page, 1), pages)
    events = session.scalars(
        select(Event)
        .where(*conditions)
        .options(selectinload(Event.ticket_types))
        .order_by(Event.starts_at, Event.id)
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    return EventPage([_card(event, now, few) for event in events], count, page, pages)


def cities(session: Session, now: datetime) -> Sequence[str]:
    """The cities of upcoming events, for the search's list; each as most events write it."""
    best: dict[str, str] = {}
    for city in _spellings(session, now):
        best.setdefault(folded(city), city)
    return [best[key] for key in sorted(best)]


def _spellings(session: Session, now: datetime) -> list[str]:
    """How upcoming events write their cities, the most frequent first; at a tie not in capitals."""
    query = select(Event.city, func.count()).where(*_listed(session, now), Event.city != "")
    counts = session.execute(query.group_by(Event.city)).all()
    ordered = sorted(
        counts, key=lambda each: (-each[1], each[0].isupper(), each[0].islower(), each[0])
    )
    return [city for city, _count in ordered]


def _conditions(session: Session, now: datetime, search: Search) -> list[ColumnElement[bool]]:
    listed = _listed(session, now)
    conditions = listed.copy()
    for word in folded(search.q).split()[:_MAX_WORDS]:
        conditions.append(Event.search_text.contains(word, autoescape=True))
    if search.city:
        city = folded(search.city)
        conditions.append(
            Event.city.in_([c for c in _spellings(session, now) if folded(c) == city])
        )
    if search.date:
        zones = session.scalars(select(Event.time_zone).where(*listed).distinct())
        conditions.append(or_(false(), *(_is_on(search.date, zone) for zone in zones)))
    return conditions


def _is_on(day: date, zone: str) -> ColumnElement[bool]:
    """Whether an event of this zone starts on the local day, or goes on beyond its noon.

    So the second day of a festival counts, and the morning in which a night ends does not.
    """
    start, noon, end = (
        datetime.combine(day + timedelta(days=days), time(hour), ZoneInfo(zone)).astimezone(UTC)
        for days, hour in ((0, 0), (0, 12), (1, 0))
    )
    begins = Event.starts_at >= start
    return and_(Event.time_zone == zone, Event.starts_at < end, or_(begins, Event.ends_at > noon))


def find_event(session: Session, slug: str) -> Event:
    """The event of this address with its ticket types.

    `NotFound` for none, for a draft, and for one of the demo where money is real.
    """
    # PostgreSQL takes no NUL in a text, and an address may hold one.
    if not slug.isprintable():
        raise NotFound("no event of this address")
    event = session.scalars(_BY_SLUG, {"slug": slug}).unique().one_or_none()
    is_fiction = event is not None and event.demo and _is_live(session)
    if event is None or event.status == EventStatus.DRAFT or is_fiction:
        raise NotFound(f"no event '{slug[:80]}'")
    return event


# Built once: it runs for every look at an event.
_BY_SLUG = (
    select(Event).where(Event.slug == bindparam("slug")).options(joinedload(Event.ticket_types))
)


def _is_live(session: Session) -> bool:
    return account_of(session).startswith("live:")


def _listed(session: Session, now: datetime) -> list[ColumnElement[bool]]:
    """The conditions of an event in lists; the sandbox's demo is left out where money is real."""
    is_shown = Event.demo.is_(False) if _is_live(session) else true()
    return [Event.status.in_(_LISTED), Event.ends_at > now, is_shown]


def is_upcoming(event: Event, now: datetime) -> bool:
    """Whether there is still something to pay for: the event is neither canceled nor over."""
    return event.status == EventStatus.PUBLISHED and event.ends_at > now


def offers(
    event: Event, now: datetime, *, few: int, presale: timedelta = timedelta()
) -> list[Offer]:
    """The event's ticket types in their order, each with what can be bought of it now.

    For who may buy earlier, sales start so much earlier.
    """
    return [_offer(event, ticket_type, now, few, presale) for ticket_type in event.ticket_types]


def event_state(event: Event, offers: Sequence[Offer], now: datetime) -> SaleState:
    """One state for the whole event, from those of its offers."""
    if event.status == EventStatus.CANCELED:
        return SaleState.CANCELED
    if event.ends_at <= now:
        return SaleState.OVER
    buyable = [offer for offer in offers if offer.state.is_buyable]
    if not buyable:
        states = {offer.state for offer in offers}
        reasons = (SaleState.LATER, SaleState.SOLD_OUT)
        return next((state for state in reasons if state in states), SaleState.CLOSED)
    # "Few left" is said of the event only when it is true of all that can be bought.
    scarce = all(offer.state == SaleState.FEW_LEFT for offer in buyable)
    return SaleState.FEW_LEFT if scarce else SaleState.ON_SALE


def _card(event: Event, now: datetime, few: int) -> EventCard:
    all_offers = offers(event, now, few=few)
    prices = [offer.price for offer in all_offers]
    starts = [offer.sale_starts_at for offer in all_offers if offer.sale_starts_at]
    return EventCard(
        event,
        event_state(event, all_offers, now),
        min(prices, default=None),
        max(prices, default=None),
        min(starts, default=None),
    )


def _offer(
    event: Event, ticket_type: TicketType, now: datetime, few: int, presale: timedelta
) -> Offer:
    limits = [left for left in (ticket_type.left, event.left) if left is not None]
    left = min(limits, default=None)
    starts = ticket_type.sale_starts_at or event.sale_starts_at
    starts = starts and starts - presale
    ends = ticket_type.sale_ends_at or event.sale_ends_at or event.ends_at
    if now >= ends:
        state = SaleState.CLOSED
    elif left is not None and left <= 0:
        state = SaleState.SOLD_OUT
    elif starts and now < starts:
        state = SaleState.LATER
    else:
        state = SaleState.FEW_LEFT if left is not None and left <= few else SaleState.ON_SALE
    most = event.max_at_once if left is None else min(left, event.max_at_once)
    return Offer(
        id=ticket_type.id,
        name=ticket_type.name,
        description=ticket_type.description,
        price=ticket_type.price,
        state=state if event.status == EventStatus.PUBLISHED else SaleState.CLOSED,
        left=left,
        max=most if state.is_buyable else 0,
        sale_starts_at=starts,
        sale_ends_at=ends,
    )
