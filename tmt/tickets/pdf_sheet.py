"""A PDF page to write on: text that wraps, shrinks and joins, in any script; tagged for readers.

Lengths are millimetres from the upper left corner, type sizes points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from tmt.core.i18n import current_locale
from tmt.tickets.fonts import UNKNOWN_LETTER, Letters, is_right_to_left, needs_shaping

if TYPE_CHECKING:
    from fpdf import FPDF
    from fpdf.fonts import TTFFont

Colour = tuple[int, int, int]
Weight = Literal["", "B"]

INK: Colour = (23, 22, 28)
MUTED: Colour = (90, 88, 98)
HAIRLINE: Colour = (216, 215, 209)

POINT = 25.4 / 72
LEADING = 1.26


class Sheet:
    """An FPDF document with the few ways of writing that a ticket needs.

    `folder` holds the fonts, cut down to the document's letters, until it is closed.
    """

    def __init__(self, title: str, author: str, letters: Letters, folder: Path) -> None:
        from fpdf import FPDF, ViewerPreferences

        self.pdf = pdf = FPDF(format="A4", unit="mm")
        pdf.set_auto_page_break(False)
        pdf.c_margin = 0
        # Else a title with "{nb}" in it would show the number of pages there.
        pdf.str_alias_nb_pages = ""
        self.family = letters.faces[0].name
        self._fonts = _add_fonts(pdf, letters, folder)
        self.code_points = letters.code_points
        self.lacks_letters = bool(letters.missing)
        self._marks = 0
        pdf.set_lang(current_locale())
        pdf.set_title(_plain(title))
        pdf.set_author(_plain(author))
        pdf.viewer_preferences = ViewerPreferences(display_doc_title=True)

    def output(self) -> bytes:
        """The finished document."""
        return bytes(self.pdf.output())

    def close(self) -> None:
        """Closes the files of the fonts, which FPDF reads to the end and leaves open."""
        for font in self._fonts:
            font.close()

    def add_page(self) -> None:
        """Begins the next page."""
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

    def _face(self, size: float, weight: Weight, colour: Colour) -> None:
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
        self._face(size, weight, colour)
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
        self._face(size, weight, colour)
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
            self._face(size, weight, INK)
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
        """A filled rectangle."""
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
