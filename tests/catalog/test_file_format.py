"""The catalogue as a file: what is accepted, and what is refused on which line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.catalog.files import (
    LINES,
    errors_of,
    parse_one,
    written,
)
from tmt.catalog.file_format import EventData, TicketTypeData


def test_a_whole_event_is_read() -> None:
    assert parse_one(
        {"description": "De pie", "capacity": "0"}, capacity="300"
    ) == EventData.model_construct(
        slug="noche-de-luna",
        title="Noche de Luna",
        status="published",
        language="es",
        starts_at=datetime(2027, 3, 5, 20, tzinfo=UTC),
        ends_at=datetime(2027, 3, 5, 22, 30, tzinfo=UTC),
        time_zone="Europe/Madrid",
        venue="Teatro del Aljibe",
        address="Calle Mayor 1",
        city="Madrid",
        currency="eur",
        max_per_order=6,
        capacity=300,
        ticket_types=[
            TicketTypeData.model_construct(
                name="General", price=4500, description="De pie", capacity=0
            )
        ],
    )


BAD_FIELDS = [
    ("slug", "Noche", "small letters"),
    ("slug", "a--b", "small letters"),
    ("slug", "a" * 81, "at most 80"),
    ("title", "1984", "in quotes"),
    ("title", "No", "in quotes"),
    ("title", '""', "must not be empty"),
    ("title", "", "must not be empty"),
    ("title", "x" * 201, "at most 200 characters, not 201"),
    ("title", '"a\\0b"', "control characters"),
    ("title", '"a\\nb"', "control characters"),
    ("title", "[a, b]", "single value"),
    ("status", "open", "one of draft, published, canceled"),
    ("language", "fr", "one of es, en"),
    ("time_zone", "Madrid", "IANA time zone"),
    ("time_zone", "Europe", "IANA time zone"),
    ("time_zone", "../../etc/passwd", "IANA time zone"),
    ("currency", "XXX", "ISO 4217"),
    ("currency", "978", "ISO 4217"),
    ("max_per_order", "0", "from 1 to 50"),
    ("max_per_buyer", "0", "from 1 to 1000"),
    ("confirm_email", "maybe", "must be true or false"),
    ("max_per_order", "51", "from 1 to 50"),
    ("max_per_order", "010", "from 1 to 50"),
    ("max_per_order", "6.0", "from 1 to 50"),
    ("max_per_order", "true", "from 1 to 50"),
    ("capacity", "-1", "from 0 to"),
    ("capacity", "1_0", "from 0 to"),
    ("capacity", "1:30", "from 0 to"),
    ("image_url", "http://example.org/a.jpg", "begins with https://"),
    ("image_url", "https://user@example.org/a.jpg", "begins with https://"),
    ("image_url", "https://", "begins with https://"),
    ("image_url", "https://example.org:x/", "begins with https://"),
    ("image_url", "javascript:alert(1)", "begins with https://"),
    ("starts_at", "2027-03-05", "local date and time"),
    ("starts_at", "5 March", "local date and time"),
    ("starts_at", "2027-02-30 21:00", "does not exist"),
    ("starts_at", "2027-03-05 25:00", "does not exist"),
    ("starts_at", "2027-03-28 02:30", "clocks skip that hour"),
    ("starts_at", "2026-10-25 02:30", "2026-10-25 02:30+02:00"),
    ("ends_at", "2027-03-05 21:00", "must be after starts_at"),
    ("ends_at", "2027-03-05 20:00", "must be after starts_at"),
    ("sale_ends_at", "2027-03-06 00:00", "must not be after the event's ends_at"),
    ("sale_starts_at", "2027-03-05 23:30", "before the event's ends_at"),
    ("online", "maybe", "true or false"),
    ("description", "|\n    See <b>you</b> there", "without HTML such as <b>"),
    ("title", "<b>Noche</b>", "without HTML such as <b>"),
    ("venue", "Bed &amp; breakfast", "without HTML such as &amp;"),
    ("description", "Bed &amp; breakfast", "without HTML such as &amp;"),
    ("colour", "red", "unknown field"),
    ("<<", "red", "unknown field"),
]


@pytest.mark.parametrize(("field", "value", "complaint"), BAD_FIELDS)
def test_a_wrong_field_is_reported_with_its_line(field: str, value: str, complaint: str) -> None:
    text = written(**{field: value})
    line = 1 + next(n for n, row in enumerate(text.split("\n")) if row[2:].startswith(f"{field}:"))
    (error,) = errors_of(text)
    assert error.startswith(f"events.yaml:{line}: events[0].{field}: ")
    assert complaint in error


BAD_PRICES = [
    ("EUR", '"45,00"', "is not an amount such as 12.50"),
    ("EUR", '"45.00 EUR"', "is not an amount such as 12.50"),
    ("EUR", "-5", "is not an amount such as 12.50"),
    ("EUR", "1e3", "is not an amount such as 12.50"),
    ("EUR", "1_000", "is not an amount such as 12.50"),
    ("EUR", ".inf", "is not an amount such as 12.50"),
    ("EUR", "45,00", "is not an amount such as 12.50"),
    ("EUR", "0x10", "is not an amount such as 12.50"),
    ("EUR", "45.001", "more decimals than EUR has"),
    ("JPY", "4500.50", "more decimals than JPY has"),
    ("ISK", "1500.50", "more decimals than ISK has"),
    ("KWD", "1.005", "cannot be charged"),
    ("EUR", "0.49", "cannot be charged"),
    ("EUR", "1000000.00", "cannot be charged"),
]


@pytest.mark.parametrize(("currency", "price", "complaint"), BAD_PRICES)
def test_a_price_that_cannot_be_charged_is_refused(
    currency: str, price: str, complaint: str
) -> None:
    (error,) = errors_of(written({"price": price}, currency=currency))
    assert error.startswith("events.yaml:16: events[0].ticket_types[0].price: ")
    assert complaint in error


PRICES = [
    ("EUR", "45.00", 4500),
    ("EUR", "45", 4500),
    ("usd", "75.5", 7550),
    ("EUR", '"45.00"', 4500),
    ("JPY", "4500", 4500),
    ("KWD", "1.25", 1250),
    ("ISK", "1500", 150000),
    ("EUR", "0", 0),
]


@pytest.mark.parametrize(("currency", "price", "minor"), PRICES)
def test_prices_are_written_in_major_units(currency: str, price: str, minor: int) -> None:
    data = parse_one({"price": price}, currency=currency)
    assert data.ticket_types[0].price == minor


def test_an_online_event_needs_no_venue_and_numbers_may_be_quoted() -> None:
    data = parse_one(online="true", venue=None, address=None, city=None, max_per_order='"6"')
    assert (data.online, data.venue, data.city, data.max_per_order) == (True, "", "", 6)


def test_what_only_looks_like_html_is_text() -> None:
    assert parse_one(description="I <3 jazz & tango, 3 < 4 > 2").description.startswith("I <3")


TIMES = [
    ("2027-03-05 21:00", "2027-03-05T20:00+00:00"),
    ('"2027-03-05 21:00"', "2027-03-05T20:00+00:00"),
    ("2027-03-05T21:00:00", "2027-03-05T20:00+00:00"),
    ("2027-03-05 21:00Z", "2027-03-05T21:00+00:00"),
    ("2027-03-05 21:00 -05:00", "2027-03-06T02:00+00:00"),
    ("2026-10-25 02:30+02:00", "2026-10-25T00:30+00:00"),
    ("2026-10-25 02:30+01:00", "2026-10-25T01:30+00:00"),
    # It is 00:30 of the eleventh in Madrid already.
    ("+21d 21:00", "2027-02-01T20:00+00:00"),
    ("+0d 21:00", "2027-01-11T20:00+00:00"),
    ("-1d 08:00", "2027-01-10T07:00+00:00"),
]


@pytest.mark.parametrize(("value", "utc"), TIMES)
def test_times_are_local_to_the_event(value: str, utc: str) -> None:
    data = parse_one(starts_at=value, ends_at="2030-01-01 00:00")
    assert data.starts_at.isoformat(timespec="minutes") == utc


@pytest.mark.parametrize("field", [name for name in LINES if name != "slug"])
def test_a_missing_field_is_named_with_the_line_of_its_event(field: str) -> None:
    assert errors_of(written(**{field: None})) == [f"events.yaml:2: events[0].{field}: is missing"]


def test_all_errors_of_a_file_are_reported_at_once_and_in_order() -> None:
    text = written({"price": "x"}, {}, title="1984", status="open", slug="Ñ", currency="zzz")
    fields = [error.split(": ")[1] for error in errors_of(text)]
    assert fields == [
        "events[0].slug",
        "events[0].title",
        "events[0].status",
        "events[0].currency",
        "events[0].ticket_types[0].price",
        "events[0].ticket_types[1].name",
    ]


def test_a_sale_of_a_type_is_checked_with_what_it_has_from_its_event() -> None:
    late = {"sale_starts_at": "2027-03-04 10:00"}
    (error,) = errors_of(written(late, sale_ends_at="2027-03-03 10:00"))
    assert error.startswith("events.yaml:18: events[0].ticket_types[0].sale_starts_at: the sale")
    early = {"sale_ends_at": "2027-02-01 10:00"}
    (error,) = errors_of(written(early, sale_starts_at="2027-02-01 10:00"))
    assert error.startswith("events.yaml:18: events[0].ticket_types[0].sale_ends_at: the sale")


def test_a_slug_is_used_once_in_a_file() -> None:
    (error,) = errors_of(written() + written().removeprefix("events:\n"))
    assert error == "events.yaml:17: events[1].slug: 'noche-de-luna' is used above already"


def test_a_field_is_written_once_in_an_event() -> None:
    (error,) = errors_of(written(venue="A\n  venue: B"))
    assert error == "events.yaml:10: events[0].venue: is written twice"


BAD_FILES = [
    ("", "the file is empty"),
    ("# nothing\n", "the file is empty"),
    ("[]", "must begin with 'events:'"),
    ("events: {}", "must be a list"),
    ("event: []", "events: is missing"),
    ("events:\n- 3", "events[0]: must be fields"),
    ("events: [", "is not valid YAML"),
    ("events:\n\t- a", "is not valid YAML"),
    ("events: []\n---\nevents: []", "is not valid YAML"),
    ('events: "\\ud800"', "is not valid YAML"),
    ("events: []\x07", "a character that YAML does not allow"),
    ("a: &a [1]\nevents: []", "anchors and aliases"),
    ("events: *a", "anchors and aliases"),
    ("events: !!python/object/apply:os.getcwd []", "tags (!)"),
    ("events: ! []", "tags (!)"),
    ("[" * 5000, "nested too deeply"),
    ("#" * 1024 * 1024 * 8 + "\nevents: []", "larger than 8 MiB"),
    ("? [a]\n: b\nevents: []", "unknown field"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD_FILES, ids=[c for _, c in BAD_FILES])
def test_a_file_that_is_no_catalogue_is_refused(text: str, complaint: str) -> None:
    assert any(complaint in error for error in errors_of(text))


def test_all_that_yaml_has_and_a_catalogue_has_not_is_reported_at_once() -> None:
    errors = errors_of("a: &x [1]\nb: *x\nevents: !y []\nc: &x [\n")
    assert [error.split(": ")[1].split(" (")[0] for error in errors] == [
        "anchors and aliases",
        "anchors and aliases",
        "tags",
        "anchors and aliases",
        "is not valid YAML",
    ]
    assert [error.split(":")[1] for error in errors] == ["1", "2", "3", "4", "5"]
