"""Looking around: the list, events that cannot be bought, finding one's orders."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.journeys.steps import Visitor, eventually
from tests.shopfront import add_event
from tmt.catalog.models import EventStatus


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Tickets are not on sale yet.", {"sale_starts_at": in_days(2)}),
        ("Online sales have ended.", {"sale_ends_at": in_days(-1)}),
        ("This event has ended.", {"starts_at": in_days(-2), "ends_at": in_days(-1)}),
        ("This event has been canceled.", {"status": EventStatus.CANCELED}),
        ("Tickets are sold out.", {"capacity": 0}),
    ],
)
def test_an_event_that_cannot_be_bought_says_why(
    visitor: Visitor, text: str, changed: dict[str, Any]
) -> None:
    visitor.open_event(add_event(visitor.front.shop.db, "otro", **changed))
    expect(visitor.page.get_by_text(text, exact=True)).to_be_visible()
    expect(visitor.page.locator("form[action$='/orders']")).to_have_count(0)
    visitor.page.locator("main").get_by_role("link", name="See all events").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Upcoming events")


def test_an_event_is_found_and_opened(visitor: Visitor) -> None:
    add_event(visitor.front.shop.db, "otro", title="Otra noche", city="Sevilla")
    visitor.go("/")
    expect(visitor.page.locator(".card")).to_have_count(2)
    visitor.page.get_by_label("Artist, event or venue").fill("OTRA")
    visitor.page.get_by_label("City").select_option("Sevilla")
    visitor.page.get_by_role("button", name="Search").click()
    expect(visitor.page.get_by_text("1 event found")).to_be_visible()
    visitor.page.get_by_role("link", name="Otra noche").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Otra noche")


def test_a_search_without_a_find_leads_on(visitor: Visitor) -> None:
    visitor.go("/?q=zzz")
    expect(visitor.page.get_by_text("No events match your search.")).to_be_visible()
    visitor.page.locator(".empty").get_by_role("link").click()
    expect(visitor.page.locator(".card")).to_have_count(1)


def test_an_address_that_is_nothing_leads_on(visitor: Visitor) -> None:
    visitor.go("/events/nothing")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Page not found")
    visitor.page.get_by_role("link", name="See all events").click()
    expect(visitor.page.locator(".card")).to_have_count(1)


def test_orders_are_found_by_mail(visitor: Visitor) -> None:
    order = visitor.front.buyer(email="Ana@Example.com").reserve(1)
    visitor.go("/")
    visitor.page.get_by_role("link", name="My tickets").click()
    visitor.page.get_by_label("Email").fill("ana@example.com")
    visitor.page.get_by_role("button", name="Send me the links").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Check your inbox")
    eventually(visitor.front.mails)
    mail = message_from_bytes(visitor.front.mails()[0].read_bytes(), policy=policy.default)
    text = mail.get_body(("plain",))
    assert text
    link = re.search(r"http\S+/orders/\S+", text.get_content())
    assert link
    visitor.page.goto(link[0])
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Complete your purchase")
    assert visitor.order.id == order.id


def test_sec01_asking_for_a_stranger_looks_the_same(visitor: Visitor) -> None:
    visitor.go("/orders/find")
    visitor.page.get_by_label("Email").fill("nobody@example.com")
    visitor.page.get_by_role("button", name="Send me the links").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Check your inbox")
    visitor.front.run_jobs()
    assert visitor.front.mails() == []
