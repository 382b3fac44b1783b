"""Tickets on paper: one A4 page each, made to be folded twice into a pocket.

The upper half is the ticket, the lower half explains it. The QR code and its text lie on no fold.
Lengths are millimetres from the upper left corner, type sizes points.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, cast

import structlog

from tmt.core.i18n import current_locale, format_date, format_time, zone_name
from tmt.core.i18n import gettext as _
from tmt.core.money import format_money
from tmt.tickets import qr
from tmt.tickets.fonts import UNKNOWN_LETTER, Letters, is_right_to_left, letters_of, needs_shaping

if TYPE_CHECKING:
    from fpdf import FPDF
    from fpdf.fonts import TTFFont

Colour = tuple[int, int, int]
Weight = Literal["", "B"]

log = structlog.get_logger(__name__)

WHITE: Colour = (255, 255, 255)
INK: Colour = (23, 22, 28)
MUTED: Colour = (90, 88, 98)
HAIRLINE: Colour = (216, 215, 209)
TINT: Colour = (244, 244, 241)
ACCENT: Colour = (255, 207, 31)
WARNING: Colour = (173, 15, 36)

POINT = 25.4 / 72
LEADING = 1.26

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
        sheet = _Sheet(pages[0], letters, Path(folder))
        try:
            for page in pages:
                _draw_page(sheet, page)
            return bytes(sheet.pdf.output())
        finally:
            # FPDF reads its fonts to the end and leaves their files open.
            for font in sheet.fonts:
                font.close()


def _texts(page: TicketPage) -> Iterator[str]:
    """Whatever a page shows that the fonts may lack."""
    yield from (page.event_title, page.type_name, page.holder, page.venue, page.address, page.city)
    yield from (page.shop_name, page.notice, format_money(page.price, page.currency))


class _Sheet:
    """An FPDF document with the few ways of writing that a ticket needs."""

    def __init__(self, first: TicketPage, letters: Letters, folder: Path) -> None:
        from fpdf import FPDF, ViewerPreferences

        self.pdf = pdf = FPDF(format="A4", unit="mm")
        pdf.set_auto_page_break(False)
        pdf.c_margin = 0
        # Else a title with "{nb}" in it would show the number of pages there.
        pdf.str_alias_nb_pages = ""
        self.family = letters.faces[0].name
        self.fonts = _add_fonts(pdf, letters, folder)
        self.code_points = letters.code_points
        self.lacks_letters = bool(letters.missing)
        self._marks = 0
        pdf.set_lang(current_locale())
        pdf.set_title(_plain(_("Tickets: %(event)s") % {"event": first.event_title}))
        pdf.set_author(_plain(first.shop_name))
        pdf.viewer_preferences = ViewerPreferences(display_doc_title=True)

    def add_page(self) -> None:
        self.pdf.add_page()
        self._marks = 0

    @contextmanager
    def tagged(self, role: str, description: str = "") -> Iterator[None]:
        """What is drawn in the block is one element of the page's structure, such as "H1" or "P".

        `description` says in words what a picture shows.
        """
        pdf, mark = self.pdf, self._marks
        self._marks += 1
        _element, parents = pdf.struct_builder.add_marked_content(
            pdf.page, f"/{role}", mark, alt_text=description or None
        )
        pdf.pages[pdf.page].struct_parents = parents
        pdf._out(f"/{role} <</MCID {mark}>> BDC")
        yield
        pdf._out("EMC")

    @contextmanager
    def decoration(self) -> Iterator[None]:
        """What is drawn in the block says nothing, and is not read out."""
        self.pdf._out("/Artifact BMC")
        yield
        self.pdf._out("EMC")

    def clean(self, text: str) -> str:
        """The text in characters that the fonts have, on one line."""
        composed = " ".join(unicodedata.normalize("NFC", text).split())
        return " ".join("".join(_replacements(composed, self.code_points)).split())

    def face(self, size: float, weight: Weight, colour: Colour) -> None:
        self.pdf.set_font(self.family, weight, size)
        self.pdf.set_text_color(*colour)

    def line(
        self,
        text: str,
        x: float,
        y: float,
        *,
        size: float,
        weight: Weight = "",
        colour: Colour = INK,
        centred: bool = False,
        role: str = "P",
    ) -> None:
        """One line with its baseline at `y`, from `x` on or centred about it."""
        cleaned = self._prepared(text)
        self.face(size, weight, colour)
        width = self.pdf.get_string_width(cleaned)
        with self.tagged(role):
            self._put(cleaned, x - width / 2 if centred else x, y)

    def label(self, text: str, x: float, y: float, colour: Colour = MUTED) -> None:
        """A small spaced heading in capitals with its baseline at `y`."""
        # Spaces would tear joined letters apart.
        self.pdf.set_char_spacing(0 if needs_shaping(text) else 0.5)
        self.line(text.upper(), x, y, size=6.8, weight="B", colour=colour)
        self.pdf.set_char_spacing(0)

    def block(
        self,
        text: str,
        x: float,
        y: float,
        *,
        box: tuple[float, float],
        sizes: tuple[float, float],
        weight: Weight = "",
        colour: Colour = INK,
        role: str = "P",
    ) -> float:
        """Text wrapped into the box (width, height) below `y`; returns the y below its last line.

        It is as large as fits between the two sizes (largest, smallest); text that does not fit
        at the smallest ends in an ellipsis.
        """
        size, lines = self._fit(self._prepared(text), box, sizes, weight)
        self.face(size, weight, colour)
        widths = [self.pdf.get_string_width(line) for line in lines]
        # From right to left, a line begins where the longest one does.
        widest = max(widths, default=0) if is_right_to_left(text) else 0
        with self.tagged(role):
            for line, width in zip(lines, widths, strict=True):
                self._put(line, x + max(widest - width, 0), y + size * POINT)
                y += size * POINT * LEADING
        return y

    def _prepared(self, text: str) -> str:
        """The text as it can be written, and the document made ready for its script."""
        direction = "rtl" if is_right_to_left(text) else "ltr"
        self.pdf.set_text_shaping(needs_shaping(text), direction=direction)
        return self.clean(text)

    def _put(self, text: str, x: float, baseline: float) -> None:
        # cell() and not text(): only cell() looks into the fallback font. It sets the baseline
        # at 80 % of its height.
        height = self.pdf.font_size
        self.pdf.set_xy(x, baseline - 0.8 * height)
        if text:
            # FPDF forgets that the font of a line that begins in another one ends with that line.
            self.pdf.current_font_is_set_on_page = False
            self.pdf.cell(h=height, text=text)

    def _fit(
        self, text: str, box: tuple[float, float], sizes: tuple[float, float], weight: Weight
    ) -> tuple[float, list[str]]:
        width, height = box
        size, smallest = sizes
        while True:
            room = max(1, int(height / (size * POINT * LEADING) + 0.01))
            self.face(size, weight, INK)
            wrapped = self.pdf.multi_cell(width, text=text, align="L", dry_run=True, output="LINES")
            lines = cast(list[str], wrapped)
            if len(lines) <= room:
                return size, lines
            if size <= smallest:
                return size, [*lines[: room - 1], lines[room - 1].rstrip()[:-1] + "…"]
            size = max(smallest, size - 1)

    def rule(self, start: tuple[float, float], end: tuple[float, float], *, dash: float) -> None:
        """A hairline, dashed unless `dash` is 0."""
        self.pdf.set_draw_color(*HAIRLINE)
        self.pdf.set_line_width(0.25)
        self.pdf.set_dash_pattern(dash, dash)
        with self.decoration():
            self.pdf.line(*start, *end)
        self.pdf.set_dash_pattern()

    def bar(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        self.pdf.set_fill_color(*colour)
        with self.decoration():
            self.pdf.rect(x, y, width, height, style="F")


def _add_fonts(pdf: FPDF, letters: Letters, folder: Path) -> list[TTFFont]:
    """Adds the fonts, cut down to the document's letters; the first one is the main one."""
    from fpdf.fonts import TTFFont

    names = []
    for number, face in enumerate(letters.faces):
        for style, font in {"": face.regular, "B": face.bold}.items():
            path = folder / f"{number}{style}{font.path.suffix.replace('c', 'f')}"
            path.write_bytes(letters.subset(font))
            pdf.add_font(face.name, style, path)
        names.append(face.name)
    pdf.set_fallback_fonts(names[1:], exact_match=False)
    return [font for font in pdf.fonts.values() if isinstance(font, TTFFont)]


