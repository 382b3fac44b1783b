"""A concert poster for every event that has no picture of its own.

The slug picks colours, motif and layout, and the title is set as large as the sheet allows. The
same words give the same poster, byte by byte.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from itertools import product
from operator import mul
from random import Random
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 600, 800, 36
TEXT_WIDTH = WIDTH - 2 * MARGIN
LARGEST_TYPE, SMALL_TYPE = 236.0, 28.0
FONTS = (
    "Avenir Next Condensed, HelveticaNeue-CondensedBold, Bahnschrift, Roboto Condensed, "
    "Arial Narrow, Liberation Sans Narrow, Nimbus Sans Narrow, sans-serif-condensed, sans-serif"
)


class Palette(NamedTuple):
    """Colours of one poster. The ink has a contrast of 4.5 : 1 with the ground and each tone."""

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


class Line(NamedTuple):
    """One line of the title: its text, type size, width and the height it takes, in pixels."""

    text: str
    size: float
    width: float
    height: float


def draw_poster(title: str, slug: str, *, line: str = "") -> str:
    """Draw the poster of an event as a self-contained SVG document of 600 x 800.

    The slug decides colours, motif and layout; the title (its first 60 words, any script) is set
    in the largest type that fits, the optional line (date, city) is set small at the edge. The
    text has a contrast of at least 4.5 : 1 with its ground. Never raises for any text.
    """
    title, line = _clean(title) or _clean(slug) or "?", _clean(line)
    random = Random(f"poster of {slug}")
    palette, motif = random.choice(PALETTES), random.choice(MOTIFS)
    text_above, capitals = random.random() < 0.5, random.random() < 0.75
    lines = _set_title(title.upper() if capitals else title, room=HEIGHT * random.uniform(0.4, 0.5))
    title_height, line_height = sum(each.height for each in lines), 44 if line else 0
    motif_height = HEIGHT - title_height - line_height - MARGIN - 30
    top = MARGIN + line_height if text_above else motif_height + 30
    words, y = [], top
    for each in lines:
        y += each.height
        # 0.09 em is the gap under a line; textLength keeps the layout whatever font is at hand.
        words.append(
            f'<text x="{MARGIN}" y="{y - 0.09 * each.size:.1f}" font-size="{each.size:.1f}" '
            f'textLength="{each.width:.1f}" lengthAdjust="spacingAndGlyphs">'
            f"{escape(each.text)}</text>"
        )
    if line:
        size = min(SMALL_TYPE, TEXT_WIDTH / max(_width(line), 1))
        baseline = MARGIN + 18 if text_above else HEIGHT - MARGIN
        words.append(
            f'<text x="{MARGIN}" y="{baseline}" font-size="{size:.1f}">{escape(line)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{palette.ground}"/>'
        f'<svg y="{HEIGHT - motif_height if text_above else 0:.0f}" width="{WIDTH}" '
        f'height="{motif_height:.0f}">{motif(motif_height, palette, random)}</svg>'
        f'<g fill="{palette.ink}" font-family="{FONTS}" font-weight="800">{"".join(words)}</g>'
        "</svg>"
    )


def _clean(text: str) -> str:
    """One line of text without what XML forbids (control characters, lone surrogates)."""
    spaced = (" " if char.isspace() else char for char in unicodedata.normalize("NFC", text))
    allowed = (char for char in spaced if unicodedata.category(char) not in ("Cc", "Cs", "Cn"))
    return " ".join("".join(allowed).split())


def _width(text: str) -> float:
    """Width of the text in ems, about as narrow bold fonts draw it."""

    def advance(char: str) -> float:
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

    return sum(map(advance, text))


_WIDE = "\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
# A piece is a word with the blank behind it; scripts without blanks break after every character.
_PIECES = re.compile(rf"[{_WIDE}]\s*|[^\s{_WIDE}]{{1,22}}\s*")


def _set_title(title: str, *, room: float) -> list[Line]:
    """Break the title into lines so that its smallest line is as large as can be."""
    pieces = _PIECES.findall(title)[:60]
    widths = [_width(piece) for piece in pieces]
    layouts = []
    # What so many lines of even length need, and a little more.
    for count, slack in product(range(1, 13), (1, 1.08, 1.2)):
        limit = max(sum(widths) / count * slack, *widths)
        texts, used = [""], 0.0
        for piece, width in zip(pieces, widths, strict=True):
            if texts[-1] and used + width > limit:
                texts, used = [*texts, ""], 0.0
            texts[-1] += piece
            used += width
        layouts.append(_fit([text.rstrip() for text in texts], room))
    return max(layouts, key=lambda lines: (round(min(line.size for line in lines)), -len(lines)))


def _fit(texts: list[str], room: float) -> list[Line]:
    """The lines at the largest sizes that fit the sheet's width and this height."""
    widths = [max(_width(text), 0.2) for text in texts]
    sizes = [min(LARGEST_TYPE, TEXT_WIDTH / width) for width in widths]
    if any(map(str.islower, "".join(texts))):
        sizes = [min(sizes)] * len(sizes)
    # Capitals stand close; marks above a line and letters that reach below it need air.
    heights = [
        0.82 if text.isascii() and text.isupper() else 0.98 if text.isupper() else 1.0
        for text in texts
    ]
    scale = min(1.0, room / sum(map(mul, sizes, heights)))
    return [
        Line(text, size * scale, width * size * scale, height * size * scale)
        for text, size, width, height in zip(texts, sizes, widths, heights, strict=True)
    ]


