"""Import, export and the demo: what was imported is exported the same."""

from __future__ import annotations

import errno
import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tests.catalog.files import (
    NOW,
    event_row,
    exported,
    hold,
    one_database,
    parse_one,
    written,
)
from tests.shopfront import Shopfront
from tmt.catalog import listing
from tmt.catalog.file_format import (
    CatalogueError,
    EventData,
    TicketTypeData,
    read_catalogue,
)
from tmt.catalog.import_export import DEMO, ImportResult, import_catalogue, seed_demo
from tmt.catalog.listing import SaleState
from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.checkout.models import Order, OrderLine
from tmt.core.database import Database
from tmt.core.money import to_major


def test_an_import_creates_and_then_updates(db: Database) -> None:
    assert import_catalogue(db, [parse_one()], NOW) == ImportResult(created=1, updated=0)
    before = event_row(db)
    changed = parse_one({"name": "VIP", "price": "90"}, {"price": "50"}, title="Noche de Sol")
    later = NOW + timedelta(days=1)
    assert import_catalogue(db, [changed], later) == ImportResult(created=0, updated=1)
    after = event_row(db)
    assert (after.id, after.title, after.updated_at) == (before.id, "Noche de Sol", later)
    assert after.search_text.startswith("noche de sol")
    assert [(each.name, each.price) for each in after.ticket_types] == [
        ("VIP", 9000),
        ("General", 5000),
    ]
    assert after.ticket_types[1].id == before.ticket_types[0].id


def test_an_import_that_changes_nothing_leaves_the_time_of_the_last_change(db: Database) -> None:
    import_catalogue(db, [parse_one()], NOW)
    import_catalogue(db, [parse_one()], NOW + timedelta(days=1))
    assert event_row(db).updated_at == NOW


def test_an_update_keeps_what_is_held_and_sold(db: Database) -> None:
    import_catalogue(db, [parse_one()], NOW)
    hold(db, "General", 3)
    import_catalogue(db, [parse_one({"price": "60", "capacity": "3"}, capacity="3")], NOW)
    event = event_row(db)
    assert (event.held, event.ticket_types[0].held, event.ticket_types[0].price) == (3, 3, 6000)


REFUSED = [
    ([{}], {"currency": "USD"}, "event 'noche-de-luna': currency: must stay EUR"),
    ([{}], {"capacity": "2"}, "event 'noche-de-luna': capacity: must be at least 3"),
    ([{"capacity": "2"}], {}, "ticket_types['General'].capacity: must be at least 3"),
    ([{"name": "Other"}], {}, "write 'key: general' with 'Other'"),
    ([{"name": "Other", "key": "other"}], {}, "ticket_types['General']: must stay in the file"),
    ([{}], {"status": "draft"}, "status: must not be draft while 3 tickets"),
]


@pytest.mark.parametrize(("types", "event", "complaint"), REFUSED)
def test_an_import_never_takes_away_what_is_held(
    db: Database, types: list[dict[str, str]], event: dict[str, Any], complaint: str
) -> None:
    import_catalogue(db, [parse_one()], NOW)
    hold(db, "General", 3)
    before = exported(db)
    fresh = parse_one(slug="another")
    with pytest.raises(CatalogueError, match="nothing was imported") as caught:
        import_catalogue(db, [fresh, parse_one(*types, **event)], NOW)
    (error,) = caught.value.errors
    assert complaint in error
    assert exported(db) == before


def test_everything_may_change_while_nothing_is_held(db: Database) -> None:
    import_catalogue(db, [parse_one()], NOW)
    changed = parse_one(
        {"name": "Other", "key": "other", "price": "4500"}, currency="JPY", capacity="0"
    )
    import_catalogue(db, [changed], NOW)
    assert read_catalogue(exported(db), "again", NOW).events == [changed]


def test_a_type_with_past_orders_stays(db: Database) -> None:
    import_catalogue(db, [parse_one()], NOW)
    event = event_row(db)

    def order(session: Session) -> None:
        columns = {
            **dict.fromkeys(("code", "token", "checkout_token", "name"), "x"),
            **dict.fromkeys(("email", "email_key"), "a@example.org"),
            **dict.fromkeys(("created_at", "expires_at"), NOW),
        }
        (sold,) = event.ticket_types
        line = OrderLine(
            ticket_type_id=sold.id, name=sold.name, unit_price=4500, quantity=1, holders=[]
        )
        session.add(
            Order(
                event_id=event.id,
                status="expired",
                locale="es",
                total=4500,
                currency="eur",
                livemode=False,
                lines=[line],
                **columns,
            )
        )

    db.transaction(order)
    with pytest.raises(CatalogueError, match="there are past orders of it"):
        import_catalogue(db, [parse_one({"name": "Other", "key": "other"})], NOW)
    assert [each.name for each in event_row(db).ticket_types] == ["General"]


