"""Everybody can buy: by keyboard, without JavaScript, in either language."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.journeys.steps import VISA, VISA_CHALLENGED, Visitor, tab_to


def type_in_turn(visitor: Visitor, *fields: tuple[Locator, str]) -> None:
    for field, text in fields:
        tab_to(visitor.page, field)
        visitor.page.keyboard.type(text)


def test_the_keyboard_is_enough_from_the_event_to_the_tickets(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_event()
    tab_to(page, page.get_by_role("link", name="Skip to content"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Add one: General"), most=4)
    page.keyboard.press("Enter")
    type_in_turn(visitor, (page.locator("#name"), "Ana"), (page.locator("#email"), "a@example.com"))
    tab_to(page, visitor.reserve_button)
    page.keyboard.press("Enter")
    expect(visitor.pay_button).to_be_enabled()
    card = visitor.card
    type_in_turn(
        visitor,
        (card.locator("[name=number]"), VISA_CHALLENGED),
        (card.locator("[name=expiry]"), "1234"),
        (card.locator("[name=cvc]"), "123"),
    )
    tab_to(page, visitor.pay_button)
    page.keyboard.press("Enter")
    bank = (
        page.frame_locator("dialog iframe")
        .frame_locator("iframe")
        .get_by_role("button", name="Complete")
    )
    expect(bank).to_be_focused()
    page.keyboard.press("Enter")
    visitor.expect_tickets(1)
    tab_to(page, page.get_by_role("link", name="Download PDF"))


def test_the_number_of_places_can_be_typed_too(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.page.get_by_label("Balcón", exact=True).fill("3")
    expect(visitor.page.locator("#order-total")).to_have_text("$75.00")
    visitor.introduce()
    visitor.reserve_button.click()
    expect(visitor.page.locator(".lines-total")).to_contain_text("$75.00")
    expect(visitor.pay_button).to_have_text("Pay $75.00")


def test_without_javascript_all_but_paying_works(visitors: Callable[..., Visitor]) -> None:
    ana = visitors(java_script_enabled=False)
    ana.open_event()
    ana.page.get_by_label("General", exact=True).fill("2")
    ana.introduce()
    ana.page.locator("#holders summary").click()
    ana.page.get_by_label("General, one name per line").fill("\nBerta Muestra")
    ana.reserve_button.click()
    ana.page.wait_for_url("**/pay")
    expect(ana.page.locator("noscript p")).to_contain_text("JavaScript is required to pay")
    expect(ana.page.locator("noscript p")).to_be_visible()
    expect(ana.pay_button).to_be_hidden()
    expect(ana.page.locator("#hold-left")).to_contain_text("until ")
    assert ana.order.lines[0].holders == ["", "Berta Muestra"]
    ana.page.get_by_role("button", name="Get more time").click()
    expect(ana.page.get_by_text("Your reservation has been extended.")).to_be_visible()
    ana.page.get_by_role("button", name="Cancel reservation").click()
    expect(ana.page.get_by_role("heading", level=1)).to_have_text("Order canceled")


def test_without_javascript_the_tickets_are_there(visitors: Callable[..., Visitor]) -> None:
    ana = visitors("es", java_script_enabled=False)
    buyer = ana.front.buyer()
    order = buyer.reserve(1)
    ana.front.confirm(buyer.open_pay_page(order))
    ana.go(f"/orders/{order.token}/return")
    ana.expect_tickets(1)


def test_errors_of_the_form_lead_to_their_fields(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_event()
    visitor.choose(1)
    visitor.introduce(email="ana@example")
    visitor.reserve_button.click()
    alert = page.get_by_role("alert")
    expect(page).to_have_title("Please check the form: Concierto de prueba · TMT")
    alert.get_by_role("link", name="email").click()
    expect(page.locator("#email")).to_be_focused()
    expect(page.locator("#email")).to_have_accessible_description(
        "Please enter a complete email address, such as ana@example.com."
        " We will send your tickets to this address."
    )
    visitor.introduce()
    visitor.reserve_button.click()
    expect(visitor.pay_button).to_be_enabled()


@pytest.mark.parametrize(
    "path", ["/", "/?q=prueba&city=Madrid", "/events/concierto", "/orders/find"]
)
def test_the_language_switch_keeps_the_page(visitor: Visitor, path: str) -> None:
    visitor.go(path)
    html = visitor.page.locator("html")
    expect(html).to_have_attribute("lang", "en")
    visitor.page.get_by_role("link", name="Español").click()
    expect(html).to_have_attribute("lang", "es")
    assert visitor.page.url == visitor.front.url + path
    visitor.page.reload()
    expect(html).to_have_attribute("lang", "es")


def test_the_language_can_be_switched_while_paying(visitor: Visitor) -> None:
    order = visitor.reserve(1)
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.card.get_by_label("Número de tarjeta")).to_be_visible()
    assert visitor.page.url.endswith(f"/orders/{order.token}/pay")
    visitor.pay(VISA)
    visitor.expect_tickets(1)


def test_the_language_is_switched_back_on_a_refused_form(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.choose(1)
    visitor.introduce(email="ana@example")
    visitor.reserve_button.click()
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Concierto de prueba")
