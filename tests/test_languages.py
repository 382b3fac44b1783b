"""Which language a page is written in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.shopfront import add_event, overrides
from tmt.factory import create_app


@pytest.fixture
def client(sqlite_url: str, tmp_path: Path, settings: dict[str, Any]) -> FlaskClient:
    """A browser without a language, at a shop with an event of each."""
    nowhere = {"base_url": "http://localhost", "stripe_api_base": "http://127.0.0.1:9"}
    app = create_app(overrides(sqlite_url, tmp_path, **nowhere | settings))
    for language in ("es", "en"):
        add_event(app.extensions["tmt"].shop.db, slug=language, language=language)
    return app.test_client()


def language_of(client: FlaskClient, path: str, header: str | None) -> str:
    headers = {} if header is None else {"Accept-Language": header}
    found = re.search('<html lang="(..)">', client.get(path, headers=headers).text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("es-MX", "es"),
        ("en-GB,es;q=0.8", "en"),
        ("de-DE,de;q=0.9", "en"),
        ("de,es;q=0.5,en;q=0.3", "es"),
        ("ca,fr;q=0.8", "es"),
        ("es;q=0,de", "en"),
        ("x" * 5000, "en"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/events/es", "/events/en"])
def test_the_browser_says_the_language(
    client: FlaskClient, path: str, header: str, language: str
) -> None:
    assert language_of(client, path, header) == language


@pytest.mark.parametrize("header", [None, "", "*"])
@pytest.mark.parametrize("settings", [{"language": "en"}, {"language": "es"}])
def test_without_a_wish_the_event_says_it_and_elsewhere_the_setting(
    client: FlaskClient, header: str | None, settings: dict[str, Any]
) -> None:
    assert language_of(client, "/", header) == settings["language"]
    assert language_of(client, "/events/es", header) == "es"
    assert language_of(client, "/events/en", header) == "en"
    assert language_of(client, "/", header) == settings["language"]
    client.set_cookie("language", "en")
    assert language_of(client, "/events/es", header) == "en"