# Motifs: each fills the sheet's width and the given height with the palette's colours.


def _disc(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}"/>'


def _sunburst(height: float, palette: Palette, random: Random) -> str:
    x, y = WIDTH * random.uniform(0.3, 0.7), height * random.uniform(0.55, 0.8)
    tone, other = random.sample(palette.tones, 2)
    # The dashes of one circle, its line as wide as the circle itself, are the rays.
    rays = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="500" fill="none" stroke="{tone}" '
        f'stroke-width="1000" pathLength="{random.choice((40, 56, 72))}" stroke-dasharray="1"/>'
    )
    radius, fills = min(WIDTH, height) * 0.3, (palette.ink, palette.ground, other, palette.ground)
    return rays + "".join(
        _disc(x, y, radius * (1 - 0.22 * i), fill) for i, fill in enumerate(fills)
    )


def _rings(height: float, palette: Palette, random: Random) -> str:
    x, y = random.choice((0, WIDTH / 2, WIDTH)), height * random.choice((0.45, 1.0))
    fills = (palette.tones[0], palette.ground, palette.tones[1], palette.ink, palette.tones[2])
    step = random.choice((34, 46, 60))
    count = int(math.hypot(WIDTH, height) / step)
    return "".join(_disc(x, y, step * i, fills[i % 5]) for i in range(count, 0, -1))


def _halftone(height: float, palette: Palette, random: Random) -> str:
    x, y = WIDTH * random.uniform(0.2, 0.8), height * random.uniform(0.3, 0.7)
    far = math.hypot(max(x, WIDTH - x), max(y, height - y))
    drawn = [_disc(x, y, min(WIDTH, height) * 0.44, palette.tones[0])]
    for row, column in product(range(int(height / 30) + 2), range(WIDTH // 30 + 2)):
        dot = (column + row % 2 / 2) * 30, row * 30
        near = max(0.0, 1 - math.dist(dot, (x, y)) / far)
        drawn.append(_disc(*dot, 18.6 * near**1.5 + 0.8, palette.ink))
    return "".join(drawn)


def _levels(height: float, palette: Palette, random: Random) -> str:
    columns, swing = random.choice((7, 9, 12)), random.uniform(0, math.tau)
    pitch, fills, drawn = WIDTH / columns, (*palette.tones, palette.ink), []
    for column in range(columns):
        wave = 0.5 + 0.38 * math.sin(swing + column * 0.9) + random.uniform(-0.15, 0.15)
        tall = height * min(0.98, max(0.12, wave))
        short, fill = tall * random.uniform(0.3, 0.7), random.randrange(4)
        for level, colour in ((tall, fills[fill]), (short, fills[fill - 1])):
            drawn.append(
                f'<rect x="{(column + 0.1) * pitch:.1f}" y="{height - level:.1f}" '
                f'width="{0.8 * pitch:.1f}" height="{height:.1f}" rx="{0.4 * pitch:.1f}" '
                f'fill="{colour}"/>'
            )
    return "".join(drawn)


def _waves(height: float, palette: Palette, random: Random) -> str:
    fills = (palette.tones[0], palette.ink, palette.tones[1], palette.ground, palette.tones[2])
    bands, length = random.choice((7, 9, 11)), random.uniform(260, 520)
    sun_x = WIDTH * random.uniform(0.25, 0.75)
    drawn = [_disc(sun_x, height * 0.3, min(WIDTH, height) * 0.26, palette.tones[2])]
    for band in range(bands):
        base, shift = height * (0.3 + 0.75 * band / bands), random.uniform(0, math.tau)
        crest = random.uniform(14, 34)
        edge = (
            (x, base + crest * math.sin(x * math.tau / length + shift)) for x in range(0, 615, 15)
        )
        path = " ".join(f"{x},{y:.1f}" for x, y in edge)
        drawn.append(f'<polygon points="0,900 {path} 600,900" fill="{fills[band % 5]}"/>')
    return "".join(drawn)


Motif = Callable[[float, Palette, Random], str]
MOTIFS: tuple[Motif, ...] = (_sunburst, _rings, _halftone, _levels, _waves)
