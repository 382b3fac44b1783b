"""The QR code of a ticket: what it says and how it is drawn.

It says `TMT1:` and the ticket's code, nothing else: no name, no event, no address. The `1` is
the version, so that a later layout can be told apart at the door. Only characters of QR's
alphanumeric mode are used (ISO/IEC 18004, table 5), which keeps the symbol small and its
modules large.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import segno

PREFIX = "TMT1:"
# ISO/IEC 18004, 9.1: four modules of clear space on every side.
QUIET_ZONE = 4

_CODE = re.compile(r"[A-Z2-7]{26}")
_GROUP = 4


class InvalidPayload(ValueError):
    """The code is not one that the shop gives to a ticket."""


def payload(code: str) -> str:
    """The text in the QR code of the ticket with this 26-character base32 code.

    Raises `InvalidPayload` if the code does not have that shape (either case is taken).
    """
    if not code.isascii() or not _CODE.fullmatch(code.upper()):
        raise InvalidPayload("a ticket code is 26 characters of A-Z and 2-7")
    return PREFIX + code.upper()


def grouped(code: str) -> str:
    """The code in groups of four, for people to read out: 'ABCD EFGH …'."""
    return " ".join(code[i : i + _GROUP] for i in range(0, len(code), _GROUP))


def symbol(code: str) -> segno.QRCode:
    """The QR symbol of a ticket at error level M.

    Raises `InvalidPayload` as `payload` does.
    """
    # Imported late: only pages and documents with tickets need it.
    import segno

    return segno.make(payload(code), error="m", micro=False, boost_error=False)


def svg(code: str, label: str) -> str:
    """The QR code as inline SVG that CSS may size freely, announced to screen readers as `label`.

    It has its own white background and quiet zone, so that scanners read it on a dark page too,
    and neither style attributes nor ids, so that a strict CSP admits it and a page may hold many.
    The label is escaped here. Raises `InvalidPayload` as `payload` does.
    """
    drawing = symbol(code).svg_inline(
        omitsize=True,
        border=QUIET_ZONE,
        light="#fff",
        svgclass="qr",
        lineclass=None,
    )
    # segno knows titles only, which browsers show as tooltips.
    attributes = f'role="img" aria-label="{escape(label)}" shape-rendering="crispEdges"'
    return drawing.replace("<svg ", f"<svg {attributes} ", 1)
