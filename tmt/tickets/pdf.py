"""Tickets on paper: one A4 page each, made to be folded twice into a pocket.

The upper half is the ticket, the lower half explains it. The QR code and its text lie on no fold.
Lengths are millimetres from the upper left corner, type sizes points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from tmt.core.i18n import format_date, format_time, zone_name
from tmt.core.i18n import gettext as _
from tmt.core.money import format_money
from tmt.tickets import qr
from tmt.tickets.fonts import letters_of
from tmt.tickets.pdf_sheet import INK, MUTED, POINT, Colour, Sheet

log = structlog.get_logger(__name__)

WHITE: Colour = (255, 255, 255)
TINT: Colour = (244, 244, 241)
ACCENT: Colour = (255, 207, 31)
WARNING: Colour = (173, 15, 36)

CARD_X, CARD_Y, CARD_WIDTH, CARD_HEIGHT = 12.0, 12.0, 186.0, 128.0
CARD_END = CARD_Y + CARD_HEIGHT
BAND_HEIGHT, WARNING_HEIGHT = 46.0, 8.0
BAND_END = CARD_Y + BAND_HEIGHT
STUB_X = 128.0
LEFT_X, RIGHT_X, CELL_WIDTH = 20.0, 75.0, 48.0
FOLD_X, FOLD_Y = 105.0, 148.5
PAGE_WIDTH, PAGE_HEIGHT = 210.0, 297.0
# Phones read modules of 0.4 mm; at 1.9 mm a creased, dim or torn print is read too.
MODULE = 1.9

# A long day, not a night: from here on the end needs its date.
MANY_DAYS = timedelta(hours=18)


@dataclass(frozen=True)
class TicketPage:
    """What one ticket shows.

    Times are aware and shown in `time_zone` (an IANA name); `price` is in minor units; `code`
    is the ticket's 26-character base32 code; `number` of `count` counts the order's tickets from
    1; `holder` and `address` may be empty; `test` marks a ticket of the sandbox or of test keys.
    `notice` stands across the page; without `code` the ticket admits nobody and has none.
    """

    event_title: str
    type_name: str
    holder: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    venue: str
    address: str
    city: str
    order_code: str
    code: str
    number: int
    count: int
    price: int
    currency: str
    shop_name: str
    test: bool
    notice: str = ""


def render_tickets(pages: Sequence[TicketPage]) -> bytes:
    """One PDF with a page per ticket, in the current locale, fonts and QR codes included.

    It is tagged: texts in reading order with their roles, and the code as a picture with a text
    beside it. Letters that no font here has are shown as empty squares, of which page and log
    speak; symbols that none has (such as emoji) are left out. The metadata names the event and the
    shop, never the holder. Raises `ValueError` without pages, `qr.InvalidPayload` for a bad code.
    """
    if not pages:
        raise ValueError("a PDF of tickets needs at least one ticket")
    letters = letters_of(text for page in pages for text in _texts(page))
    if letters.missing:
        scripts = [missing.script for missing in letters.missing]
        packages = sorted({missing.package for missing in letters.missing} - {""})
        log.warning("pdf.letters_missing", scripts=scripts, packages=packages)
    with TemporaryDirectory(prefix="tmt-fonts-") as folder:
        title = _("Tickets: %(event)s") % {"event": pages[0].event_title}
        sheet = Sheet(title, pages[0].shop_name, letters, Path(folder))
        with closing(sheet):
            for page in pages:
                _draw_page(sheet, page)
            return sheet.output()


def _texts(page: TicketPage) -> Iterator[str]:
    """Whatever a page shows that the fonts may lack."""
    yield from (page.event_title, page.type_name, page.holder, page.venue, page.address, page.city)
    yield from (page.shop_name, page.notice, format_money(page.price, page.currency))


def _draw_page(sheet: Sheet, page: TicketPage) -> None:
    sheet.add_page()
    _draw_band(sheet, page)
    _draw_details(sheet, page)
    _draw_order_row(sheet, page)
    _draw_stub(sheet, page)
    _draw_outline(sheet)
    _draw_advice(sheet)
    _draw_folding(sheet)
    _draw_foot(sheet, page)


def _draw_band(sheet: Sheet, page: TicketPage) -> None:
    sheet.bar(CARD_X, CARD_Y, CARD_WIDTH, BAND_HEIGHT, INK)
    warning = _warning(page)
    height = BAND_HEIGHT - (WARNING_HEIGHT if warning else 0)
    # Bars of sound at the right end of the band.
    for index, length in enumerate((7, 15, 24, 12, 30, 19, 9, 22, 13, 5)):
        colour = ACCENT if index % 3 == 1 else (82, 80, 92)
        y = CARD_Y + (height - length) / 2
        sheet.bar(161 + index * 3.1, y, 1.5, length, colour)
    sheet.label(page.shop_name[:60], LEFT_X, CARD_Y + 9.5, ACCENT)
    title, box = page.event_title, (134.0, height - 17)
    sheet.block(
        title, LEFT_X, CARD_Y + 13, box=box, sizes=(30, 12), weight="B", colour=WHITE, role="H1"
    )
    _draw_warning(sheet, warning, BAND_END - WARNING_HEIGHT)


def _warning(page: TicketPage) -> str:
    test = _("Test ticket: not valid for entry") if page.test else ""
    return " · ".join(filter(None, (page.notice, test)))


def _draw_warning(sheet: Sheet, text: str, top: float) -> None:
    if text:
        sheet.bar(CARD_X, top, CARD_WIDTH, WARNING_HEIGHT, WARNING)
        sheet.line(text.upper(), FOLD_X, top + 5.5, size=11, weight="B", colour=WHITE, centred=True)


def _draw_details(sheet: Sheet, page: TicketPage) -> None:
    top, low = BAND_END + 9, BAND_END + 33
    sheet.label(_("Ticket type"), LEFT_X, top)
    sheet.block(page.type_name, LEFT_X, top + 2, box=(CELL_WIDTH, 16), sizes=(15, 8.5), weight="B")
    if page.holder:
        sheet.label(_("Name"), RIGHT_X, top)
        sheet.block(
            page.holder, RIGHT_X, top + 2, box=(CELL_WIDTH, 16), sizes=(15, 8.5), weight="B"
        )
    _draw_when(sheet, page, low)
    sheet.label(_("Where"), RIGHT_X, low)
    y = sheet.block(page.venue, RIGHT_X, low + 2, box=(CELL_WIDTH, 13), sizes=(12, 8), weight="B")
    for text in filter(None, (page.address, page.city)):
        y = sheet.block(text, RIGHT_X, y + 0.4, box=(CELL_WIDTH, 7.4), sizes=(9.5, 7.5))


def _draw_when(sheet: Sheet, page: TicketPage, top: float) -> None:
    zone = page.time_zone
    sheet.label(_("When"), LEFT_X, top)
    day = format_date(page.starts_at, zone)
    day = day[:1].upper() + day[1:]
    y = sheet.block(day, LEFT_X, top + 2, box=(CELL_WIDTH, 11), sizes=(12, 8.5), weight="B")
    start = format_time(page.starts_at, zone)
    name = zone_name(page.starts_at, zone)
    if page.ends_at - page.starts_at < MANY_DAYS:
        hours = f"{start} – {format_time(page.ends_at, zone)} {name}"
    else:
        last = f"{format_date(page.ends_at, zone)}, {format_time(page.ends_at, zone)}"
        hours = f"{start} {name} – {last}"
    sheet.block(hours, LEFT_X, y + 0.4, box=(CELL_WIDTH, 13), sizes=(11, 8))


def _draw_order_row(sheet: Sheet, page: TicketPage) -> None:
    top = CARD_END - 17
    price = format_money(page.price, page.currency) if page.price else _("Free")
    position = _("%(number)d of %(count)d") % {"number": page.number, "count": page.count}
    cells = ((_("Order"), page.order_code), (_("Ticket"), position), (_("Price"), price))
    sheet.rule((LEFT_X, top), (STUB_X - 5, top), dash=0)
    for x, (name, value) in zip((LEFT_X, 57.0, 91.0), cells, strict=True):
        sheet.label(name, x, top + 6)
        sheet.block(value, x, top + 7.6, box=(32, 6), sizes=(12, 7), weight="B")


def _draw_stub(sheet: Sheet, page: TicketPage) -> None:
    if not page.code:
        return
    matrix = qr.symbol(page.code).matrix
    side = len(matrix) * MODULE
    middle = (STUB_X + CARD_X + CARD_WIDTH) / 2
    left, top = middle - side / 2, BAND_END + 4.4 * MODULE
    sheet.pdf.set_fill_color(0)
    with sheet.tagged("Figure", _("Code for ticket %(number)s") % {"number": page.number}):
        for y, row in enumerate(matrix):
            for dark in re.finditer(rb"\x01+", row):
                # A hair of overlap: viewers leave light seams between bars that only touch.
                x, width, height = dark.start() * MODULE, len(dark[0]) * MODULE, MODULE + 0.03
                sheet.pdf.rect(left + x, top + y * MODULE, width, height, style="F")
    groups = qr.grouped(page.code.upper()).split()
    below = top + side + qr.QUIET_ZONE * MODULE
    sheet.line(" ".join(groups[:4]), middle, below + 1.8, size=10.5, weight="B", centred=True)
    sheet.line(" ".join(groups[4:]), middle, below + 6.9, size=10.5, weight="B", centred=True)


def _draw_outline(sheet: Sheet) -> None:
    """The card's edge, the perforation of its stub with a notch, and the two folds."""
    pdf = sheet.pdf
    sheet.rule((STUB_X, BAND_END + 4), (STUB_X, CARD_END - 4), dash=1.2)
    pdf.set_fill_color(*WHITE)
    with sheet.decoration():
        pdf.rect(CARD_X, CARD_Y, CARD_WIDTH, CARD_HEIGHT, style="D")
        pdf.circle(STUB_X, CARD_END, 2.6, style="DF")
    sheet.bar(STUB_X - 3, CARD_END + 0.2, 6, 3, WHITE)
    sheet.rule((0, FOLD_Y), (PAGE_WIDTH, FOLD_Y), dash=1.2)
    sheet.rule((FOLD_X, FOLD_Y + 8), (FOLD_X, PAGE_HEIGHT - 32), dash=1.2)


