"""Every text for people is there in both languages, with the same parts to fill in.

Spanish has a variant for Latin America, which must have all that is said differently there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tests.shopfront import Shopfront
from tmt.core.i18n import CATALOGUES, choose_spanish, gettext, ngettext, use_locale

pytestmark = pytest.mark.databases("sqlite")

ROOT = Path(__file__).parent.parent
METHODS = [
    ("**/sandbox/**", "ignore"),
    ("**.py", "python"),
    ("**.html", "jinja2"),
    ("**.txt", "jinja2"),
]
KEYWORDS: dict[str, Any] = {"_": None, "gettext": None, "ngettext": (1, 2)}
FIELDS = re.compile(r"%\((\w+)\)[sd]")
# What Latin America says differently: the ticket and what agrees with it, a few other words, and
# the tense of what has just happened.
OF_SPAIN = re.compile(
    r"\b(entradas?|agotadas?|reservadas?|últimas|válidas?|suspendidas?|móvil|añadir|importe"
    r"|reclamación|caduc\w+|(he|ha|hemos|han) \w+(ado|ido|cho|to))\b",
    re.IGNORECASE,
)


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
def catalogue(name: str) -> dict[str | tuple[str, ...], Any]:
    with (CATALOGUES / f"{name}.po").open("rb") as file:
        return {message.id: message.string for message in read_po(file) if message.id}


def spanish() -> dict[str | tuple[str, ...], Any]:
    return catalogue("es")


def latin_american() -> dict[str | tuple[str, ...], Any]:
    return catalogue("es_419")


def forms(text: str | tuple[str, ...]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def test_texts_are_found_at_all() -> None:
    assert len(used()) > 150


def test_every_text_is_there_in_spanish() -> None:
    missing = {message: place for message, place in used().items() if not spanish().get(message)}
    assert missing == {}


def test_no_text_is_left_over() -> None:
    assert set(spanish()) - set(used()) == set()


@pytest.mark.parametrize("name", ["es", "es_419"])
def test_both_languages_fill_in_the_same(name: str) -> None:
    for message, translated in catalogue(name).items():
        fields = {field for text in forms(message) for field in FIELDS.findall(text)}
        for text in forms(translated):
            assert set(FIELDS.findall(text)) <= fields, message
        assert {f for text in forms(translated) for f in FIELDS.findall(text)} == fields, message


def test_latin_america_has_its_own_text_where_spain_says_it_differently() -> None:
    of_spain = {
        message
        for message, translated in spanish().items()
        if any(OF_SPAIN.search(text) for text in forms(translated))
    }
    assert len(of_spain) > 50
    assert of_spain - set(latin_american()) == set()


def test_latin_america_says_nothing_as_spain_does() -> None:
    told = {
        text
        for translated in latin_american().values()
        for text in forms(translated)
        if OF_SPAIN.search(text)
    }
    assert told == set()


def test_the_variant_has_only_what_differs() -> None:
    assert set(latin_american()) - set(spanish()) == set()
    same = [m for m, text in latin_american().items() if text == spanish()[m]]
    assert same == []


@pytest.fixture
def in_latin_america() -> Iterator[None]:
    choose_spanish("es_419")
    yield
    choose_spanish("es")


@pytest.mark.usefixtures("in_latin_america")
def test_a_text_that_does_not_differ_is_the_spanish_one() -> None:
    with use_locale("es"):
        assert gettext("My tickets") == "Mis boletos"
        assert ngettext("Your ticket", "Your %(num)d tickets", 2) == "Tus %(num)d boletos"
        assert gettext("Price") == spanish()["Price"]
    with use_locale("en"):
        assert gettext("My tickets") == "My tickets"


@pytest.mark.parametrize(
    ("settings", "word"), [({"spanish": "es"}, "entradas"), ({"spanish": "es_419"}, "boletos")]
)
def test_the_pages_speak_the_spanish_of_the_setting(
    shopfront: Shopfront, word: str, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: choose_spanish("es"))
    for _again in range(2):
        page = requests.get(shopfront.url, headers={"Accept-Language": "es-MX"}, timeout=10).text
        assert f"Mis {word}" in page
        assert '<html lang="es">' in page
