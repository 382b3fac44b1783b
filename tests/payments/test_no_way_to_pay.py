"""An order that cannot be paid any more offers no way to pay it, also before the jobs end it."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.payments.flows import english_buyer
from tmt.catalog.models import Event

pytestmark = pytest.mark.databases("sqlite")
WAYS_TO_PAY = ("Pay now", "Continue to payment", "Get more time")


def change_event(shopfront, **values):
    shopfront.shop.db.transaction(lambda session: session.execute(update(Event).values(values)))


@pytest.mark.parametrize("end", ["time", "canceled event", "event that is over"])
def test_no_page_leads_to_a_payment_that_is_refused(shopfront, end):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    paths = ("/events/concierto", f"/orders/{order.token}")
    pages = [buyer.get(path).text for path in paths]
    assert all(any(way in page for way in WAYS_TO_PAY) for page in pages)
    if end == "time":
        shopfront.clock.move(minutes=16)
    elif end == "canceled event":
        change_event(shopfront, status="canceled")
    else:
        change_event(shopfront, ends_at=shopfront.clock.now())
    pages = [buyer.get(path).text for path in paths]
    assert not any(way in page for way in WAYS_TO_PAY for page in pages)
    if end == "time":
        # What the old order reserves is not in the way of a new one.
        assert buyer.reserve(1).token != order.token


def test_an_ended_order_leads_to_no_event_that_is_hidden(shopfront):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    buyer.cancel(order)
    assert "Back to the event" in buyer.get(f"/orders/{order.token}").text
    change_event(shopfront, status="draft")
    assert "Back to the event" not in buyer.get(f"/orders/{order.token}").text