@one_database
def test_an_export_is_made_for_reading(db: Database) -> None:
    text = written({"description": "De pie"}, {"name": "'Balcón: vista'", "price": "60.50"})
    text = text.replace(
        "  ticket_types", "  description: |-\n    Uno.\n\n    Dos ñ 🎷.\n  ticket_types"
    )
    import_catalogue(db, read_catalogue(text, "events.yaml", NOW).events, NOW)
    for key, price in (("general", "45.00"), ("balcon-vista", "60.50")):
        text = text.replace(f"    price: {price}", f"    key: {key}\n    price: {price}")
    assert exported(db) == text


def test_an_empty_catalogue_is_exported_and_imported(db: Database) -> None:
    assert exported(db) == "events: []\n"
    assert import_catalogue(db, read_catalogue("events: []\n", "x").events, NOW) == ImportResult(
        0, 0
    )


def test_a_type_is_renamed_by_its_key_and_nothing_else_takes_its_place(db: Database) -> None:
    import_catalogue(db, [parse_one({}, {"name": "VIP", "price": "90"})], NOW)
    first, vip = event_row(db).ticket_types
    swapped = [{"name": "VIP", "key": "general"}, {"name": "General", "key": "vip"}]
    result = import_catalogue(db, [parse_one(*swapped)], NOW, dry_run=True)
    assert (result.updated, event_row(db).ticket_types[0].name) == (1, "General")
    import_catalogue(db, [parse_one(*swapped)], NOW)
    renamed = {each.id: (each.name, each.key) for each in event_row(db).ticket_types}
    assert renamed == {first.id: ("VIP", "general"), vip.id: ("General", "vip")}
    again = import_catalogue(db, read_catalogue(exported(db), "again", NOW).events, NOW)
    assert (again.updated, again.unchanged) == (0, 1)


ZONES = ["Europe/Madrid", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Kathmandu"]
SMALLEST = {"eur": 50, "jpy": 50, "kwd": 10, "isk": 100}
LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
LINE = st.text(LETTERS, min_size=1, max_size=40).map(str.strip).filter(bool)
LINE |= st.sampled_from(
    ["1984", "no", "null", "~", "- a", "a: b", "# c", "2027-03-05", "'", "=", "<<"]
)
LINES_OF_TEXT = st.lists(LINE | st.just(""), max_size=6).map(lambda each: "\n".join(each).strip())
CAPACITY = st.none() | st.integers(0, 2000)
MOMENT = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
ADDRESS = st.none() | st.just("https://example.org/a.jpg?x=%20#y")


@st.composite
def ticket_types(draw: Any, currency: str) -> list[TicketTypeData]:
    names = draw(st.lists(LINE, max_size=3, unique=True))
    prices = st.integers(0, 900).map(lambda each: each * SMALLEST[currency])
    about = LINE | st.just("")
    return [
        TicketTypeData.model_construct(
            name=name, price=draw(prices), description=draw(about), capacity=draw(CAPACITY)
        )
        for name in names
    ]


@st.composite
def catalogues(draw: Any) -> list[EventData]:
    events = []
    slugs = st.lists(
        st.text(string.ascii_lowercase, min_size=1, max_size=8), max_size=3, unique=True
    )
    for slug in draw(slugs):
        starts, currency = draw(MOMENT), draw(st.sampled_from(sorted(SMALLEST)))
        window = draw(st.sampled_from([(None, None), (-5, -2), (-5, None), (None, 0)]))
        sale = [None if each is None else starts + timedelta(hours=each) for each in window]
        events.append(
            EventData.model_construct(
                slug=slug,
                title=draw(LINE),
                status=draw(st.sampled_from([status.value for status in EventStatus])),
                language=draw(st.sampled_from(["es", "en"])),
                starts_at=starts,
                ends_at=starts + timedelta(hours=3),
                time_zone=draw(st.sampled_from(ZONES)),
                venue=draw(LINE),
                address=draw(LINE),
                city=draw(LINE),
                currency=currency,
                max_per_order=draw(st.integers(1, 50)),
                capacity=draw(CAPACITY),
                sale_starts_at=sale[0],
                sale_ends_at=sale[1],
                image_url=draw(ADDRESS),
                description=draw(LINES_OF_TEXT),
                ticket_types=draw(ticket_types(currency)),
            )
        )
    return events


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=catalogues())
def test_what_was_imported_is_exported_the_same(db: Database, events: list[EventData]) -> None:
    def clear(session: Session) -> None:
        session.execute(delete(TicketType))
        session.execute(delete(Event))

    db.transaction(clear)
    import_catalogue(db, events, NOW)
    text = exported(db)
    again = read_catalogue(text, "export", NOW).events
    planned = sorted(events, key=lambda each: (each.starts_at, each.slug))
    assert [without_keys(each) for each in again] == planned
    import_catalogue(db, again, NOW + timedelta(days=1))
    assert exported(db) == text


