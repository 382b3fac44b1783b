"""The QR code: what it says, and that a reader reads what is drawn."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from tmt.core.ids import new_ticket_code
from tmt.tickets import qr

CODE = "ABCDEFGHIJKLMNOPQRSTUVW234"


def rasterized(svg: str, module: int = 4) -> Image.Image:
    """The picture that the SVG's two paths make, on a dark page."""
    root = ElementTree.fromstring(svg)
    side = int(root.attrib["viewBox"].split()[2])
    picture = Image.new("L", (side * module, side * module), 0)
    draw = ImageDraw.Draw(picture)
    ground, modules = root.findall("path")
    assert ground.attrib == {"fill": "#fff", "d": f"M0 0h{side}v{side}h-{side}z"}
    draw.rectangle((0, 0, side * module, side * module), fill=255)
    assert modules.attrib["stroke"] == "#000"
    # Strokes of one module's width, each moved to from the end of the one before.
    x, y = 0.0, -0.5
    for right, down, length in re.findall(r"[Mm](-?\d+) ([\d.]+)h(\d+)", modules.attrib["d"]):
        x, y = x + int(right), y + float(down)
        left, top, end = x * module, y * module, (x + int(length)) * module
        draw.rectangle((left, top, end - 1, top + module - 1), fill=0)
        x += int(length)
    return picture


def test_the_payload_is_versioned_and_holds_the_code_alone() -> None:
    assert qr.payload(CODE) == f"TMT1:{CODE}"
    assert qr.payload(CODE.lower()) == f"TMT1:{CODE}"


@pytest.mark.parametrize(
    "code", ["", CODE[:-1], CODE + "A", CODE[:-1] + "0", CODE[:-1] + "ı", CODE[:-2] + "ß"]
)
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
    assert len(qr.symbol(CODE).matrix) == 25


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