def _draw_advice(sheet: Sheet) -> None:
    advice = (
        _("Show the code at the door, printed or on your phone."),
        _("It admits one person, once: whoever shows it first."),
        _("Keep it private, and out of any photos you share."),
    )
    y = FOLD_Y + 24
    sheet.line(_("At the door"), LEFT_X, y, size=18, weight="B", role="H2")
    y += 10
    for number, text in enumerate(advice, start=1):
        sheet.line(str(number), LEFT_X, y + 12.5 * POINT, size=12.5, weight="B", colour=MUTED)
        y = 5 + sheet.block(text, LEFT_X + 7, y, box=(70, 22), sizes=(12.5, 9))


def _draw_folding(sheet: Sheet) -> None:
    """The heading, three little sheets (whole, half, quarter) and a sentence."""
    x, y = FOLD_X + 12, FOLD_Y + 24
    sheet.line(_("Fold and go"), x, y, size=18, weight="B", role="H2")
    y += 12
    _draw_little_sheet(sheet, x, y, 21, 29.7)
    _draw_little_sheet(sheet, x + 31, y, 21, 14.85)
    _draw_little_sheet(sheet, x + 62, y, 10.5, 14.85)
    sheet.rule((x, y + 14.85), (x + 21, y + 14.85), dash=0.8)
    sheet.rule((x + 41.5, y), (x + 41.5, y + 14.85), dash=0.8)
    text = _("Fold along the dashed lines, with the code on the outside.")
    sheet.block(text, x, y + 37, box=(72, 22), sizes=(12.5, 9))


def _draw_little_sheet(sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
    sheet.bar(x, y, width, height, TINT)
    sheet.bar(x + width - 7.5, y + 5, 5, 5, INK)
    with sheet.decoration():
        sheet.pdf.rect(x, y, width, height, style="D")


def _draw_foot(sheet: Sheet, page: TicketPage) -> None:
    y = PAGE_HEIGHT - 24
    sheet.rule((LEFT_X, y), (PAGE_WIDTH - LEFT_X, y), dash=0)
    text = f"{page.shop_name} · {page.event_title}"
    sheet.block(text, LEFT_X, y + 3, box=(170, 4), sizes=(9, 7))
    if sheet.lacks_letters:
        lost = _("Some letters could not be printed here. The page of your order shows them.")
        sheet.block(lost, LEFT_X, y + 6.5, box=(170, 4), sizes=(9, 7))
    _draw_warning(sheet, _warning(page), PAGE_HEIGHT - 13)
