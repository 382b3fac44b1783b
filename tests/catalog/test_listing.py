"""What a visitor sees: which events, in which state, and what of them can be bought."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.catalog.files import NOW, new_event, new_type, one_database
from tmt.catalog import listing
from tmt.catalog.listing import SaleState, Search, find_event, offers, upcoming
from tmt.catalog.models import Event, EventStatus
from tmt.core.database import Database
from tmt.core.errors import NotFound

DAY = timedelta(days=1)
FEW = 10


def save(db: Database, *events: Event) -> None:
    db.transaction(lambda session: session.add_all(events))


def slugs(db: Database, search: Search | None = None, now: datetime = NOW) -> list[str]:
    with db.reading() as session:
        page = upcoming(session, now, search or Search(), few=FEW)
    return [card.event.slug for card in page.cards]


def state_of(event: Event, now: datetime = NOW) -> str:
    return listing.event_state(event, offers(event, now, few=FEW), now)


STATES: list[tuple[str, Event]] = [
    (SaleState.ON_SALE, new_event()),
    (SaleState.ON_SALE, new_event("a", new_type(capacity=11))),
    (SaleState.FEW_LEFT, new_event("a", new_type(capacity=10))),
    (SaleState.FEW_LEFT, new_event("a", new_type(capacity=30, held=12, sold=8))),
    (SaleState.FEW_LEFT, new_event("a", capacity=10)),
    (SaleState.ON_SALE, new_event("a", new_type(capacity=2), new_type(name="Two"))),
    (SaleState.FEW_LEFT, new_event("a", new_type(capacity=2), new_type(name="Two", capacity=0))),
    (SaleState.SOLD_OUT, new_event("a", new_type(capacity=0))),
    (SaleState.SOLD_OUT, new_event("a", new_type(capacity=5, held=2, sold=3))),
    (SaleState.SOLD_OUT, new_event("a", capacity=5, sold=5)),
    (SaleState.LATER, new_event(sale_starts_at=NOW + DAY)),
    (SaleState.LATER, new_event("a", new_type(capacity=0), new_type(sale_starts_at=NOW + DAY))),
    (SaleState.ON_SALE, new_event("a", new_type(), new_type(sale_starts_at=NOW + DAY))),
    (SaleState.ON_SALE, new_event("a", new_type(sale_starts_at=NOW), sale_starts_at=NOW + DAY)),
    (SaleState.CLOSED, new_event(sale_ends_at=NOW)),
    (SaleState.CLOSED, new_event("a", new_type(sale_ends_at=NOW - DAY), sale_ends_at=NOW + DAY)),
    (SaleState.SOLD_OUT, new_event("a", new_type(sale_ends_at=NOW), new_type(capacity=0))),
    (SaleState.CANCELED, new_event(status=EventStatus.CANCELED)),
    (SaleState.CANCELED, new_event(status=EventStatus.CANCELED, ends_at=NOW - DAY)),
    (SaleState.OVER, new_event(ends_at=NOW)),
    (SaleState.CLOSED, new_event(status=EventStatus.DRAFT)),
]


@pytest.mark.parametrize(("state", "event"), STATES)
def test_the_event_has_one_word_for_its_state(state: str, event: Event) -> None:
    assert state_of(event) == state


def test_an_event_without_ticket_types_is_closed() -> None:
    event = new_event()
    event.ticket_types = []
    assert state_of(event) == SaleState.CLOSED


@pytest.mark.parametrize(("left", "most"), [(None, 6), (7, 6), (6, 6), (3, 3), (0, 0)], ids=str)
def test_an_order_takes_what_is_left_up_to_the_events_limit(left: int | None, most: int) -> None:
    (offer,) = offers(new_event("a", new_type(capacity=left)), NOW, few=FEW)
    assert (offer.left, offer.max) == (left, most)


def test_what_is_left_is_the_smaller_of_type_and_event() -> None:
    types = (new_type(capacity=20), new_type(capacity=3), new_type())
    smaller = offers(new_event("a", *types, capacity=12, held=4), NOW, few=FEW)
    assert [offer.left for offer in smaller] == [8, 3, 8]


@pytest.mark.parametrize("status", [EventStatus.CANCELED, EventStatus.DRAFT])
def test_nothing_is_offered_of_an_event_that_is_not_published(status: str) -> None:
    (offer,) = offers(new_event(status=status), NOW, few=FEW)
    assert offer.state == SaleState.CLOSED


def test_the_sale_opens_and_ends_on_the_second() -> None:
    event = new_event(sale_starts_at=NOW, sale_ends_at=NOW + DAY)
    second = timedelta(seconds=1)
    moments = (NOW - second, NOW, NOW + DAY - second, NOW + DAY)
    assert [state_of(event, moment) for moment in moments] == [
        SaleState.LATER,
        SaleState.ON_SALE,
        SaleState.ON_SALE,
        SaleState.CLOSED,
    ]


@one_database
def test_the_list_is_in_the_order_of_the_events_and_without_drafts_and_past_ones(
    db: Database,
) -> None:
    save(
        db,
        new_event("last", starts_at=NOW + 8 * DAY),
        new_event("first", starts_at=NOW + 2 * DAY),
        new_event("canceled", starts_at=NOW + 3 * DAY, status=EventStatus.CANCELED),
        new_event("now", starts_at=NOW - DAY, ends_at=NOW + DAY),
        new_event("draft", status=EventStatus.DRAFT),
        new_event("over", starts_at=NOW - 2 * DAY, ends_at=NOW),
    )
    assert slugs(db) == ["now", "first", "canceled", "last"]


@pytest.mark.parametrize(
    "words", ["cancion", "CANCIÓN", "La Can", "ultima la", "LODZ rocio", "strasse", "  canción\t"]
)
def test_a_search_finds_all_words_anywhere_without_case_and_accents(
    db: Database, words: str
) -> None:
    a = {"title": "La canción última", "venue": "Am Straßeneck", "city": "Łódź"}
    save(db, new_event("a", **a, description="Con Rocío\nMárquez"), new_event("b", title="La otra"))
    assert slugs(db, Search(q=words)) == ["a"]


@one_database
@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Concert a L’Auditori", ("L'Auditori", "L´Auditori", "lauditori", "l auditori")),
        ("Hip-Hop – Rock\u2011Pop", ("hip hop", "hip\u2010hop", "rock-pop", "hip — rock")),
        ("می\u200cخواهم", ("میخواهم",)),
        ("Phil\u00adharmonie Þórður", ("philharmonie", "thordur", "Phil\u00adharmonie þorður")),
        ("Col·legi Seyðisfjörður", ("collegi", "seydisfjordur")),
    ],
)
def test_a_search_finds_what_keyboards_write_in_other_ways(
    db: Database, written: str, words: tuple[str, ...]
) -> None:
    save(db, new_event("a", title=written), new_event("b", title="Otra"))
    for each in words:
        assert slugs(db, Search(q=each)) == ["a"], each


@pytest.mark.parametrize("words", ["%", "_", "100%_"])
def test_a_search_takes_wildcards_as_they_are_written(db: Database, words: str) -> None:
    save(db, new_event("a", title="100%_ real"), new_event("b", title="100 reales"))
    assert slugs(db, Search(q=words)) == ["a"]


def test_a_search_by_city_and_the_cities_to_choose_from(db: Database) -> None:
    save(
        db,
        new_event("a", city="Bogotá"),
        new_event("b"),
        new_event("c", city="MADRID"),
        new_event("d", city="Lima", status=EventStatus.DRAFT),
        new_event("e", city="Quito", starts_at=NOW - 2 * DAY, ends_at=NOW - DAY),
    )
    assert slugs(db, Search(city="Madrid")) == ["b", "c"]
    assert slugs(db, Search(city="Bogotá")) == slugs(db, Search(city="BOGOTA")) == ["a"]
    with db.reading() as session:
        assert list(listing.cities(session, NOW)) == ["Bogotá", "Madrid"]


@one_database
def test_a_search_by_date_means_the_date_where_the_event_is(db: Database) -> None:
    late = datetime(2027, 3, 10, 2, tzinfo=UTC)
    save(
        db,
        new_event("bogota", time_zone="America/Bogota", starts_at=late),
        new_event("tokyo", time_zone="Asia/Tokyo", starts_at=late),
        new_event("auckland", time_zone="Pacific/Auckland", starts_at=late - timedelta(hours=13)),
    )
    assert slugs(db, Search(date=date(2027, 3, 9))) == ["bogota"]
    assert slugs(db, Search(date=date(2027, 3, 10))) == ["auckland", "tokyo"]


@pytest.mark.parametrize(
    ("starts", "ends", "days"),
    [
        ((8, 23), (9, 6), {8}),
        ((8, 17), (10, 14), {8, 9, 10}),
        ((8, 0), (9, 0), {8}),
        ((8, 23, 59), (9, 0, 30), {8}),
    ],
    ids=["a night", "a festival", "a whole day", "around midnight"],
)
def test_a_search_by_date_finds_what_starts_on_that_day_or_goes_on_through_it(
    db: Database, starts: tuple[int, ...], ends: tuple[int, ...], days: set[int]
) -> None:
    zone = ZoneInfo("America/Bogota")
    begin, end = (datetime(2027, 3, *moment, tzinfo=zone) for moment in (starts, ends))
    times = {"starts_at": begin.astimezone(UTC), "ends_at": end.astimezone(UTC)}
    save(db, new_event("a", time_zone="America/Bogota", **times))
    assert {day for day in range(6, 13) if slugs(db, Search(date=date(2027, 3, day)))} == days


def test_the_list_has_pages_with_the_count_of_all_and_leaves_nothing_out(db: Database) -> None:
    count = 2 * listing.PAGE_SIZE + 1
    times = [
        {"starts_at": NOW + n * timedelta(hours=1), "ends_at": NOW + 9 * DAY} for n in range(count)
    ]
    save(db, *(new_event(f"e{n:03}", **times[n]) for n in range(count)))
    with db.reading() as session:
        pages = [upcoming(session, NOW, page=page, few=FEW) for page in (1, 2, 3, 99)]
    assert [(page.page, page.pages, page.count) for page in pages] == [
        (1, 3, count),
        (2, 3, count),
        (3, 3, count),
        (3, 3, count),
    ]
    shown = [card.event.slug for page in pages[:3] for card in page.cards]
    assert shown == [f"e{n:03}" for n in range(count)]


@one_database
def test_a_card_has_the_range_of_prices_and_the_first_opening(db: Database) -> None:
    types = (
        new_type(price=7500, sale_starts_at=NOW + 2 * DAY),
        new_type(price=0, sale_starts_at=NOW + DAY),
    )
    save(db, new_event("a", *types))
    with db.reading() as session:
        (card,) = upcoming(session, NOW, few=FEW).cards
    assert (card.price_from, card.price_to) == (0, 7500)
    assert (card.state, card.sale_starts_at) == (SaleState.LATER, NOW + DAY)


@one_database
def test_an_event_is_found_by_its_slug_with_its_types_in_order(db: Database) -> None:
    save(db, new_event("a", new_type(name="Z"), new_type(name="A")))
    with db.reading() as session:
        event = find_event(session, "a")
    assert [each.name for each in event.ticket_types] == ["Z", "A"]


@one_database
@pytest.mark.parametrize("slug", ["draft", "nobody", "x" * 500])
def test_a_draft_is_not_found_any_more_than_nothing_is(db: Database, slug: str) -> None:
    save(db, new_event("draft", status=EventStatus.DRAFT))
    with db.reading() as session, pytest.raises(NotFound):
        find_event(session, slug)