def _plain(text: str) -> str:
    """The text on one line, without what no text may have."""
    letters = (letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cs", "Co"))
    return " ".join("".join(letters).split())


def _replacements(text: str, code_points: frozenset[int]) -> Iterable[str]:
    for character in text:
        if ord(character) in code_points:
            yield character
            continue
        plain = unicodedata.normalize("NFKC", character)
        if plain != character and all(ord(part) in code_points for part in plain):
            yield plain
        elif unicodedata.category(character)[0] in "LN":
            yield chr(UNKNOWN_LETTER)


def _draw_page(sheet: _Sheet, page: TicketPage) -> None:
    sheet.add_page()
    _draw_band(sheet, page)
    _draw_details(sheet, page)
    _draw_order_row(sheet, page)
    _draw_stub(sheet, page)
    _draw_outline(sheet)
    _draw_advice(sheet)
    _draw_folding(sheet)
    _draw_foot(sheet, page)


def _draw_band(sheet: _Sheet, page: TicketPage) -> None:
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


def _draw_warning(sheet: _Sheet, text: str, top: float) -> None:
    if text:
        sheet.bar(CARD_X, top, CARD_WIDTH, WARNING_HEIGHT, WARNING)
        sheet.line(text.upper(), FOLD_X, top + 5.5, size=11, weight="B", colour=WHITE, centred=True)


def _draw_details(sheet: _Sheet, page: TicketPage) -> None:
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


def _draw_when(sheet: _Sheet, page: TicketPage, top: float) -> None:
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


def _draw_order_row(sheet: _Sheet, page: TicketPage) -> None:
    top = CARD_END - 17
    price = format_money(page.price, page.currency) if page.price else _("Free")
    position = _("%(number)d of %(count)d") % {"number": page.number, "count": page.count}
    cells = ((_("Order"), page.order_code), (_("Ticket"), position), (_("Price"), price))
    sheet.rule((LEFT_X, top), (STUB_X - 5, top), dash=0)
    for x, (name, value) in zip((LEFT_X, 57.0, 91.0), cells, strict=True):
        sheet.label(name, x, top + 6)
        sheet.block(value, x, top + 7.6, box=(32, 6), sizes=(12, 7), weight="B")


def _draw_stub(sheet: _Sheet, page: TicketPage) -> None:
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


def _draw_outline(sheet: _Sheet) -> None:
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


def _draw_advice(sheet: _Sheet) -> None:
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


def _draw_folding(sheet: _Sheet) -> None:
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


def _draw_little_sheet(sheet: _Sheet, x: float, y: float, width: float, height: float) -> None:
    sheet.bar(x, y, width, height, TINT)
    sheet.bar(x + width - 7.5, y + 5, 5, 5, INK)
    with sheet.decoration():
        sheet.pdf.rect(x, y, width, height, style="D")


def _draw_foot(sheet: _Sheet, page: TicketPage) -> None:
    y = PAGE_HEIGHT - 24
    sheet.rule((LEFT_X, y), (PAGE_WIDTH - LEFT_X, y), dash=0)
    text = f"{page.shop_name} · {page.event_title}"
    sheet.block(text, LEFT_X, y + 3, box=(170, 4), sizes=(9, 7))
    if sheet.lacks_letters:
        lost = _("Some letters could not be printed here. The page of your order shows them.")
        sheet.block(lost, LEFT_X, y + 6.5, box=(170, 4), sizes=(9, 7))
    _draw_warning(sheet, _warning(page), PAGE_HEIGHT - 13)
