"""A concert poster for every event that brings no picture of its own.

A poster is drawn from the event's slug alone: the slug picks a palette, a motif and a layout, and
the title is set as large as the sheet allows. The same words give the same poster, byte by byte.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 600, 800, 36
MEASURE = WIDTH - 2 * MARGIN
LARGEST_TYPE, SMALL_TYPE = 236.0, 28.0
FACES = (
    "Avenir Next Condensed, HelveticaNeue-CondensedBold, Bahnschrift, Roboto Condensed, "
    "Arial Narrow, Liberation Sans Narrow, Nimbus Sans Narrow, sans-serif-condensed, sans-serif"
)


Item = TypeVar("Item")


class Palette(NamedTuple):
    """Colours of one poster. The ink keeps a contrast of 4.5 : 1 with the ground and each tone."""

    ground: str
    tones: tuple[str, str, str]
    ink: str


PALETTES = (
    Palette("#f2c230", ("#ff7a45", "#f8efdd", "#f49ab5"), "#16130f"),
    Palette("#ff7a59", ("#ffd9c7", "#ffc247", "#8fd3c8"), "#1b1020"),
    Palette("#9ad8c4", ("#f7f1de", "#f8c537", "#ff8f6b"), "#10221f"),
    Palette("#f3eee3", ("#ff5f3c", "#86b6ff", "#ffcf33"), "#14131a"),
    Palette("#b9b4ff", ("#fff3d6", "#ff9a76", "#7ce0c3"), "#17123a"),
    Palette("#c6ee4f", ("#fafbe8", "#6fd0ee", "#ff9bd2"), "#121a08"),
    Palette("#16233f", ("#a3262f", "#1f5d57", "#3d3f86"), "#fdf1dc"),
    Palette("#2a0f3a", ("#97205f", "#4d2f96", "#b3322c"), "#ffe9c9"),
    Palette("#0f3d3a", ("#0f6a5a", "#9c3d1a", "#1f4e79"), "#f7f0d8"),
    Palette("#bf262c", ("#7d1128", "#161a24", "#991b3a"), "#fff4e3"),
    Palette("#121116", ("#3d2fd0", "#b3123f", "#0f6b52"), "#f5f2ea"),
    Palette("#1d4ed8", ("#12308f", "#b5123b", "#0a1a4a"), "#fff6dc"),
)


class Box(NamedTuple):
    """The part of the sheet a motif may fill, its own corner being 0, 0."""

    width: float
    height: float


class Line(NamedTuple):
    """One line of the title: its text, type size, width and the height it takes, in pixels."""

    text: str
    size: float
    width: float
    height: float


class Chance:
    """An endless row of choices that a text decides, the same on every machine."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode("utf-8", "replace")
        self._turn = 0

    def below(self, limit: int) -> int:
        """Give an integer of 0 .. limit - 1."""
        self._turn += 1
        digest = hashlib.sha256(self._turn.to_bytes(4, "big") + self._seed).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def between(self, low: float, high: float) -> float:
        """Give a number from low up to high."""
        return low + (high - low) * self.below(10_000) / 9_999

    def pick(self, items: Sequence[Item]) -> Item:
        """Give one of the items."""
        return items[self.below(len(items))]


