"""The time that places are held: the clock on the page, more time, its end."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.journeys.steps import VISA_CHALLENGED, Visitor
from tmt.checkout.holds import extend

HOLD = 15 * 60


def pay_page_with(visitor: Visitor, seconds: int) -> None:
    """Reserves a place and opens its pay page so many seconds before the hold ends."""
    order = visitor.front.buyer().reserve(1)
    visitor.front.clock.move(seconds=HOLD - seconds)
    visitor.go(f"/orders/{order.token}/pay")


def let_pass(visitor: Visitor, minutes: float) -> None:
    """Time goes by, for the page and for the server that it asks."""
    visitor.front.clock.move(minutes=minutes)
    visitor.page.clock.fast_forward(int(minutes * 60_000))


def test_the_clock_counts_down_and_an_open_page_tells_that_it_is_open(visitor: Visitor) -> None:
    visitor.page.clock.install()
    visitor.reserve(1)
    clock = visitor.page.locator("#hold-left")
    expect(clock).to_have_text(re.compile(r"1[45]:\d\d"))
    with visitor.page.expect_response("**/status"):
        let_pass(visitor, 5)
    expect(clock).to_have_text(re.compile(r"9:\d\d|10:00"))


def test_the_live_region_warns_two_minutes_before_the_end(visitor: Visitor) -> None:
    visitor.page.clock.install()
    visitor.reserve(1)
    warning = visitor.page.locator("#hold-warning")
    expect(warning).to_have_attribute("aria-live", "assertive")
    let_pass(visitor, 12.5)
    expect(visitor.page.locator("#hold-left")).to_have_text(re.compile(r"2:[0-3]\d"))
    assert warning.text_content() == ""
    let_pass(visitor, 31 / 60)
    expect(warning).to_have_text(
        "Your reservation is about to expire. Get more time if you need it."
    )


def test_a_wrong_clock_of_the_buyer_does_not_matter(visitor: Visitor) -> None:
    visitor.page.clock.install(time="2019-05-05T05:05:05Z")
    visitor.reserve(1)
    expect(visitor.page.locator("#hold-left")).to_have_text(re.compile(r"1[45]:\d\d"))


def test_more_time_can_be_asked_for(visitor: Visitor) -> None:
    pay_page_with(visitor, 90)
    before = visitor.order.expires_at
    expect(visitor.page.locator("#hold-warning")).to_contain_text("about to expire")
    visitor.page.get_by_role("button", name="Get more time").click()
    news = visitor.page.get_by_role("status").filter(has_text="Your reservation has been extended.")
    expect(news).to_be_visible()
    expect(visitor.page.locator("#hold-left")).to_have_text(re.compile(r"1[45]:\d\d"))
    assert visitor.order.expires_at - before > timedelta(minutes=13)
    visitor.pay()
    visitor.expect_tickets(1)


@pytest.mark.parametrize("settings", [{"hold_extensions": 3}])
def test_more_time_is_not_given_without_end(visitor: Visitor) -> None:
    pay_page_with(visitor, 90)
    for left in ("2 more times", "once more", None):
        visitor.page.get_by_role("button", name="Get more time").click()
        box = expect(visitor.page.locator("#hold"))
        box.to_contain_text(left) if left else box.not_to_contain_text("more time")


@pytest.mark.parametrize(
    ("settings", "english", "spanish"),
    [
        ({"hold_extensions": 1}, "cannot be extended again", "ya no se puede ampliar"),
        ({}, "Please check your connection", "Revisa tu conexión"),
    ],
)
def test_more_time_that_fails_keeps_the_card(
    visitor: Visitor, settings: dict[str, int], english: str, spanish: str
) -> None:
    visitor.reserve(1)
    visitor.type_card()
    if settings:
        extend(visitor.front.shop, visitor.order.id)
    else:
        visitor.page.route("**/extend", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Get more time").click()
    notice = visitor.page.locator("#hold-warning")
    expect(notice).to_contain_text(english)
    visitor.page.get_by_role("link", name="Español").click()
    expect(notice).to_contain_text(spanish)
    expect(visitor.card.locator("[name=number]")).to_have_value(re.compile("4242"))


def test_the_hold_ends_while_the_pay_page_is_open(visitor: Visitor) -> None:
    pay_page_with(visitor, 3)
    expect(visitor.page.locator("#hold-warning")).to_contain_text("Your reservation time is up.")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Your reservation expired")
    assert visitor.front.stock() == (0, 0)
    assert visitor.order.status == "expired"
    visitor.page.get_by_role("link", name="Back to the event").click()
    expect(visitor.reserve_button).to_be_visible()


def test_pay01_the_time_runs_out_at_the_bank_and_the_payment_still_counts(visitor: Visitor) -> None:
    pay_page_with(visitor, 10)
    visitor.pay(VISA_CHALLENGED)
    visitor.page.frame_locator("dialog iframe").frame_locator("iframe").locator(
        "button"
    ).first.wait_for()
    visitor.front.clock.move(minutes=1)
    visitor.answer_bank("Complete")
    visitor.expect_tickets(1)


@pytest.mark.parametrize("path", ["", "/pay"])
def test_an_order_whose_time_ran_out_says_so(visitor: Visitor, path: str) -> None:
    order = visitor.front.buyer().reserve(1)
    visitor.front.clock.move(minutes=16)
    visitor.go(f"/orders/{order.token}{path}")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Your reservation expired")
    assert visitor.front.stock() == (0, 0)
