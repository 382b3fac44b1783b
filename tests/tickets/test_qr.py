"""The QR code: what it says, what it takes back, and that a reader reads what is drawn."""

from __future__ import annotations

import re
from contextlib import suppress
from xml.etree import ElementTree

import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tmt.core.ids import new_ticket_code
from tmt.tickets import qr

CODE = "ABCDEFGHIJKLMNOPQRSTUVW234"
SVG = "{http://www.w3.org/2000/svg}"


def rasterized(svg: str, module: int = 4) -> Image.Image:
    """The picture that the SVG's two paths make, on a dark page."""
    root = ElementTree.fromstring(svg)
    side = int(root.attrib["viewBox"].split()[2])
    picture = Image.new("L", (side * module, side * module), 0)
    draw = ImageDraw.Draw(picture)
    ground, bars = root.findall(f"{SVG}path")
    assert ground.attrib == {"fill": "#fff", "d": f"M0 0h{side}v{side}H0z"}
    draw.rectangle((0, 0, side * module, side * module), fill=255)
    assert bars.attrib["fill"] == "#000"
    for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", bars.attrib["d"]):
        left, top = int(x) * module, int(y) * module
        draw.rectangle((left, top, left + int(length) * module - 1, top + module - 1), fill=0)
    return picture


def test_the_payload_is_versioned_and_holds_the_code_alone() -> None:
    assert qr.payload(CODE) == f"TMT1:{CODE}"
    assert qr.payload(CODE.lower()) == f"TMT1:{CODE}"


def test_what_the_shop_issues_comes_back() -> None:
    code = new_ticket_code()
    assert qr.parse(qr.payload(code)) == code


@pytest.mark.parametrize(
    "text", [f"TMT1:{CODE}", f"  tmt1:{CODE.lower()}\r\n", f"\tTMT1:{CODE} ", f"Tmt1:{CODE}"]
)
def test_blanks_and_case_are_forgiven(text: str) -> None:
    assert qr.parse(text) == CODE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TMT1:",
        CODE,
        f"TMT2:{CODE}",
        f"TMT1:{CODE}A",
        f"TMT1:{CODE[:-1]}",
        f"TMT1:{CODE[:-1]}1",
        f"TMT1: {CODE}",
        f"TMT1:TMT1:{CODE}",
        f"TMT1:{CODE[:10]} {CODE[11:]}",
        f"https://example.org/TMT1:{CODE}",
        f"TMT1:{CODE[:-1]}ı",
        f"TMT1:{CODE[:-2]}ß",
        f"\u2003TMT1:{CODE}",
        f"TMT1:{CODE}" + " " * 60,
        f"TMT1:{CODE}\x00",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(qr.InvalidPayload) as refusal:
        qr.parse(text)
    assert isinstance(refusal.value, ValueError)
    assert CODE not in str(refusal.value)


@given(st.text())
def test_no_text_makes_the_reader_crash(text: str) -> None:
    with suppress(qr.InvalidPayload):
        assert qr.payload(qr.parse(text)) == text.strip().upper()


@pytest.mark.parametrize("code", ["", CODE[:-1], CODE + "A", CODE[:-1] + "0", CODE[:-1] + "ı"])
def test_no_qr_code_is_made_of_a_malformed_code(code: str) -> None:
    with pytest.raises(qr.InvalidPayload):
        qr.payload(code)


def test_a_reader_reads_the_svg() -> None:
    code = new_ticket_code()
    found = zxingcpp.read_barcode(rasterized(qr.svg(code, "QR code")))
    assert found is not None
    assert found.text == qr.payload(code)
    assert found.ec_level == "M"


def test_alphanumeric_mode_keeps_the_symbol_at_version_two() -> None:
    assert qr.symbol(CODE).size == 25


def test_the_quiet_zone_is_clear_on_every_side() -> None:
    picture = rasterized(qr.svg(CODE, "QR code"), module=1)
    dark = picture.point(lambda value: 255 - value).getbbox()
    assert dark == (4, 4, 29, 29)


def test_the_svg_is_named_scalable_and_needs_no_inline_style() -> None:
    svg = qr.svg(CODE, 'Ticket "1" <of> 3 & more')
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'Ticket "1" <of> 3 & more'
    assert not {"width", "height", "style", "id"} & set(root.attrib)
    assert "style" not in svg


def test_the_code_is_grouped_for_reading_out() -> None:
    assert qr.grouped(CODE) == "ABCD EFGH IJKL MNOP QRST UVW2 34"
