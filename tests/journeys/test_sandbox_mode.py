"""The shop as it starts with nothing set: the sandbox answers in the same process and port."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.journeys.axe import grave_problems
from tests.journeys.steps import eventually
from tests.servers import serve
from tests.shopfront import add_event
from tmt.factory import create_app


@pytest.fixture
def address(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """A running shop in sandbox mode, with its jobs and one event."""
    shutil.copyfile(sqlite_template, tmp_path / "tmt.sqlite")
    late: dict[str, Flask] = {}
    server = serve(lambda environ, start: late["app"](environ, start))
    settings: dict[str, Any] = {
        "sandbox": True,
        "base_url": server.url,
        "instance": tmp_path,
        "log_level": "WARNING",
    }
    app = late["app"] = create_app(settings)
    shop = app.extensions["tmt"].shop
    add_event(shop.db)
    stop = shop.jobs.start_thread()
    yield server.url
    stop()
    app.extensions["tmt.sandbox"].close()
    server.stop()
    shop.db.close()


def buy(page: Page, address: str) -> None:
    """Buys a place with a card that the pay page itself suggests."""
    page.goto(f"{address}/events/concierto")
    page.get_by_role("button", name="Add one: General").click()
    page.get_by_label("Your name").fill("Ana Ejemplo")
    page.get_by_label("Email").fill("ana@example.com")
    page.get_by_role("button", name="Reserve tickets").click()
    page.get_by_text("Test cards").click()
    number = page.locator(".cards-help code").first.text_content() or ""
    card = page.frame_locator("#payment-element iframe")
    for label, text in (
        ("Card number", number),
        ("Expiration date", "12 / 34"),
        ("Security code", "123"),
    ):
        card.get_by_label(label).fill(text)
    page.locator("#pay-button").click()
    expect(page.locator(".ticket")).to_have_count(1)


def test_a_newcomer_buys_with_the_card_on_the_page(page: Page, address: str, axe: str) -> None:
    buy(page, address)
    expect(page.locator(".tape")).to_contain_text("no real money is charged")
    expect(page.locator(".stamp")).to_have_text("Test ticket")
    assert grave_problems(page, axe) == []
    page.get_by_role("link", name="Open the sandbox").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payments")
    expect(page.locator("tbody tr")).to_contain_text("succeeded")


def test_the_mail_can_be_looked_at(page: Page, address: str) -> None:
    buy(page, address)
    order = page.url
    link = page.get_by_role("link", name="View the email")

    def sent() -> bool:
        page.reload()
        return link.count() == 1

    eventually(sent)
    link.click()
    expect(page.locator("body")).to_contain_text("Hi Ana Ejemplo,")
    ground = page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor")
    assert ground != "rgba(0, 0, 0, 0)", "the mail's own styles are blocked"
    page.get_by_role("link", name="View my tickets").click()
    expect(page).to_have_url(order)