def without_keys(event: EventData) -> EventData:
    types = [each.model_copy(update={"key": None}) for each in event.ticket_types]
    return event.model_copy(update={"ticket_types": types})


DAYS = [datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=13 * n, hours=n) for n in range(28)]


@pytest.mark.parametrize("now", DAYS, ids=lambda day: f"{day:%m-%d}")
def test_the_demo_is_good_on_any_day(now: datetime) -> None:
    events = read_catalogue(DEMO.read_text("utf-8"), "demo.yaml", now).events
    assert min(event.starts_at for event in events) > now


@one_database
def test_the_demo_shows_every_state_and_what_shops_sell(db: Database) -> None:
    assert seed_demo(db, NOW) == 9
    with db.reading() as session:
        cards = listing.upcoming(session, NOW, few=10).cards
        events = session.scalars(select(Event)).all()
        addresses = {event.city: event.address for event in events}
    assert {card.state for card in cards} == set(SaleState) - {SaleState.OVER}
    assert {"usd", "eur", "jpy"} < {event.currency for event in events}
    assert {event.language for event in events} == {"es", "en"}
    assert [card.event.city for card in cards if card.price_to == 0] == ["Bogotá"]
    assert addresses["Bogotá"] == "Carrera 5 # 26-40, La Macarena"
    assert None in {event.capacity for event in events}


@one_database
def test_two_tickets_of_the_demo_make_150_dollars(db: Database) -> None:
    seed_demo(db, NOW)
    with db.reading() as session:
        event = listing.find_event(session, "the-paper-lanterns-new-york")
    assert to_major(2 * event.ticket_types[0].price, event.currency) == Decimal("150.00")


def test_the_demo_is_for_an_empty_shop_only(db: Database) -> None:
    import_catalogue(db, [parse_one()], NOW)
    assert seed_demo(db, NOW) == 0
    (event,) = read_catalogue(exported(db), "again", NOW).events
    assert without_keys(event) == parse_one()


@one_database
def test_an_exported_time_that_comes_twice_has_its_offset(db: Database) -> None:
    start = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Madrid"))
    data = parse_one().model_copy(update={"starts_at": start.astimezone(UTC)})
    import_catalogue(db, [data], NOW)
    assert "  starts_at: 2026-10-25 02:30+01:00\n" in exported(db)


@one_database
def test_the_commands_write_a_file_and_read_it_again(
    shopfront: Shopfront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shopfront.app.test_cli_runner().invoke
    path = tmp_path / "events.yaml"
    assert run(args=["catalog", "export", str(path)]).exit_code == 0
    shown = run(args=["catalog", "export"])
    assert shown.stdout == path.read_text("utf-8")

    def refuse(_number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", refuse)
        failed = run(args=["catalog", "export", str(path)])
    assert (failed.exit_code, failed.stderr[:7]) == (1, "Error: ")
    assert "No space left on device" in failed.stderr
    assert [*tmp_path.glob("*events*"), *tmp_path.glob(".*")] == [path]
    again = run(args=["catalog", "import", str(path)])
    assert (again.exit_code, again.stdout) == (0, "0 created, 0 updated, 1 unchanged\n")
    more = run(args=["catalog", "import", "-"], input=written().encode())
    assert (more.exit_code, more.stdout) == (0, "1 created, 0 updated, 0 unchanged\n")


@one_database
@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"events: {}", ":1: events: must be a list"),
        (b"events:\n- title: \xff", ":2: is not UTF-8"),
        (b"#" * 1024 * 1024 * 8 + "ñ\nevents: []".encode(), ":1: the file is larger than 8 MiB"),
    ],
    ids=["form", "encoding", "size"],
)
def test_a_refused_file_ends_the_command_with_1_and_its_errors_on_stderr(
    shopfront: Shopfront, tmp_path: Path, content: bytes, error: str
) -> None:
    path = tmp_path / "events.yaml"
    path.write_bytes(content)
    ended = shopfront.app.test_cli_runner().invoke(args=["catalog", "import", str(path)])
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert f"{path}{error}" in ended.stderr


@one_database
def test_limits_of_buyers_come_back_as_they_were_written(db: Database) -> None:
    import_catalogue(db, [parse_one(max_per_buyer="4", confirm_email="true")], NOW)
    (data,) = read_catalogue(exported(db), "f", NOW).events
    assert (data.max_per_buyer, data.confirm_email) == (4, True)
