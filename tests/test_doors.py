"""Who may open what: hosts, proxies in front, forms from other sites, headers, cookies."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.buyer import hidden_fields
from tests.shopfront import Shopfront
from tmt.factory import create_app
from tmt.operations import public_address
from tmt.operations.doctor import Level

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PUBLIC = {"base_url": "https://tickets.example.org"}
LOCAL: dict[str, Any] = {}
ANNOUNCING = [
    *("X_FORWARDED", "X_FORWARDED_PREFIX", "X_FORWARDED_SSL", "CLIENT_IP", "X_CLUSTER_CLIENT_IP"),
    *("CF_RAY", "CDN_LOOP", "X_ORIGINAL_HOST", "FLY_REGION", "FASTLY_FF", "X_AZURE_CLIENTIP"),
]
PROXIES = [{"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, {"HTTP_VIA": "1.1 proxy"}]


def get(front: Shopfront, path: str, **environ: str) -> Any:
    base = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8000"} | environ
    return front.app.test_client().get(path, environ_overrides=base)


@pytest.mark.parametrize(
    ("settings", "environ", "path", "status"),
    [
        (LOCAL, {"HTTP_HOST": "rebound.example"}, "/", 400),
        (LOCAL, {"HTTP_HOST": "rebound.example"}, "/healthz", 400),
        (LOCAL, {"HTTP_HOST": "rebound.example"}, "/static/js/pay.js", 400),
        (LOCAL, {"HTTP_HOST": "localhost:5000"}, "/", 200),
        (LOCAL, {"HTTP_HOST": "10.0.0.7"}, "/", 400),
        (LOCAL | {"trusted_hosts": ("web",)}, {"HTTP_HOST": "web:8000"}, "/", 200),
        (PUBLIC, {"HTTP_HOST": "Tickets.Example.org:443", "REMOTE_ADDR": "192.0.2.1"}, "/", 200),
        (PUBLIC, {"HTTP_HOST": "localhost", "REMOTE_ADDR": "192.0.2.1"}, "/", 400),
        (PUBLIC, {"HTTP_HOST": "10.0.0.7:8000", "REMOTE_ADDR": "10.0.0.2"}, "/readyz", 200),
        (PUBLIC, {}, "/", 200),
    ],
)
def test_only_the_shops_hosts_are_served(
    shopfront: Shopfront, environ: dict[str, str], path: str, status: int
) -> None:
    answer = get(shopfront, path, **environ)
    assert answer.status_code == status
    if status == 400:
        assert "TMT_TRUSTED_HOSTS" in answer.text


@pytest.mark.parametrize(
    ("settings", "environ", "status"),
    [
        (LOCAL, {}, 200),
        *((LOCAL, environ, 400) for environ in PROXIES),
        *((LOCAL, {f"HTTP_{name}": "x"}, 400) for name in ANNOUNCING),
        (LOCAL, {"HTTP_ORIGIN": "https://evil.example"}, 404),
        (LOCAL, {"HTTP_REFERER": "https://localhost.evil.example/"}, 404),
        (LOCAL, {"HTTP_REFERER": "http://localhost:3000/", "HTTP_ORIGIN": "null"}, 200),
        (LOCAL, {"HTTP_X_REQUEST_ID": "1", "HTTP_X_CLIENT": "x"}, 200),
        (LOCAL, {"SERVER_PROTOCOL": "HTTP/1.0"}, 404),
        (LOCAL | {"trusted_proxies": 1}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, 404),
        (PUBLIC, {}, 404),
        (PUBLIC | {"metrics_token": "x"}, {"HTTP_AUTHORIZATION": "Bearer x"}, 200),
    ],
)
def test_metrics_do_not_open_through_a_local_proxy(
    shopfront: Shopfront, environ: dict[str, str], status: int
) -> None:
    assert get(shopfront, "/metrics", **environ).status_code == status


@pytest.mark.parametrize("settings", [PUBLIC | {"trusted_proxies": 1}])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "https://tickets.example.org", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "null"}, 303),
        ({"Origin": "https://evil.example"}, 400),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 400),
    ],
)
def test_a_form_needs_no_referer_but_must_not_come_from_elsewhere(
    shopfront: Shopfront, headers: dict[str, str], status: int
) -> None:
    client = shopfront.app.test_client()
    https = {"base_url": "https://tickets.example.org", "environ_base": {"REMOTE_ADDR": "::1"}}
    page = client.get(f"/events/{shopfront.event.slug}", **https)
    assert page.headers["Set-Cookie"].startswith("__Host-tmt=")
    assert {"Secure", "Path=/"} <= set(page.headers["Set-Cookie"].split("; "))
    form = hidden_fields(page.text) | {"name": "Ana", "email": "ana@example.com"}
    form[f"quantity-{shopfront.event.ticket_types[0].id}"] = "1"
    answer = client.post(
        f"/events/{shopfront.event.slug}/orders", data=form, headers=headers, **https
    )
    assert answer.status_code == status
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_metrics_count_odd_methods_together(shopfront: Shopfront) -> None:
    for method in ("BREW", "WHEN"):
        requests.request(method, shopfront.url, timeout=20)
    counted = requests.get(f"{shopfront.url}/metrics", timeout=20).text
    assert 'method="other"' in counted
    assert "BREW" not in counted


@pytest.mark.parametrize(
    ("settings", "sources"),
    [
        (PUBLIC | {"stripe_api_base": ""}, "https://link.com https://*.link.com"),
        ({"stripe_api_base": "http://[::1]:9"}, "frame-src http:;"),
        ({"base_url": "http://[::1]:9", "stripe_api_base": "http://[::1]:9"}, "frame-src 'self';"),
    ],
)
def test_the_policy_names_the_origins_of_stripe_and_link(
    shopfront: Shopfront, sources: str
) -> None:
    answer = get(shopfront, "/")
    assert sources in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"


@pytest.mark.parametrize("settings", [{"contact": "seguridad@example.org"}])
def test_strangers_find_the_contact_and_search_engines_no_orders(shopfront: Shopfront) -> None:
    contact = get(shopfront, "/.well-known/security.txt").text
    assert "Contact: mailto:seguridad@example.org\nExpires: 2" in contact
    assert get(shopfront, "/robots.txt").text == "User-agent: *\nDisallow: /\n"
    order = shopfront.place_directly(1)
    for path in ("", "/pay", "/status"):
        answer = get(shopfront, f"/orders/{order.token}{path}")
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"


class TestDoctorsProbe:
    """`check_public_address`, judging what a server in front would have made of its request."""

    @pytest.mark.parametrize(
        ("trusted", "changed", "level", "text"),
        [
            (1, {}, Level.GREEN, "through 1 proxies"),
            (1, {"client": "192.0.2.77"}, Level.RED, "believed as a client sends it"),
            (0, {}, Level.YELLOW, "none is trusted"),
            (1, {"forwarded_for": "192.0.2.77, 198.51.100.1, 10.0.0.1"}, Level.YELLOW, "2 proxies"),
            (1, {"scheme": "http"}, Level.YELLOW, "arrive as http"),
            (1, {"host": "127.0.0.1:8000"}, Level.YELLOW, "arrive for 127.0.0.1:8000"),
            (1, {"seconds": 1.0}, Level.YELLOW, "slow clients reach the server's threads"),
        ],
    )
    def test_what_it_says(
        self,
        shopfront: Shopfront,
        trusted: int,
        changed: dict[str, Any],
        level: Level,
        text: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings = shopfront.shop.settings.model_copy(update=PUBLIC | {"trusted_proxies": trusted})
        arrival = {"client": "198.51.100.1", "host": "tickets.example.org", "scheme": "https"}
        arrival |= {"forwarded_for": "192.0.2.77, 198.51.100.1", "headers": [], "seconds": 0.0}
        answer = 200, json.dumps({"arrival": arrival | changed})
        monkeypatch.setattr(public_address, "_ask", lambda _settings: answer)
        finding = public_address.check_public_address(settings)
        assert (finding.level, text in finding.text) == (level, True), finding

    def test_nobody_else_is_told(self, shopfront: Shopfront) -> None:
        for signature in ("", "arrival", "arrival.x.y"):
            headers = {public_address.PROBE_HEADER: signature}
            answer = requests.post(f"{shopfront.url}/healthz", headers=headers, timeout=20)
            assert answer.status_code == 404
        # The development server reads a body only when a page asks for it.
        assert "slow clients" in public_address.check_public_address(shopfront.shop.settings).text


def test_a_renewed_link_is_the_only_one_that_opens_the_order(shopfront: Shopfront) -> None:
    order = shopfront.place_directly(1)
    result = shopfront.app.test_cli_runner().invoke(args=["order", "renew-link", order.code])
    address = result.output.splitlines()[-1]
    assert requests.get(address, timeout=20).ok
    old = get(shopfront, f"/orders/{order.token}", HTTP_ACCEPT_LANGUAGE="en")
    assert (old.status_code, "a newer one has replaced it" in old.text) == (404, True)
    unknown = shopfront.app.test_cli_runner().invoke(args=["order", "renew-link", "NOSUCH"])
    assert (unknown.exit_code, unknown.output) == (1, "Error: no order NOSUCH\n")


@pytest.mark.parametrize(
    "name",
    [
        *("Ana http://x", "www.evil.example", "Win evil.com", "x.yz/pay", "evil.es"),
        *("EVIL.ES pulsa", "evil.co.uk", "Dr.Ana.es", "dr.es", "mailto:a", "ana@evil"),
        *("192.0.2.1", "пример.рф", "evil.xn--p1ai", "evil。com", "evil．es", "ana＠x"),
        *("evil.\u200bes", "ww\u00adw.evil", "ｅｖｉｌ.e\ufe0fs", "http:\u200b//10.1.2.3"),
        *("evil․es", "evil.c\u200com"),
    ],
)
def test_names_carry_no_addresses(shopfront: Shopfront, name: str) -> None:
    buyer = shopfront.buyer()
    holder = f"holder-{shopfront.event.ticket_types[0].id}"
    for field in ("name", holder):
        assert buyer.place(1, **{field: name}).status_code == 422
    assert buyer.place(1, name="J.R.R. Tolkien Jr.", **{holder: "Dr.Ana O'Neil"}).status_code == 303


@pytest.mark.parametrize(
    "name",
    ["St.John", "Ma.Carmen", "J.R.Smith", "José Mª Pérez, Ph.D.", "علی‌رضا", "M.A. Ruiz y Co."],
)
def test_names_with_dots_are_names(shopfront: Shopfront, name: str) -> None:
    assert shopfront.buyer().place(1, name=name).status_code == 303


@pytest.mark.parametrize("settings", [{"confirms_per_order": "2 per hour"}])
def test_a_pdf_is_not_drawn_without_end(shopfront: Shopfront) -> None:
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    path = f"/orders/{order.token}/tickets.pdf"
    assert [get(shopfront, path).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(("mode", "after"), [(0o755, 0o750), (0o707, 0o700), (0o770, 0o770)])
def test_a_folder_of_an_earlier_version_is_closed_to_others(
    shopfront: Shopfront, mode: int, after: int
) -> None:
    settings = shopfront.shop.settings
    settings.instance.mkdir(exist_ok=True)
    settings.instance.chmod(mode)
    create_app(settings.model_dump())
    assert settings.instance.stat().st_mode & 0o777 == after


def test_files_are_for_their_owner_only(shopfront: Shopfront) -> None:
    shopfront.buyer().reserve(1)
    shopfront.run_jobs()
    instance = shopfront.shop.settings.instance
    assert instance.stat().st_mode & 0o077 == 0
    files = [path for path in instance.rglob("*") if path.stat().st_mode & 0o077]
    assert not files
