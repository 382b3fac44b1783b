"""The posters: one per slug, always well-formed, always readable."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tmt.catalog.poster import HEIGHT, MARGIN, PALETTES, WIDTH, Palette, draw_poster

SVG = "{http://www.w3.org/2000/svg}"
TITLES = (
    "A",
    "MUSE",
    "Noche de Luna",
    "Ñandú Sónico & los Ángeles",
    'Łona i Webber <live> "unplugged" ]]>',
    "The Midnight Orchestra plays Debussy, Ravel & Satie, with a very long second half",
    "Donaudampfschifffahrtsgesellschaftskapitänsmütze",
    "東京スカパラダイスオーケストラ",
    "Ελένη Καραΐνδρου",
    "🎷 Jazz 🎺",
    "x" * 400,
    "word " * 80,
)


def lines_of(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("title", TITLES)
def test_every_title_fits_the_sheet(title: str) -> None:
    for turn in range(12):
        svg = draw_poster(title, f"event-{turn}", line="Sat 14 Nov 2026 · Vitoria-Gasteiz")
        for text in lines_of(svg):
            size = float(text.attrib["font-size"])
            assert float(text.attrib["x"]) + float(text.get("textLength", 0)) <= WIDTH - MARGIN + 1
            assert size * 0.7 <= float(text.attrib["y"]) <= HEIGHT - MARGIN / 2


@pytest.mark.parametrize("title", TITLES[:10])
def test_no_letter_of_the_title_is_lost(title: str) -> None:
    for turn in range(8):
        drawn = "".join(text.text or "" for text in lines_of(draw_poster(title, f"event-{turn}")))
        wanted = "".join(title.split())
        assert "".join(drawn.split()) in (wanted, wanted.upper())


def test_the_same_slug_gives_the_same_poster_and_another_slug_another() -> None:
    assert draw_poster("Noche", "noche-1") == draw_poster("Noche", "noche-1")
    assert len({draw_poster("Noche", f"noche-{turn}") for turn in range(30)}) == 30


def test_a_poster_carries_its_title_for_those_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(draw_poster("Coro & Réquiem", "coro"))
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "Coro & Réquiem"
    assert root.attrib["viewBox"] == "0 0 600 800"


def test_a_poster_reaches_for_nothing_outside_itself() -> None:
    for turn in range(60):
        svg = draw_poster("Noche", f"noche-{turn}", line="Madrid")
        without_namespace = svg.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|href|url\(|<script|<style|style=|\bon\w+=", without_namespace
        )


@pytest.mark.parametrize("title", ["a\x00b\x0bc\ufffe", "\ud800 lone", "line\nbreak\ttab"])
def test_characters_that_xml_forbids_are_left_out(title: str) -> None:
    root = ElementTree.fromstring(draw_poster(title, "odd", line=title))
    assert root.tag == f"{SVG}svg"


def test_an_empty_title_falls_back_to_the_slug() -> None:
    assert ElementTree.fromstring(draw_poster(" ", "noche")).findtext(f"{SVG}title") == "noche"


def test_markup_in_a_title_stays_text() -> None:
    assert "<b>" not in draw_poster("<b>bold</b>", "bold", line="<i>x</i>")


@pytest.mark.parametrize("palette", PALETTES)
def test_the_ink_can_be_read_on_every_colour_under_it(palette: Palette) -> None:
    for colour in (palette.ground, *palette.tones):
        assert contrast(palette.ink, colour) >= 4.5, colour
