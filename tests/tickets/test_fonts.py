"""Letters of other scripts on PDF tickets: found, shaped, or named when no font has them.

The fonts are made here, of squares whose widths say which form of a letter was drawn.
"""

from __future__ import annotations

import ctypes
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from tests.operations.test_doctor import doctor
from tests.shopfront import Shopfront
from tests.tickets.test_pdf import TICKET, english, text_of  # noqa: F401 - a fixture
from tmt.core.i18n import use_locale
from tmt.tickets import fonts
from tmt.tickets.pdf import TicketPage, render_tickets

ALEF, BEH, HAN = "\u0627", "\u0628", "王"
# In thousandths of the size.
WIDTHS = {".notdef": 100, "alef": 200, "beh": 300, "beh.init": 900, "han": 700}


def make_font(path: Path) -> Path:
    """A font with two Arabic letters, the second of which has a form for the start of a word."""

    def square(width: int) -> object:
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 500), (width, 500), (width, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    font = FontBuilder(1000)
    font.setupGlyphOrder(list(WIDTHS))
    font.setupCharacterMap({ord(ALEF): "alef", ord(BEH): "beh", ord(HAN): "han"})
    font.setupGlyf({name: square(width) for name, width in WIDTHS.items()})
    font.setupHorizontalMetrics({name: (width, 0) for name, width in WIDTHS.items()})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    feature = "languagesystem arab dflt; feature init { sub beh by beh.init; } init;"
    addOpenTypeFeaturesFromString(font.font, feature)
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)
    return path


@pytest.fixture(autouse=True)
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Installs a font of this file name on a machine that has none."""
    monkeypatch.setattr(fonts, "_FOLDERS", (str(tmp_path / "fonts"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for function in (fonts._installed, fonts._face_of):
        monkeypatch.setattr(fonts, function.__name__, fonts.cache(function.__wrapped__))
    return lambda name: make_font(tmp_path / "fonts" / "noto" / name)


def boxes(ticket: TicketPage, letters: str) -> dict[str, tuple[float, float]]:
    """Where these letters begin on the page, and how wide they are at a size of 1000."""
    page = pypdfium2.PdfDocument(render_tickets([ticket]))[0].get_textpage()
    text = page.get_text_range()
    found = {}
    for letter in letters:
        left, _bottom, right, top = page.get_charbox(text.index(letter))
        found[letter] = (left, round((right - left) / (top - _bottom) * 500, -2))
    return found


def test_letters_join_and_run_from_right_to_left(install: Callable[[str], Path]) -> None:
    install("NotoSansArabic-Regular.ttf")
    found = boxes(replace(TICKET, holder=BEH + ALEF), BEH + ALEF)
    assert found[ALEF][0] < found[BEH][0]
    assert (found[BEH][1], found[ALEF][1]) == (WIDTHS["beh.init"], WIDTHS["alef"])
    # The last line begins, seen from the left, with letters of the main font.
    text = text_of(replace(TICKET, holder=f"{BEH * 3} " * 7 + "Rock"))
    assert "Rock" in text
    assert "could not be printed" not in text


def test_fontconfig_is_asked_and_not_believed(
    install: Callable[[str], Path], tmp_path: Path
) -> None:
    font = install("Squares.ttf")
    program = tmp_path / "bin" / "fc-match"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '{font}\\n65536'\n")
    program.chmod(0o700)
    assert fonts.letters_of([HAN, ALEF]).missing == []
    assert [m.script for m in fonts.letters_of(["ไทย"]).missing] == ["Thai"]
    assert HAN in text_of(replace(TICKET, holder=HAN))
    program.write_text("#!/bin/sh\nexit 3\n")
    fonts._face_of.cache_clear()
    assert [m.script for m in fonts.letters_of([HAN]).missing] == ["Chinese"]


@pytest.mark.parametrize(
    ("text", "script", "package"),
    [
        ("مرحبا", "Arabic", "fonts-noto-core"),
        ("עברית", "Hebrew", "fonts-noto-core"),
        ("हिन्दी", "Devanagari", "fonts-noto-core"),
        ("ไทย", "Thai", "fonts-noto-core"),
        ("王伟", "Chinese", "fonts-noto-cjk"),
        ("東京のカフェ", "Japanese", "fonts-noto-cjk"),
        ("서울", "Korean", "fonts-noto-cjk"),
        ("𞤀𞤣", "other", ""),
    ],
)
def test_what_no_font_has_is_named(
    text: str, script: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fonts.letters_of([f"La noche {text} 🎉"]).missing == [fonts.Missing(script, package)]
    assert "could not be printed" in text_of(replace(TICKET, venue=text))
    assert fonts.letters_of(["Łukasz Ґалаґан ₹ ﬁ Ấn 🎉"]).missing == []


@pytest.mark.databases("sqlite")
def test_doctor_names_the_package(shopfront: Shopfront, install: Callable[[str], Path]) -> None:
    shopfront.buyer(name="王 Ana").reserve(1)
    report = doctor(shopfront)
    assert report.texts["letters"] == "PDF tickets lack letters: Chinese"
    assert "apt install fonts-noto-cjk" in report.text
    install("NotoSansCJK-Regular.ttc")
    fonts._installed.cache_clear()
    fonts._face_of.cache_clear()
    assert doctor(shopfront).levels["letters"] == "green"


def elements(content: bytes) -> list[tuple[str, str]]:
    """The roles of the first page's elements in reading order, with what is said of pictures."""
    document = pypdfium2.PdfDocument(content)
    tree = pdfium.FPDF_StructTree_GetForPage(document[0])
    root = pdfium.FPDF_StructTree_GetChildAtIndex(tree, 0)
    found = []
    for index in range(pdfium.FPDF_StructElement_CountChildren(root)):
        element = pdfium.FPDF_StructElement_GetChildAtIndex(root, index)
        texts = []
        for read in (pdfium.FPDF_StructElement_GetType, pdfium.FPDF_StructElement_GetAltText):
            buffer = ctypes.create_string_buffer(400)
            length = read(element, buffer, 400)
            texts.append(buffer.raw[: max(length - 2, 0)].decode("utf-16-le"))
        found.append((texts[0], texts[1]))
    pdfium.FPDF_StructTree_Close(tree)
    return found


def test_the_pdf_is_tagged_in_its_language() -> None:
    with use_locale("es"):
        content = render_tickets([replace(TICKET, number=n) for n in (1, 2)])
    assert b"/Lang (es)" in content
    assert re.search(rb"/MarkInfo <<[^>]*/Marked true", content)
    found = elements(content)
    assert [role for role, _ in found if role.startswith("H")] == ["H1", "H2", "H2"]
    assert [alt for role, alt in found if role == "Figure"] == ["Código de la entrada 1"]
    # Whatever is drawn is an element, or marked as decoration.
    for stream in re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL):
        lines = zlib.decompress(stream).split(b"\n") if stream[:1] == b"\x78" else []
        if not any(line.endswith(b"BDC") for line in lines):
            continue
        marked = 0
        for line in lines:
            marked += line.endswith((b"BDC", b"BMC")) - (line == b"EMC")
            if line.endswith((b" f", b" S", b" B", b"Tj", b"TJ", b"Tj ET", b"TJ ET")):
                assert marked == 1, line
