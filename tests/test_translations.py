"""Every text for people is there in both languages, with the same parts to fill in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tmt.core.i18n import CATALOGUES

ROOT = Path(__file__).parent.parent
METHODS = [
    ("**/sandbox/**", "ignore"),
    ("**.py", "python"),
    ("**.html", "jinja2"),
    ("**.txt", "jinja2"),
]
KEYWORDS: dict[str, Any] = {"_": None, "gettext": None, "ngettext": (1, 2)}
FIELDS = re.compile(r"%\((\w+)\)[sd]")


@cache
def used() -> dict[str | tuple[str, ...], str]:
    """Each message in code and templates, with a place where it stands."""
    found: dict[str | tuple[str, ...], str] = {}
    for folder in ("templates", "tmt"):
        for name, line, message, _comments, _context in extract_from_dir(
            ROOT / folder, method_map=METHODS, keywords=KEYWORDS
        ):
            found.setdefault(message, f"{folder}/{name}:{line}")
    return found


@cache
def spanish() -> dict[str | tuple[str, ...], Any]:
    with (CATALOGUES / "es.po").open("rb") as file:
        return {message.id: message.string for message in read_po(file) if message.id}


def test_texts_are_found_at_all() -> None:
    assert len(used()) > 150


def test_every_text_is_there_in_spanish() -> None:
    missing = {message: place for message, place in used().items() if not spanish().get(message)}
    assert missing == {}


def test_no_text_is_left_over() -> None:
    assert set(spanish()) - set(used()) == set()


def test_both_languages_fill_in_the_same() -> None:
    for message, translated in spanish().items():
        sources = [message] if isinstance(message, str) else list(message)
        targets = [translated] if isinstance(translated, str) else list(translated)
        fields = {name for text in sources for name in FIELDS.findall(text)}
        for text in targets:
            assert set(FIELDS.findall(text)) <= fields, message
        assert {name for text in targets for name in FIELDS.findall(text)} == fields, message
