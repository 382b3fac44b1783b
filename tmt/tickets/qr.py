"""The QR code of a ticket: what it says, how it is read back, how it is drawn.

It says `TMT1:` and the ticket's code, nothing else: no name, no event, no address. The `1` is
the version, so that a later layout can be told apart at the door. Only characters of QR's
alphanumeric mode are used (ISO/IEC 18004, table 5), which keeps the symbol small and its
modules large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

PREFIX = "TMT1:"
CODE_LENGTH = 26
# ISO/IEC 18004, 9.1: four modules of clear space on every side.
QUIET_ZONE = 4

_CODE = re.compile(rf"[A-Z2-7]{{{CODE_LENGTH}}}")
# Room for the blanks that a scanner or a paste may add; anything longer is not looked at.
_LONGEST_INPUT = 64
_GROUP = 4


class InvalidPayload(ValueError):
    """The text is not what a ticket's QR code says."""


@dataclass(frozen=True)
class Symbol:
    """A QR symbol without its quiet zone: `size` x `size` modules and the dark ones among them.

    `runs` holds them as horizontal bars (x, y, length), each as long as it gets.
    """

    size: int
    runs: tuple[tuple[int, int, int], ...]


def payload(code: str) -> str:
    """The text in the QR code of the ticket with this 26-character base32 code.

    Raises `InvalidPayload` if the code has not that shape (either case is taken).
    """
    if len(code) != CODE_LENGTH or not code.isascii() or not _CODE.fullmatch(code.upper()):
        raise InvalidPayload("a ticket code is 26 characters of A-Z and 2-7")
    return PREFIX + code.upper()


def parse(text: str) -> str:
    """The ticket code in a scanned text, in upper case; surrounding blanks and case are forgiven.

    Raises `InvalidPayload` for anything else. That a code has the right shape says nothing about
    whether there is such a ticket. The message never repeats the text, which may be anything.
    """
    if len(text) > _LONGEST_INPUT or not text.isascii():
        raise InvalidPayload("this is not the QR code of a ticket")
    candidate = text.strip().upper()
    code = candidate.removeprefix(PREFIX)
    if code == candidate or not _CODE.fullmatch(code):
        raise InvalidPayload("this is not the QR code of a ticket")
    return code


def grouped(code: str) -> str:
    """The code in groups of four, for people to read out: 'ABCD EFGH …'."""
    return " ".join(code[i : i + _GROUP] for i in range(0, len(code), _GROUP))


def symbol(code: str) -> Symbol:
    """The QR symbol of a ticket at error level M. Raises `InvalidPayload` as `payload` does."""
    import segno

    made = segno.make(payload(code), error="m", micro=False, boost_error=False)
    return Symbol(size=len(made.matrix), runs=tuple(_runs(made.matrix)))


def svg(code: str, label: str) -> str:
    """The QR code as inline SVG that CSS may size freely, announced to screen readers as `label`.

    It brings its own white ground and quiet zone, so that it is read on a dark page too, and has
    neither style attributes nor ids, so that it passes a strict policy and may stand on a page
    many times. The label is escaped here. Raises `InvalidPayload` as `payload` does.
    """
    drawn = symbol(code)
    side = drawn.size + 2 * QUIET_ZONE
    bars = "".join(
        f"M{x + QUIET_ZONE} {y + QUIET_ZONE}h{length}v1h-{length}z" for x, y, length in drawn.runs
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" class="qr" role="img"'
        f' aria-label="{escape(label)}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path fill="#000" d="{bars}"/></svg>'
    )


def _runs(matrix: tuple[bytearray, ...]) -> Iterator[tuple[int, int, int]]:
    for y, row in enumerate(matrix):
        for dark in re.finditer(rb"\x01+", bytes(row)):
            yield dark.start(), y, dark.end() - dark.start()