def draw_poster(title: str, slug: str, *, line: str = "") -> str:
    """Draw the poster of an event as a self-contained SVG document of 600 x 800.

    The slug decides colours, motif and layout; the title (its first 60 words, any script) is set
    in the largest type that fits, the optional line (date, city) stands small beside it. The text
    keeps a contrast of at least 4.5 : 1 with whatever is under it. Never raises for any text.
    """
    title, line = _clean(title) or _clean(slug) or "?", _clean(line)
    chance = Chance(slug)
    palette = chance.pick(PALETTES)
    motif = chance.pick((*BROAD, *FINE))
    layout = chance.pick(("below", "above", "over" if motif in BROAD else "below"))
    lines = _set_title(title, capitals=chance.below(4) > 0, room=HEIGHT * chance.pick((0.42, 0.5)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{palette.ground}"/>'
        f"{_compose(layout, lines, line, palette, motif, chance)}</svg>"
    )


def _compose(
    layout: str, lines: list[Line], line: str, palette: Palette, motif: Motif, chance: Chance
) -> str:
    """Put the words below, above or over the picture."""
    words = sum(line.height for line in lines)
    small = 44 if line else 0
    top = MARGIN + small if layout == "above" else HEIGHT - MARGIN - small - words
    start = top + words + 30 if layout == "above" else 0.0
    end = top - 30 if layout == "below" else float(HEIGHT)
    # Words that stand on the picture need every colour of it to be far from the ink.
    colours = palette._replace(ink=palette.tones[0]) if layout == "over" else palette
    box = Box(WIDTH, end - start)
    return (
        f'<svg y="{start:.0f}" width="{WIDTH}" height="{box.height:.0f}">'
        f"{motif(box, colours, chance)}</svg>{_words(lines, top, palette.ink)}"
        f"{_small_line(line, MARGIN + 18 if layout == 'above' else HEIGHT - MARGIN, palette.ink)}"
    )


# Type: how wide words are, where they break, how large they can be.


def _clean(text: str) -> str:
    """One line of text without what XML forbids (control characters, lone surrogates)."""
    kept = (" " if char.isspace() else char for char in unicodedata.normalize("NFC", text))
    plain = "".join(char for char in kept if unicodedata.category(char) not in ("Cc", "Cs", "Cn"))
    return " ".join(plain.split())


def _advance(char: str) -> float:
    """Width of a character in ems, as narrow bold faces draw it."""
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.0
    base = unicodedata.normalize("NFD", char)[0]
    if base in "iIjl.,:;'’!|· frt()[]-/":
        return 0.27
    if base in "MWm@%&—…":
        return 0.74
    return 0.58 if base.isupper() else 0.47


def _width(text: str) -> float:
    return sum(_advance(char) for char in text)


_WIDE = "\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
# A piece is a word with the blank behind it; scripts without blanks break after every character.
_PIECES = re.compile(rf"[{_WIDE}]\s*|[^\s{_WIDE}]{{1,22}}\s*")


def _wrap(pieces: Sequence[str], widths: Sequence[float], limit: float) -> list[str]:
    lines, used = [""], 0.0
    for piece, width in zip(pieces, widths, strict=True):
        if lines[-1] and used + width > limit:
            lines.append("")
            used = 0.0
        lines[-1] += piece
        used += width
    return [line.rstrip() for line in lines]


def _set_title(title: str, *, capitals: bool, room: float) -> list[Line]:
    """Break the title so that its smallest line is as large as can be."""
    text = title.upper() if capitals else title
    pieces = _PIECES.findall(text)[:60]
    widths = [_width(piece) for piece in pieces]
    # Line lengths worth a try: what so many lines of even length need, and a little more.
    even = [sum(widths) / count * slack for count in range(1, 13) for slack in (1, 1.08, 1.2)]
    breaks = [_wrap(pieces, widths, max(limit, *widths)) for limit in even]
    settings = [_fit(lines, capitals=capitals, room=room) for lines in breaks]
    return max(settings, key=lambda lines: (round(min(line.size for line in lines)), -len(lines)))


def _fit(texts: list[str], *, capitals: bool, room: float) -> list[Line]:
    widths = [max(_width(text), 0.2) for text in texts]
    sizes = [min(LARGEST_TYPE, MEASURE / width) for width in widths]
    if not capitals:
        sizes = [min(sizes)] * len(sizes)
    leads = [_lead(text, capitals=capitals) for text in texts]
    needed = sum(size * lead for size, lead in zip(sizes, leads, strict=True))
    scale = min(1.0, room / needed)
    return [
        Line(text, size * scale, width * size * scale, size * scale * lead)
        for text, width, size, lead in zip(texts, widths, sizes, leads, strict=True)
    ]


def _lead(text: str, *, capitals: bool) -> float:
    """Height of a line in ems: capitals stand close, marks above and below them need air."""
    if not capitals or not all(char.isascii() or char.isupper() for char in text):
        return 1.0
    marked = any(len(unicodedata.normalize("NFD", char)) > 1 for char in text)
    return 0.98 if marked else 0.82


def _words(lines: list[Line], top: float, ink: str) -> str:
    drawn, y = [], top
    for line in lines:
        y += line.height
        # 0.09 em is the gap under a line; textLength keeps the layout whatever face is at hand.
        drawn.append(
            f'<text x="{MARGIN}" y="{y - 0.09 * line.size:.1f}" font-size="{line.size:.1f}" '
            f'textLength="{line.width:.1f}" lengthAdjust="spacingAndGlyphs">'
            f"{escape(line.text)}</text>"
        )
    return f'<g fill="{ink}" font-family="{FACES}" font-weight="800">{"".join(drawn)}</g>'


def _small_line(line: str, baseline: float, ink: str) -> str:
    if not line:
        return ""
    size = min(SMALL_TYPE, MEASURE / max(_width(line), 1.0))
    return (
        f'<text x="{MARGIN}" y="{baseline:.0f}" fill="{ink}" font-family="{FACES}" '
        f'font-weight="700" font-size="{size:.1f}">{escape(line)}</text>'
    )


# Motifs: each fills a box with the palette's colours.

Motif = Callable[[Box, Palette, Chance], str]


def _disc(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}"/>'


def _shape(points: Sequence[tuple[float, float]], fill: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{path}" fill="{fill}"/>'


def _block(x: float, y: float, width: float, height: float, fill: str, corner: float = 0) -> str:
    size = f'width="{width:.1f}" height="{height:.1f}"' + (f' rx="{corner:.1f}"' if corner else "")
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{fill}"/>'


def _half_disc(x: float, y: float, radius: float, fill: str) -> str:
    """The upper half of a disc with its centre at x, y."""
    arc = f"A{radius:.1f} {radius:.1f} 0 0 1 {x + radius:.1f} {y:.1f}z"
    return f'<path d="M{x - radius:.1f} {y:.1f}{arc}" fill="{fill}"/>'


def _sunburst(box: Box, palette: Palette, chance: Chance) -> str:
    x, y = box.width * chance.between(0.3, 0.7), box.height * chance.between(0.55, 0.8)
    rays, reach = chance.pick((20, 28, 36)), 1200.0
    first, second = chance.pick(((0, 1), (1, 2), (2, 0)))
    drawn = []
    for ray in range(rays):
        start, end = (math.tau * (ray + step) / rays for step in (0.0, 0.5))
        tips = [(x + reach * math.cos(a), y + reach * math.sin(a)) for a in (start, end)]
        drawn.append(_shape([(x, y), *tips], palette.tones[first]))
    radius = min(box.width, box.height) * 0.3
    heart = (palette.ink, palette.ground, palette.tones[second], palette.ground)
    drawn += [_disc(x, y, radius * (1 - 0.22 * i), fill) for i, fill in enumerate(heart)]
    return "".join(drawn)


def _rings(box: Box, palette: Palette, chance: Chance) -> str:
    x, y = box.width * chance.pick((0.0, 0.5, 1.0)), box.height * chance.pick((0.45, 1.0))
    fills = (palette.tones[0], palette.ground, palette.tones[1], palette.ink, palette.tones[2])
    step = chance.pick((34, 46, 60))
    count = int(math.hypot(box.width, box.height) / step)
    return "".join(_disc(x, y, step * i, fills[i % len(fills)]) for i in range(count, 0, -1))


def _tiles(box: Box, palette: Palette, chance: Chance) -> str:
    columns = chance.pick((3, 4, 5))
    side = box.width / columns
    colours = (palette.ground, *palette.tones, palette.ink)
    drawn = []
    for row in range(math.ceil(box.height / side)):
        for column in range(columns):
            back, front = chance.below(5), 1 + chance.below(4)
            fill = colours[(back + front) % 5]
            drawn.append(_tile(column * side, row * side, side, (colours[back], fill), chance))
    return "".join(drawn)


def _tile(x: float, y: float, side: float, fills: tuple[str, str], chance: Chance) -> str:
    back, front = fills
    kind, turn = chance.below(5), chance.below(4) * 90
    inner = (
        f'<path d="M0 0H{side:.1f}A{side:.1f} {side:.1f} 0 0 1 0 {side:.1f}z" fill="{front}"/>',
        _shape([(0, 0), (side, 0), (0, side)], front),
        _disc(side / 2, side / 2, side / 2, front) + _disc(side / 2, side / 2, side / 5, back),
        "".join(_half_disc(side / 2, side * part, side / 2, front) for part in (0.5, 1)),
        "".join(_block(0, side * i / 4, side, side / 8 + 0.5, front) for i in range(4)),
    )[kind]
    place = f"translate({x:.1f} {y:.1f}) rotate({turn} {side / 2:.1f} {side / 2:.1f})"
    return f'<g transform="{place}">{_block(-0.3, -0.3, side + 0.6, side + 0.6, back)}{inner}</g>'


def _ridges(box: Box, palette: Palette, chance: Chance) -> str:
    pitch, sky = 27.0, box.height * chance.between(0.25, 0.4)
    sun = _disc(box.width * chance.between(0.3, 0.7), sky, sky * 0.72, palette.tones[1])
    drawn = [_block(0, 0, box.width, box.height, palette.tones[0]), sun]
    for row in range(math.ceil((box.height - sky) / pitch) + 2):
        peaks = [(chance.between(0.2, 0.8), chance.between(15, 90)) for _ in range(5)]
        base = sky + pitch * row
        path = " ".join(f"{x},{base - _ridge(x / box.width, peaks):.1f}" for x in range(-4, 613, 8))
        line = f'stroke="{palette.ink}" stroke-width="3"'
        drawn.append(f'<polygon points="{path} 620,2e3 -9,2e3" fill="{palette.ground}" {line}/>')
    return "".join(drawn)


def _ridge(x: float, peaks: list[tuple[float, float]]) -> float:
    return sum(height * math.exp(-(((x - at) / 0.055) ** 2)) for at, height in peaks) * 0.8


def _halftone(box: Box, palette: Palette, chance: Chance) -> str:
    step = 30.0
    x0, y0 = box.width * chance.between(0.2, 0.8), box.height * chance.between(0.3, 0.7)
    far = math.hypot(max(x0, box.width - x0), max(y0, box.height - y0))
    drawn = [_disc(x0, y0, min(box.width, box.height) * 0.44, palette.tones[0])]
    for row in range(int(box.height / step) + 2):
        for column in range(int(box.width / step) + 2):
            x, y = (column + row % 2 / 2) * step, row * step
            near = 1 - math.hypot(x - x0, y - y0) / far
            drawn.append(_disc(x, y, step * 0.62 * near**1.5 + 0.8, palette.ink))
    return "".join(drawn)


def _levels(box: Box, palette: Palette, chance: Chance) -> str:
    columns = chance.pick((7, 9, 12))
    pitch = box.width / columns
    fills = (*palette.tones, palette.ink)
    drawn, swing = [], chance.between(0, math.tau)
    for column in range(columns):
        wave = 0.5 + 0.38 * math.sin(swing + column * 0.9)
        height = box.height * min(0.98, max(0.12, wave + chance.between(-0.15, 0.15)))
        x, width, fill = column * pitch + pitch * 0.1, pitch * 0.8, chance.below(4)
        for part, colour in ((1.0, fills[fill]), (chance.between(0.3, 0.7), fills[fill - 1])):
            top = box.height - height * part
            drawn.append(_block(x, top, width, height + pitch, colour, width / 2))
    return "".join(drawn)


def _stripes(box: Box, palette: Palette, chance: Chance) -> str:
    lean = chance.pick((-38, -24, 30, 45))
    fills = (*palette.tones, palette.ground, palette.ink)
    x, drawn = -700.0, []
    while x < 700:
        width = chance.pick((14, 28, 52, 90))
        drawn.append(_block(x, -900, width + 1, 1800, chance.pick(fills)))
        x += width
    middle = f"translate({box.width / 2:.0f} {box.height / 2:.0f})"
    radius = min(box.width, box.height) * chance.between(0.26, 0.36)
    tone = chance.pick(palette.tones)
    heart = _disc(0, 0, radius, palette.ground) + _disc(0, 0, radius * 0.82, tone)
    return f'<g transform="{middle}"><g transform="rotate({lean})">{"".join(drawn)}</g>{heart}</g>'


def _record(box: Box, palette: Palette, chance: Chance) -> str:
    x, y = box.width * chance.pick((0.28, 0.5, 0.78)), box.height * chance.pick((0.4, 0.5))
    radius = min(max(box.width, box.height) * 0.46, 330)
    label = chance.pick(palette.tones)
    back = chance.pick([tone for tone in palette.tones if tone != label])
    grooves = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius * (0.42 + 0.07 * i):.1f}" fill="none" '
        f'stroke="{palette.ground}" stroke-width="{1.5 + i % 3}"/>'
        for i in range(8)
    )
    centre = _disc(x, y, radius * 0.34, label) + _disc(x, y, radius * 0.05, palette.ground)
    half = _block(0, box.height / 2, box.width, box.height, back)
    return half + _disc(x, y, radius, palette.ink) + grooves + centre


def _waves(box: Box, palette: Palette, chance: Chance) -> str:
    fills = (palette.tones[0], palette.ink, palette.tones[1], palette.ground, palette.tones[2])
    bands, length = chance.pick((7, 9, 11)), chance.between(260, 520)
    sun = box.width * chance.between(0.25, 0.75), box.height * 0.3
    drawn = [_disc(*sun, min(box.width, box.height) * 0.26, palette.tones[2])]
    for band in range(bands):
        base, shift = box.height * (0.3 + 0.75 * band / bands), chance.between(0, math.tau)
        crest = chance.between(14, 34)
        points = [
            (x, base + crest * math.sin(x * math.tau / length + shift))
            for x in range(0, int(box.width) + 15, 15)
        ]
        drawn.append(_shape([(0, box.height), *points, (box.width, box.height)], fills[band % 5]))
    return "".join(drawn)


BROAD: tuple[Motif, ...] = (_sunburst, _rings, _stripes, _record, _waves)
FINE: tuple[Motif, ...] = (_tiles, _ridges, _halftone, _levels)
