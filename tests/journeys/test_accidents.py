"""What people do by accident: tabs, back, double clicks, reloads, being too late."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, Request, expect
from sqlalchemy import func, select

from tests.journeys.steps import Visitor, eventually
from tests.shopfront import Shopfront, add_event
from tmt.checkout.models import Order


def orders(front: Shopfront) -> int:
    """How many orders there are in the shop."""
    with front.shop.db.reading() as session:
        return session.scalar(select(func.count()).select_from(Order)) or 0


def payment_intents(front: Shopfront) -> list[str]:
    return [intent.id for intent in front.stripe.v1.payment_intents.list().data]


def confirms(page: Page) -> list[Request]:
    """Fills up with the requests that confirm a payment."""
    seen: list[Request] = []
    page.on("request", lambda one: seen.append(one) if one.url.endswith("/confirm") else None)
    return seen


def test_pay03_two_tabs_of_one_checkout_lead_to_one_order(
    visitor: Visitor, context: BrowserContext
) -> None:
    other = Visitor(context.new_page(), visitor.front)
    for tab in (visitor, other):
        tab.open_event()
        tab.choose(2)
        tab.introduce()
    for tab in (visitor, other):
        tab.reserve_button.click()
        expect(tab.pay_button).to_be_enabled()
    assert visitor.order.id == other.order.id
    assert orders(visitor.front) == len(payment_intents(visitor.front)) == 1
    visitor.pay()
    visitor.expect_tickets(2)
    other.pay()
    other.expect_tickets(2)
    assert visitor.front.stock() == (0, 2)
    assert payment_intents(visitor.front) == [visitor.front.payment(other.order).payment_intent_id]


def test_the_back_button_leads_back_to_the_same_places(visitor: Visitor) -> None:
    order = visitor.reserve(2)
    visitor.page.go_back()
    expect(
        visitor.page.get_by_text("You already have tickets reserved for this event.")
    ).to_be_visible()
    visitor.page.get_by_role("link", name="Continue to payment").click()
    visitor.pay()
    assert visitor.expect_tickets(2).id == order.id
    assert orders(visitor.front) == 1


def test_a_double_click_on_reserve_takes_the_places_once(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.choose(1)
    visitor.introduce()
    visitor.reserve_button.dblclick()
    expect(visitor.pay_button).to_be_enabled()
    assert orders(visitor.front) == len(payment_intents(visitor.front)) == 1
    assert visitor.front.stock() == (1, 0)


def test_a_double_click_on_pay_pays_once(visitor: Visitor) -> None:
    visitor.reserve(1)
    seen = confirms(visitor.page)
    visitor.type_card()
    visitor.pay_button.dblclick()
    visitor.expect_tickets(1)
    assert len(seen) == 1


def test_a_reload_of_the_pay_page_changes_nothing(visitor: Visitor) -> None:
    visitor.reserve(1)
    expect(visitor.pay_button).to_be_enabled()
    visitor.type_card()
    visitor.page.reload()
    expect(visitor.pay_button).to_be_enabled()
    visitor.pay()
    visitor.expect_tickets(1)
    assert len(payment_intents(visitor.front)) == 1


def test_the_enter_key_pays_and_leaving_a_declined_card_keeps_the_places(visitor: Visitor) -> None:
    order = visitor.reserve(1)
    visitor.pay("4000000000000069")
    expect(visitor.alert).to_have_text("Your card has expired.")
    visitor.open_event()
    visitor.page.get_by_role("link", name="Continue to payment").click()
    visitor.type_card()
    visitor.pay_button.press("Enter")
    assert visitor.expect_tickets(1).id == order.id


def test_places_that_go_meanwhile_leave_what_was_typed(visitor: Visitor) -> None:
    front = visitor.front
    front.event = add_event(front.shop.db, "pocas", capacities=(2, 50))
    visitor.open_event()
    visitor.choose(2, 1)
    visitor.introduce("Berta Muestra", "berta@example.com")
    visitor.page.locator("#holders summary").click()
    visitor.page.get_by_label("Balcón, ticket 1").fill("Carlos Muestra")
    front.buyer().reserve(2)
    visitor.reserve_button.click()
    problem = visitor.page.get_by_role("alert").get_by_role("link")
    expect(problem).to_have_text("Sorry, these tickets are no longer available.")
    problem.click()
    expect(visitor.page.locator(".offer-state")).to_be_focused()
    expect(visitor.page.locator("#name")).to_have_value("Berta Muestra")
    expect(visitor.page.locator("#email")).to_have_value("berta@example.com")
    expect(visitor.page.get_by_label("Balcón", exact=True)).to_have_value("1")
    expect(visitor.page.get_by_label("Balcón, ticket 1")).to_have_value("Carlos Muestra")
    expect(visitor.page.locator(".offer").first).to_contain_text("Sold out")
    visitor.reserve_button.click()
    visitor.pay()
    order = visitor.expect_tickets(1)
    assert [ticket.holder for ticket in front.tickets(order)] == ["Carlos Muestra"]


def test_when_the_last_places_go_meanwhile_the_page_says_why(visitor: Visitor) -> None:
    front = visitor.front
    front.event = add_event(front.shop.db, "pocas", prices=(900,), capacities=(2,))
    visitor.open_event()
    visitor.choose(2)
    visitor.introduce()
    front.buyer().reserve(2)
    visitor.reserve_button.click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("Sorry, someone else just got")
    expect(visitor.page.get_by_text("Tickets are sold out.", exact=True)).to_be_visible()


def test_a_payment_service_that_is_silent_keeps_the_places(visitor: Visitor) -> None:
    order = visitor.front.buyer().reserve(1)
    visitor.front.servers[1].stop()
    visitor.go(f"/orders/{order.token}/pay")
    expect(visitor.page.get_by_role("alert")).to_contain_text("Your tickets stay reserved.")
    expect(visitor.page.get_by_role("link", name="Try again")).to_be_visible()
    assert visitor.front.stock() == (1, 0)


def test_giving_up_frees_the_places(visitor: Visitor) -> None:
    order = visitor.reserve(2)
    visitor.page.get_by_role("button", name="Cancel reservation").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Order canceled")
    assert visitor.front.stock() == (0, 0)
    intent = visitor.front.stripe.v1.payment_intents.retrieve(
        str(visitor.front.payment(order).payment_intent_id)
    )
    assert intent.status == "canceled"
    visitor.page.get_by_role("link", name="Back to the event").click()
    expect(visitor.reserve_button).to_be_visible()
    eventually(lambda: visitor.front.order(order.token).status == "canceled")
