"""What the organiser and the banks do in Stripe, and the order's page that tells of each step."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.steps import Visitor, eventually
from tests.journeys.test_other_methods import type_iban
from tests.shopfront import add_event
from tmt.checkout.models import Order

BOUNCES = "DE62370400440532013001"


def bought(visitor: Visitor, *quantities: int) -> Order:
    visitor.reserve(*quantities)
    visitor.pay()
    return visitor.expect_tickets(sum(quantities))


def console(visitor: Visitor, order: Order) -> Page:
    """Another tab, with the order's payment as Stripe's dashboard shows it."""
    tab = visitor.page.context.new_page()
    tab.goto(
        f"{visitor.front.stripe_url}/payments/{visitor.front.payment(order).payment_intent_id}"
    )
    return tab


def expect_page(visitor: Visitor, heading: str, *states: str, order: Order) -> None:
    """The order's page says this, once the shop has heard; its tickets are in these states."""

    def heard() -> bool:
        visitor.go(f"/orders/{order.token}")
        return visitor.page.get_by_role("heading", level=1).inner_text() == heading

    eventually(heard)
    assert tuple(t.status for t in visitor.front.tickets(order)) == states


def stamps(visitor: Visitor, text: str) -> int:
    return visitor.page.locator(".stamp").get_by_text(text).count()


def test_a_full_refund_in_the_dashboard_ends_the_order(visitor: Visitor) -> None:
    order = bought(visitor, 2)
    console(visitor, order).get_by_role("button", name="Refund").click()
    expect_page(visitor, "Order refunded", "void", "void", order=order)
    expect(visitor.page.get_by_text("$150.00").first).to_be_visible()
    assert visitor.front.stock() == (0, 0)


def test_a_part_refunded_in_the_dashboard_leaves_the_tickets(visitor: Visitor) -> None:
    order = bought(visitor, 2)
    tab = console(visitor, order)
    tab.get_by_label("Refund, in the smallest unit").fill("1234")
    tab.get_by_role("button", name="Refund").click()
    refunds = visitor.page.locator(".refunds")

    def told() -> bool:
        visitor.go(f"/orders/{order.token}")
        return refunds.count() == 1

    eventually(told)
    expect(refunds).to_contain_text("$12.34")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("You’re in!")
    assert [t.status for t in visitor.front.tickets(order)] == ["valid", "valid"]


@pytest.mark.parametrize("verdict", ["won", "lost"])
def test_a_dispute_holds_the_tickets_until_it_is_decided(visitor: Visitor, verdict: str) -> None:
    order = bought(visitor, 1)
    tab = console(visitor, order)
    tab.get_by_role("button", name="Dispute").click()
    expect_page(visitor, "Your tickets are on hold", "blocked", order=order)
    assert stamps(visitor, "On hold") == 1
    assert visitor.front.stock() == (0, 1)
    tab.get_by_role("button", name=f"Decide: {verdict}").click()
    if verdict == "won":
        expect_page(visitor, "You’re in!", "valid", order=order)
        assert stamps(visitor, "On hold") == 0
        return
    expect_page(visitor, "Your bank reversed the payment", "void", order=order)
    assert visitor.front.stock() == (0, 0)


def test_a_debit_bounces_days_later_and_the_places_are_free(visitor: Visitor) -> None:
    event = add_event(visitor.front.shop.db, "euros", currency="eur")
    visitor.front.event = event
    order = visitor.reserve(2, event=event)
    type_iban(visitor, BOUNCES)
    visitor.pay_button.click()
    heading = expect(visitor.page.get_by_role("heading", level=1))
    heading.to_have_text("Your payment is being processed")
    visitor.front.clock.move(days=5)
    visitor.front.sandbox.advance(5 * 86400)
    eventually(lambda: visitor.front.order(order.token).status in ("held", "expired"))
    visitor.front.run_jobs()
    expect_page(visitor, "Your payment was not completed", order=order)
    assert visitor.front.stock() == (0, 0)
