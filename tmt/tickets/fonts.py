"""The letters of PDF tickets: bundled fonts, and those of this machine for other scripts.

Open Sans has Latin, Greek and Cyrillic, Inter what that lacks. For Arabic, Chinese and the like a
font is looked for where Linux and macOS have them, and by fontconfig. Of each font only what a
document needs is handed on, as HarfBuzz cuts it out in milliseconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uharfbuzz

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
_FONTCONFIG_TIMEOUT = 5.0
# Shown for a letter that no font has: an empty square.
UNKNOWN_LETTER = 0x25A1
# Cut out once for all: what labels, dates and most names need.
_USUAL = frozenset([*range(0x20, 0x7F), *range(0xA0, 0x250), *range(0x2010, 0x2040), 0x20AC])
# They belong to the letters beside them, whose font must have them.
_JOINERS = frozenset((0x200C, 0x200D))
# Letters whose shape or place depends on their neighbours, also from right to left.
_SHAPED = re.compile(
    "[\u0300-\u036f\u0590-\u109f\u1200-\u1dff\ua8e0-\ua8ff\ufb1d-\ufdff\ufe70-\ufeff]"
)


@dataclass(frozen=True)
class FontFile:
    """A font on this machine; `index` is its place in a collection."""

    path: Path
    index: int = 0


@dataclass(frozen=True)
class Face:
    """The regular and the bold font that a document takes letters from; they may be the same."""

    name: str
    regular: FontFile
    bold: FontFile


@dataclass(frozen=True)
class _Script:
    """Letters of one script: the class of a pattern, Noto's file, a language of it, a package.

    `index` is that of the language in a collection.
    """

    name: str
    letters: str
    file: str
    language: str
    package: str = "fonts-noto-core"
    index: int = 0

    def has(self, letter: str) -> bool:
        return re.match(f"[{self.letters}]", letter) is not None


def _noto(name: str, first: int, last: int, language: str, more: str = "") -> _Script:
    stem = f"NotoSans{name}-Regular.ttf"
    return _Script(name, f"{chr(first)}-{chr(last)}{more}", stem, language)


_HAN = (
    "\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff00-\uffef\U00020000-\U0003ffff"
)
_CJK = "NotoSansCJK-Regular.ttc"
_JAPANESE = _Script("Japanese", _HAN, _CJK, "ja", "fonts-noto-cjk", 0)
_KOREAN = _Script("Korean", _HAN, _CJK, "ko", "fonts-noto-cjk", 1)
_CHINESE = _Script("Chinese", _HAN, _CJK, "zh-cn", "fonts-noto-cjk", 2)
_SCRIPTS = (
    _noto("Armenian", 0x530, 0x58F, "hy"),
    _noto("Hebrew", 0x590, 0x5FF, "he", "\ufb1d-\ufb4f"),
    _noto("Arabic", 0x600, 0x6FF, "ar", "\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff"),
    _noto("Devanagari", 0x900, 0x97F, "hi", "\ua8e0-\ua8ff"),
    _noto("Bengali", 0x980, 0x9FF, "bn"),
    _noto("Gurmukhi", 0xA00, 0xA7F, "pa"),
    _noto("Gujarati", 0xA80, 0xAFF, "gu"),
    _noto("Oriya", 0xB00, 0xB7F, "or"),
    _noto("Tamil", 0xB80, 0xBFF, "ta"),
    _noto("Telugu", 0xC00, 0xC7F, "te"),
    _noto("Kannada", 0xC80, 0xCFF, "kn"),
    _noto("Malayalam", 0xD00, 0xD7F, "ml"),
    _noto("Sinhala", 0xD80, 0xDFF, "si"),
    _noto("Thai", 0xE00, 0xE7F, "th"),
    _noto("Lao", 0xE80, 0xEFF, "lo"),
    _noto("Myanmar", 0x1000, 0x109F, "my"),
    _noto("Georgian", 0x10A0, 0x10FF, "ka"),
    _noto("Ethiopic", 0x1200, 0x139F, "am"),
    _noto("Khmer", 0x1780, 0x17FF, "km"),
)


@dataclass(frozen=True)
class Missing:
    """A script that no font here has, and Debian's package that has it (empty: not known)."""

    script: str
    package: str


@dataclass(frozen=True)
class Letters:
    """What a document is written with: its fonts by preference, and what none of them has."""

    faces: Sequence[Face]
    code_points: frozenset[int]
    missing: Sequence[Missing]

    def subset(self, font: FontFile) -> bytes:
        """The font as a file with nothing but the document's letters."""
        return _subset(font, self.code_points & _coverage(font))


def needs_shaping(text: str) -> bool:
    """Whether letters of the text join, stack, or run from right to left."""
    return _SHAPED.search(text) is not None


def is_right_to_left(text: str) -> bool:
    """Whether a text as a whole runs from right to left, which its first letter decides."""
    directions = map(unicodedata.bidirectional, text)
    return next((d in ("R", "AL") for d in directions if d in ("L", "R", "AL")), False)


