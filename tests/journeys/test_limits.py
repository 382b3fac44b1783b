"""No button that leads only to an error: each limit of the form says why, and to everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.journeys.steps import Visitor
from tests.shopfront import add_event

TWO_ARE_LEFT = "Only 2 of these are left."


def press(button: Locator) -> None:
    """Presses it as a person does who does not see that it is switched off."""
    button.click(force=True)


def more(visitor: Visitor, name: str) -> Locator:
    return visitor.page.get_by_role("button", name=f"Add one: {name}")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_per_order": 3}, "Up to 3 tickets per order."),
        ({"max_per_buyer": 3}, "Up to 3 tickets per person."),
        ({"max_per_order": 1}, "One ticket per order."),
        ({"capacity": 3}, "Only 3 tickets are left for this event."),
        ({"capacities": (2, None)}, TWO_ARE_LEFT),
    ],
)
def test_plus_at_the_limit_says_why(visitor: Visitor, limits: dict[str, int], text: str) -> None:
    event = add_event(visitor.front.shop.db, "otro", **{"capacities": (50, 50)} | limits)
    visitor.open_event(event)
    general, balcony = more(visitor, "General"), more(visitor, "Balcón")
    for _ in range(4):
        press(general)
    reason = visitor.page.get_by_role("status").filter(has_text=text)
    expect(reason).to_have_count(1)
    expect(reason).to_be_visible()
    expect(general).to_have_attribute("aria-disabled", "true")
    expect(general).to_have_accessible_description(text)
    # What limits one ticket type leaves the other; what limits the order is said where one presses.
    other = "false" if text == TWO_ARE_LEFT else "true"
    expect(balcony).to_have_attribute("aria-disabled", other)
    press(balcony)
    if other == "true":
        expect(reason).to_have_attribute("id", f"quantity-{event.ticket_types[1].id}-limit")
    visitor.page.get_by_role("button", name="Remove one: General").click()
    expect(reason).to_have_count(0)
    expect(general).to_have_attribute("aria-disabled", "false")


def test_nothing_chosen_is_said_before_anything_is_sent(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.introduce()
    hint = "Please choose at least one ticket."
    expect(visitor.reserve_button).to_have_attribute("aria-disabled", "true")
    expect(visitor.reserve_button).to_have_accessible_description(hint)
    general = visitor.page.get_by_label("General", exact=True)
    press(visitor.reserve_button)
    expect(general).to_be_focused()
    visitor.page.press("#name", "Enter")
    expect(general).to_be_focused()
    assert visitor.page.url.endswith("/events/concierto")
    visitor.choose(1)
    visitor.reserve_button.click()
    expect(visitor.pay_button).to_be_enabled()


def test_free_tickets_alone_speak_of_no_payment(visitor: Visitor) -> None:
    visitor.open_event(add_event(visitor.front.shop.db, "mixto", prices=(0, 900)))
    checkout = visitor.page.locator(".checkout")
    expect(checkout).to_contain_text("while you pay")
    visitor.choose(1)
    expect(checkout).to_contain_text("you will get them right away")
    expect(visitor.reserve_button).to_have_text("Get tickets")
    visitor.choose(0, 1)
    expect(checkout).to_contain_text("while you pay")


def test_too_many_that_are_typed_are_not_sent(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.introduce()
    for name in ("General", "Balcón"):
        visitor.page.get_by_label(name, exact=True).fill("5")
    visitor.reserve_button.click()
    field = visitor.page.get_by_label("Balcón", exact=True)
    assert field.evaluate("field => field.validationMessage") == "Up to 8 tickets per order."
    field.fill("3")
    visitor.reserve_button.click()
    expect(visitor.pay_button).to_be_enabled()


def test_without_javascript_the_server_says_it(visitors: Callable[..., Visitor]) -> None:
    ana = visitors(java_script_enabled=False)
    ana.open_event()
    ana.introduce()
    ana.reserve_button.click()
    expect(ana.page.get_by_role("alert")).to_contain_text("Please choose at least one ticket.")


def test_nothing_is_sent_and_lost_without_a_connection(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.type_card()
    notice = visitor.page.get_by_role("alert").filter(has_text="You are offline")
    for button in ("Get more time", "Pay $75.00", "Cancel reservation"):
        visitor.page.context.set_offline(True)
        visitor.page.get_by_role("button", name=button).click()
        expect(notice).to_be_focused()
    visitor.page.context.set_offline(False)
    expect(notice).to_be_hidden()
    visitor.pay_button.click()
    visitor.expect_tickets(1)
