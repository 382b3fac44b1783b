"""The shop's address: its domain for wallets, and a shop that is mounted under a path."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.shopfront import Shopfront

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"base_url": "https://tickets.example.org/shop", "trusted_proxies": 1}


def run(front: Shopfront, *words: str) -> str:
    return front.app.test_cli_runner().invoke(args=list(words)).output


def test_the_domain_is_registered_for_wallets_and_doctor_knows_it(shopfront: Shopfront) -> None:
    front = shopfront
    assert "tickets.example.org is not registered" in run(front, "doctor")
    for _twice in range(2):
        registered = run(front, "stripe", "register-domain")
        assert "tickets.example.org is registered." in registered
    (domain,) = front.stripe.v1.payment_method_domains.list().data
    assert run(front, "stripe", "domains") == f"* {domain.id}  enabled   tickets.example.org\n"
    assert "is registered for Apple Pay" in run(front, "doctor")
    front.stripe.v1.payment_method_domains.update(domain.id, {"enabled": False})
    assert "tickets.example.org is not registered" in run(front, "doctor")
    run(front, "stripe", "register-domain")
    assert front.stripe.v1.payment_method_domains.retrieve(domain.id).enabled
    assert "not a public domain" in run(front, "stripe", "register-domain", "--domain", "localhost")


@pytest.mark.parametrize(
    ("path", "headers", "prefix"),
    [
        ("/shop/", {}, "/shop"),
        ("/", {}, "/shop"),
        ("/", {"X-Forwarded-Prefix": "/tickets"}, "/tickets"),
    ],
    ids=["path kept", "path taken off", "header"],
)
def test_links_and_languages_stay_under_the_path(
    shopfront: Shopfront, path: str, headers: dict[str, str], prefix: str
) -> None:
    page = requests.get(f"{shopfront.url}{path}", headers=headers, timeout=10)
    assert page.status_code == 200
    assert f'href="{prefix}/events/{shopfront.event.slug}"' in page.text
    assert f'href="{prefix}/language/en?next={prefix}/"' in page.text
    for target, back in ((f"{prefix}/find", f"{prefix}/find"), ("//evil.example", f"{prefix}/")):
        answer = requests.get(
            f"{shopfront.url}/language/en",
            params={"next": target},
            headers=headers,
            allow_redirects=False,
            timeout=10,
        )
        assert answer.headers["Location"] == back
    missing = requests.get(f"{shopfront.url}/nothing", headers=headers, timeout=10)
    assert f'href="{prefix}/"' in missing.text