def letters_of(texts: Iterable[str]) -> Letters:
    """The fonts for these texts. Looks for fonts once for each script and process."""
    written = unicodedata.normalize("NFC", "".join(texts))
    # Headings are in capitals; letters that no font has may have a plain form.
    forms = written + written.upper() + unicodedata.normalize("NFKC", written)
    needed = frozenset(map(ord, forms))
    basic = _coverage(_open_sans().regular) - _JOINERS
    if needed - basic:
        needed |= {UNKNOWN_LETTER}
    faces, covered = [_open_sans()], (needed | _USUAL) & basic
    candidates: list[Callable[[], Face | None]] = [_inter] if needed - basic else []
    candidates += [partial(_face_of, script) for script in _scripts_of(needed - basic)]
    for find in candidates:
        face = find()
        letters = needed & _coverage(face.regular) - covered if face else frozenset()
        if face and letters:
            faces.append(face)
            covered |= letters
    lost = [letter for letter in set(written) if not _is_printed(letter, covered)]
    scripts = [Missing(script.name, script.package) for script in _scripts_of(map(ord, lost))]
    if lost and not scripts:
        scripts.append(Missing("other", ""))
    return Letters(faces, covered, scripts)


def _is_printed(letter: str, code_points: frozenset[int]) -> bool:
    """Whether a letter is there, also in its plain form; symbols are left out and not missed."""
    plain = unicodedata.normalize("NFKC", letter)
    if ord(letter) in code_points or all(ord(part) in code_points for part in plain):
        return True
    return unicodedata.category(letter)[0] not in "LN"


def _scripts_of(code_points: Iterable[int]) -> list[_Script]:
    """The scripts of these letters; Han is Chinese unless Japanese or Korean is written too."""
    letters = [chr(code_point) for code_point in sorted(code_points)]
    han = _CHINESE
    if any("\u3040" <= letter <= "\u30ff" for letter in letters):
        han = _JAPANESE
    elif any("\uac00" <= letter <= "\ud7a3" for letter in letters):
        han = _KOREAN
    return [script for script in (*_SCRIPTS, han) if any(map(script.has, letters))]


@cache
def _open_sans() -> Face:
    folder = _package_folder("ttf_opensans") / "ttf"
    bold = FontFile(folder / "OpenSans-Bold.ttf")
    return Face("letters", FontFile(folder / "OpenSans-Regular.ttf"), bold)


@cache
def _inter() -> Face:
    font = FontFile(_package_folder("fontpkg_inter") / "files" / "Inter[opsz,wght].ttf")
    return Face("symbols", font, font)


def _package_folder(name: str) -> Path:
    return Path(str(resources.files(name)))


@cache
def _face_of(script: _Script) -> Face | None:
    """The fonts of a script; the bold one is the regular one where there is no other."""
    paths = _installed()
    regular = paths.get(script.file)
    if regular:
        bold = paths.get(script.file.replace("Regular", "Bold"), regular)
        return Face(script.name, FontFile(regular, script.index), FontFile(bold, script.index))
    font = _ask_fontconfig(script.language)
    # Fontconfig always has an answer, and be it a font without these letters.
    if font and any(map(script.has, map(chr, _coverage(font)))):
        return Face(script.name, font, font)
    return None


@cache
def _installed() -> dict[str, Path]:
    """The paths of Noto's fonts on this machine, by file name."""
    return {
        name: Path(folder) / name
        for top in _FOLDERS
        for folder, _folders, names in os.walk(Path(top).expanduser())
        for name in names
        if name.startswith("NotoSans")
    }


def _ask_fontconfig(language: str) -> FontFile | None:
    program = shutil.which("fc-match")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - its own words, and no shell
            [program, "--format=%{file}\n%{index}", f"sans-serif:lang={language}"],
            capture_output=True,
            text=True,
            timeout=_FONTCONFIG_TIMEOUT,
            check=True,
        )
        path, index = answer.stdout.split("\n")
        # The upper half of the number names an instance of a variable font.
        font = FontFile(Path(path), int(index) & 0xFFFF)
        return font if _coverage(font) else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


@cache
def _open(font: FontFile) -> uharfbuzz.Face:
    import uharfbuzz

    return uharfbuzz.Face(uharfbuzz.Blob.from_file_path(str(font.path)), font.index)


@cache
def _coverage(font: FontFile) -> frozenset[int]:
    return frozenset(_open(font).unicodes)


# Nearly all documents need the same letters of the bundled fonts.
@lru_cache(maxsize=16)
def _subset(font: FontFile, code_points: frozenset[int]) -> bytes:
    import uharfbuzz

    selection = uharfbuzz.SubsetInput()
    selection.unicode_set.update(code_points)
    return bytes(uharfbuzz.subset(_open(font), selection).blob.data)
