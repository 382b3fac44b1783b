"""Error pages: in both languages, in the form the caller reads, also when the database is gone."""

from __future__ import annotations

import pytest
import requests
from sqlalchemy import text

from tests.shopfront import Shopfront

pytestmark = pytest.mark.databases("sqlite")

TEXTS = {
    "es": {404: "Página no encontrada", 405: "No ha funcionado", 503: "Un momento, por favor"},
    "en": {404: "Page not found", 405: "That did not work", 503: "One moment, please"},
}


@pytest.mark.parametrize("language", ["es", "en"])
def test_errors_are_in_the_buyers_language(shopfront: Shopfront, language: str) -> None:
    headers = {"Accept-Language": language}
    missing = requests.get(f"{shopfront.url}/nothing", headers=headers, timeout=10)
    wrong = requests.put(f"{shopfront.url}/", headers=headers, timeout=10)
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert TEXTS[language][404] in missing.text
    assert TEXTS[language][405] in wrong.text
    assert f'<html lang="{language}">' in missing.text
    assert "GET" in wrong.headers["Allow"]


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_error_page_needs_no_database(shopfront: Shopfront, language: str) -> None:
    with shopfront.shop.db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ticket_types RENAME TO elsewhere"))
    headers = {"Accept-Language": language}
    answer = requests.get(f"{shopfront.url}/", headers=headers, timeout=10)
    assert answer.status_code == 503
    assert TEXTS[language][503] in answer.text
    assert answer.headers["Retry-After"] == "10"
    assert requests.get(f"{shopfront.url}/healthz", timeout=10).status_code == 200


def test_a_form_without_its_token_is_refused(shopfront: Shopfront) -> None:
    buyer = shopfront.buyer()
    answer = buyer.place(1, csrf_token="made up")
    assert answer.status_code == 400
    assert shopfront.stock() == (0, 0)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2027-02-30", "x"])
def test_invalid_dates_are_ignored(shopfront: Shopfront, day: str) -> None:
    assert shopfront.buyer().get("/", params={"date": day}).status_code == 200


def test_large_bodies_are_not_read(shopfront: Shopfront) -> None:
    answer = shopfront.buyer().post("/orders/find", {"email": "x" * 100_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/events/concierto", "/events/concierto"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example", "/"),
        ("javascript:alert(1)", "/"),
        ("//[", "/"),
        ("http://[", "/"),
    ],
)
def test_the_language_switch_redirects_only_within_the_site(
    shopfront: Shopfront, target: str, expected: str
) -> None:
    answer = shopfront.buyer().get("/language/en", params={"next": target}, allow_redirects=False)
    assert answer.headers["Location"] == expected
    assert "HttpOnly" in answer.headers["Set-Cookie"]


def test_security_headers(shopfront: Shopfront) -> None:
    answer = shopfront.buyer().get("/events/concierto")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("settings", [{"base_url": "https://tickets.example.org"}])
def test_shops_on_https_have_secure_cookies(shopfront: Shopfront, settings: dict[str, str]) -> None:
    answer = requests.get(
        f"{shopfront.url}/events/concierto", headers={"X-Forwarded-Proto": "https"}, timeout=10
    )
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "settings",
    [{"base_url": "https://tickets.example.org", "trusted_proxies": 1}],
)
def test_hsts_behind_a_trusted_proxy(shopfront: Shopfront, settings: dict[str, str]) -> None:
    answer = requests.get(f"{shopfront.url}/", headers={"X-Forwarded-Proto": "https"}, timeout=10)
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]
