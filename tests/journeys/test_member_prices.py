"""A member at the event's page: the running total is the one that is paid."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.billing.members import add_member, add_plan
from tests.customers.flows import mailed_links
from tests.journeys.steps import Visitor

pytestmark = pytest.mark.databases("sqlite")


def test_the_total_follows_what_the_membership_gives(visitor: Visitor) -> None:
    front, page = visitor.front, visitor.page
    plan = add_plan(front, member_percent_off=20, member_places=2, included_places=1)
    add_member(front, plan)
    visitor.go("/sign-in")
    page.get_by_role("textbox").first.fill("ana@example.com")
    page.get_by_role("textbox").first.press("Enter")
    page.wait_for_load_state()
    visitor.go(mailed_links(front)[-1][1])
    page.get_by_role("button").last.click()
    visitor.open_event()
    more = page.get_by_role("button", name="Add one: General")
    total = page.locator("#order-total")
    for text in ("Free", "$60.00", "$120.00", "$195.00"):
        more.click()
        expect(total).to_have_text(text)
    expect(page.get_by_label("General", exact=True)).to_have_accessible_description(
        "$75.00 1 ticket is included in your membership"
    )
    page.get_by_role("button", name="Reserve tickets").click()
    expect(page.get_by_text("included in your membership")).to_be_visible()
    expect(page.locator(".lines-total")).to_contain_text("$195.00")
