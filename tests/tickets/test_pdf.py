"""The PDF of tickets, opened, read and scanned as a buyer's phone and a door's scanner would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pypdfium2
import pytest
import zxingcpp

from tmt.core.i18n import use_locale
from tmt.core.ids import new_ticket_code
from tmt.tickets import fonts, qr
from tmt.tickets.pdf import TicketPage, render_tickets

MILLIMETRE = 72 / 25.4
TICKET = TicketPage(
    event_title="La noche de los tambores",
    type_name="Platea alta",
    holder="María Fernández",
    starts_at=datetime(2026, 12, 12, 20, tzinfo=UTC),
    ends_at=datetime(2026, 12, 13, 1, tzinfo=UTC),
    time_zone="Europe/Madrid",
    venue="Teatro Circo Price",
    address="Ronda de Atocha 35",
    city="Madrid",
    order_code="7KQ2MWXA",
    code="ABCDEFGHIJKLMNOPQRSTUVW234",
    number=2,
    count=3,
    price=7550,
    currency="eur",
    shop_name="Sala Mirador",
    test=False,
)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with use_locale("en"):
        yield


def open_pdf(*tickets: TicketPage) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(render_tickets(tickets))


def text_of(ticket: TicketPage) -> str:
    """The text of the ticket's page on one line."""
    return " ".join(open_pdf(ticket)[0].get_textpage().get_text_bounded().split())


def scan(page: pypdfium2.PdfPage, dpi: int = 150) -> zxingcpp.Barcode:
    (barcode,) = zxingcpp.read_barcodes(page.render(scale=dpi / 72).to_pil())
    return barcode


def test_each_ticket_has_an_a4_page_whose_code_a_scanner_reads() -> None:
    tickets = [replace(TICKET, code=new_ticket_code(), number=n) for n in (1, 2, 3)]
    document = open_pdf(*tickets)
    assert len(document) == 3
    for page, ticket in zip(document, tickets, strict=True):
        assert [round(side / MILLIMETRE) for side in page.get_size()] == [210, 297]
        assert scan(page).text == qr.payload(ticket.code)


def test_the_code_is_large_and_off_the_folds() -> None:
    dpi = 300
    corners = scan(open_pdf(TICKET)[0], dpi).position
    left, right = corners.top_left.x / dpi * 25.4, corners.bottom_right.x / dpi * 25.4
    top, bottom = corners.top_left.y / dpi * 25.4, corners.bottom_right.y / dpi * 25.4
    assert right - left >= 45
    assert bottom - top >= 45
    assert left > 210 / 2 + 5
    assert bottom < 297 / 2 - 5


def test_a_test_ticket_is_scanned_from_a_coarse_print_too() -> None:
    page = open_pdf(replace(TICKET, test=True))[0]
    assert scan(page, dpi=60).text == qr.payload(TICKET.code)


def test_it_has_all_that_a_visitor_needs() -> None:
    text = text_of(TICKET)
    for part in (
        "La noche de los tambores",
        "Platea alta",
        "María Fernández",
        "Saturday, December 12, 2026",
        "9:00 PM – 2:00 AM CET",
        "Teatro Circo Price",
        "Ronda de Atocha 35",
        "Madrid",
        "7KQ2MWXA",
        "2 of 3",
        "€75.50",
        "ABCD EFGH IJKL MNOP",
        "QRST UVW2 34",
    ):
        assert part in text


def test_the_locale_writes_dates_and_prices() -> None:
    with use_locale("es"):
        text = text_of(TICKET)
    assert "Sábado, 12 de diciembre de 2026" in text
    assert "21:00 – 2:00 CET" in text
    assert "75,50 €" in text


def test_an_end_on_another_day_has_its_date() -> None:
    text = text_of(replace(TICKET, ends_at=datetime(2026, 12, 14, 22, tzinfo=UTC)))
    assert "9:00 PM CET – Monday, December 14, 2026, 11:00 PM" in text


def test_only_test_tickets_have_the_warning() -> None:
    assert text_of(replace(TICKET, test=True)).count("TEST TICKET: NOT VALID FOR ENTRY") == 2
    assert "TEST TICKET" not in text_of(TICKET)


def test_a_free_ticket_says_so() -> None:
    assert "Free" in text_of(replace(TICKET, price=0))


@pytest.mark.parametrize(
    "name",
    ["Łukasz Żółć", "Ελένη Παπαδοπούλου", "Олена Ґалаґан", "Nguyễn Thị Ấn", "Ayşe İğde", "Əli ẞ"],
)
def test_names_in_european_letters_survive(name: str) -> None:
    assert name in text_of(replace(TICKET, holder=name))


def test_a_currency_sign_that_the_main_font_lacks_survives() -> None:
    assert "₹75.50" in text_of(replace(TICKET, currency="inr"))


def test_letters_without_a_font_become_squares_and_emoji_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fonts, "_face_of", lambda script: None)
    text = text_of(replace(TICKET, event_title="Fiesta 🎉👩🏽‍🎤 2027", holder="王伟 Wang"))
    assert "Fiesta 2027" in text
    assert "□□ Wang" in text
    assert "Some letters could not be printed here." in text


@pytest.mark.parametrize(
    "text",
    ["\x00\x1f\u202e\ufeff", "\ud83c", "🎉", "مرحبا بالعالم", "e\u0301" * 40, "{nb}", "**_a_**"],
)
def test_no_text_breaks_the_page(text: str) -> None:
    page = open_pdf(replace(TICKET, event_title=text, holder=text, venue=text))[0]
    assert scan(page).text == qr.payload(TICKET.code)


def test_markup_in_a_title_is_shown_as_text() -> None:
    assert "{nb} **Rock** &amp; __Roll__" in text_of(
        replace(TICKET, event_title="{nb} **Rock** &amp; __Roll__")
    )


def test_a_long_title_is_set_smaller_and_whole() -> None:
    title = "Festival Internacional de Música Contemporánea de la Ciudad, ciclo de otoño " * 2
    assert title.strip() in text_of(replace(TICKET, event_title=title))


def test_text_that_is_too_long_ends_in_an_ellipsis_and_the_code_is_still_read() -> None:
    endless = "x" * 2000
    crowded = replace(
        TICKET, event_title=endless, type_name=endless, holder=endless, venue=endless, test=True
    )
    page = open_pdf(crowded)[0]
    assert "xxx…" in page.get_textpage().get_text_bounded()
    assert scan(page).text == qr.payload(TICKET.code)


def test_the_metadata_has_the_language_and_the_event_and_no_holder() -> None:
    content = render_tickets([TICKET])
    metadata = pypdfium2.PdfDocument(content).get_metadata_dict()
    assert metadata["Title"] == "Tickets: La noche de los tambores"
    assert metadata["Author"] == "Sala Mirador"
    assert not any("Fernández" in value or "7KQ2MWXA" in value for value in metadata.values())
    assert b"/Lang (en)" in content


def test_ten_tickets_are_light_enough_to_mail() -> None:
    tickets = [replace(TICKET, code=new_ticket_code(), number=n) for n in range(1, 11)]
    assert len(render_tickets(tickets)) < 150_000


def test_a_pdf_without_tickets_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        render_tickets([])


def test_an_invalid_code_is_an_error() -> None:
    with pytest.raises(qr.InvalidPayload):
        render_tickets([replace(TICKET, code="ABC")])
