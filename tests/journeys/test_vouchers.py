"""Paying in a shop round the corner: the voucher, the wait, the tickets."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.journeys.steps import Visitor, eventually
from tests.shopfront import add_event


def test_a_voucher_is_shown_kept_and_paid_in_the_shop(visitor: Visitor) -> None:
    event = add_event(visitor.front.shop.db, "pesos", currency="mxn", prices=(30000, 25000))
    order = visitor.reserve(1, event=event)
    expect(visitor.pay_button).to_be_enabled()
    visitor.card.locator("input[value=oxxo]").check()
    visitor.card.locator("[name=name]").fill("Ana Ejemplo")
    visitor.card.locator("[name=email]").fill("fill_never@example.com")
    visitor.pay_button.click()
    in_dialog = visitor.page.frame_locator("dialog iframe")
    expect(in_dialog.get_by_role("heading", name="OXXO voucher")).to_be_visible()
    in_dialog.get_by_role("button", name="Close").click()

    heading = visitor.page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Pay with your OXXO slip")
    visitor.page.set_viewport_size({"width": 320, "height": 640})
    assert visitor.fits()
    assert visitor.front.order(order.token).status == "processing"
    eventually(lambda: len(visitor.front.mails()) == 1)

    with visitor.page.expect_popup() as opened:
        visitor.page.get_by_role("link", name="Open your payment slip").click()
    opened.value.get_by_role("button", name="Pay at the store").click()
    expect(opened.value.get_by_text("This voucher is over.")).to_be_visible()
    visitor.page.set_viewport_size({"width": 1280, "height": 800})
    eventually(lambda: visitor.front.order(order.token).status == "paid")
    visitor.page.reload()
    visitor.expect_tickets(1)
