"""The templates of mails, in both languages, as text and as HTML."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jinja2
import pytest

from tests.core.test_mail import MESSAGE, build_and_parse
from tmt.core.i18n import use_locale
from tmt.core.templates import TEMPLATES, prepare

EVENT = {
    "title": "Rock & <Roll>",
    "starts_at": datetime(2026, 12, 12, 20, tzinfo=UTC),
    "time_zone": "Europe/Madrid",
    "venue": "Teatro Circo Price",
    "address": "",
    "city": "Madrid",
}
CONTEXT = {
    "shop_name": "Sala Mirador",
    "seller": {},
    "order_url": "https://shop.example/orders/token",
    "test": False,
    "amount": 15050,
    "currency": "eur",
    "reason": "too_late",
    "by_hand": "",
    "pay_url": "https://shop.example/orders/token/pay",
    "methods": ["card"],
    "more_time": True,
    "order": {
        "code": "7KQ2MWXA",
        "name": "María <b>",
        "total": 15050,
        "currency": "eur",
        "lines": [{"name": "Platea", "quantity": 2, "total": 15050, "reason": ""}],
        "event": EVENT,
        "expires_at": EVENT["starts_at"],
    },
    "tickets": [
        {"number": 1, "type_name": "Platea", "holder": "Łukasz Żółć"},
        {"number": 2, "type_name": "Platea", "holder": ""},
    ],
    "orders": [
        {
            "code": "7KQ2MWXA",
            "event_title": EVENT["title"],
            "starts_at": EVENT["starts_at"],
            "time_zone": EVENT["time_zone"],
            "status_text": "Paid",
            "url": "https://shop.example/orders/token",
        }
    ],
}


def render(name: str, locale: str = "en", **changes: Any) -> str:
    """The rendered mail template; a name that the context lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    prepare(environment)
    with use_locale(locale):
        text = environment.get_template(f"mail/{name}").render(
            CONTEXT | {"locale": locale} | changes
        )
    return text.replace("\u202f", " ").replace("\xa0", " ")


@pytest.mark.parametrize(
    "kind", ["confirmation", "find_orders", "payment_declined", "refunded_late"]
)
class TestEveryMail:
    @pytest.mark.parametrize("locale", ["en", "es"])
    def test_renders_to_a_message(self, kind: str, locale: str) -> None:
        mail = build_and_parse(
            replace(
                MESSAGE,
                subject=render(f"{kind}.subject.txt", locale),
                text=render(f"{kind}.txt", locale),
                html=render(f"{kind}.html", locale),
            )
        )
        assert mail["Subject"]
        assert "\n" not in mail["Subject"]

    def test_has_the_same_content_as_text_and_as_html(self, kind: str) -> None:
        text, html = render(f"{kind}.txt"), render(f"{kind}.html")
        assert "Rock & <Roll>" in text
        assert "Rock &amp; &lt;Roll&gt;" in html
        assert "<Roll>" not in html
        assert "<b>" not in html
        for part in ("Saturday, December 12, 2026, 9:00 PM CET", "7KQ2MWXA", "Sala Mirador"):
            assert part in text
            assert part in html
        assert "https://shop.example/orders/token" in text
        assert 'href="https://shop.example/orders/token"' in html

    def test_has_no_image_script_or_external_file(self, kind: str) -> None:
        html = render(f"{kind}.html", "es")
        assert '<html lang="es">' in html
        assert 'name="viewport"' in html
        assert not any(mark in html for mark in ("<img", "<script", "<link", "url(", "src="))


class TestConfirmation:
    def test_lists_the_tickets_and_what_was_paid(self) -> None:
        for form in ("confirmation.txt", "confirmation.html"):
            text = render(form)
            assert "Łukasz Żółć" in text
            assert "2 × Platea: €150.50" in text
            assert "Total: €150.50" in text

    def test_only_a_test_order_says_so(self) -> None:
        for form in ("confirmation.txt", "confirmation.html"):
            assert "test tickets" in render(form, test=True)
            assert "test tickets" not in render(form)
        assert render("confirmation.subject.txt", test=True).startswith("[Test] ")


def test_the_late_refund_names_the_whole_amount() -> None:
    assert "the full amount, €150.50" in render("refunded_late.txt")
    assert "the full amount, €150.50" in render("refunded_late.html")
