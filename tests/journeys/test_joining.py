"""A member joins in the browser: declined, then paid with another card, on one subscription."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.billing.test_joining import plan_of, subscriptions
from tests.customers.flows import mailed_links
from tests.journeys.steps import DECLINED, VISA, VISA_CHALLENGED, Visitor


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("card", [VISA, VISA_CHALLENGED])
def test_joining_in_place(visitor: Visitor, card: str) -> None:
    front, page = visitor.front, visitor.page
    plan_of(front, names={"en": "Friends"}, included_places=1)
    visitor.go("/plans")
    page.get_by_role("link", name="Join").click()
    page.get_by_label("Your name").fill("Eva")
    page.get_by_label("Email").fill("eva@example.com")
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    visitor.go(mailed_links(front)[-1][1])
    page.get_by_role("button").last.click()
    page.get_by_role("link", name="Memberships").click()
    page.get_by_role("link", name="See all memberships").click()
    page.get_by_role("button", name="Join").click()
    visitor.type_card(DECLINED)
    visitor.pay_button.click()
    expect(visitor.alert).to_contain_text("declined")
    visitor.type_card(card)
    visitor.pay_button.click()
    if card == VISA_CHALLENGED:
        visitor.answer_bank("Complete")
    expect(page.get_by_text("You are a member now")).to_be_visible()
    expect(page.get_by_text("It is renewed on")).to_be_visible()
    (subscription,) = subscriptions(front)
    assert subscription.status == "active"
