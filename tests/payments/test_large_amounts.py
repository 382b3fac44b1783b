"""Orders in currencies whose amounts are long: sold, paid, refunded, within what Stripe charges."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.payments.flows import order_page, paid, refunds, run_until_idle
from tests.shopfront import add_event
from tmt.core.money import to_minor
from tmt.payments.refunds import issue_refund


@pytest.mark.parametrize(
    ("currency", "price"), [("cop", 250_000), ("idr", 900_000_000), ("vnd", 2_000_000_000)]
)
def test_four_tickets_are_sold_and_refunded(shopfront, currency, price):
    minor = to_minor(Decimal(price), currency)
    shopfront.event = add_event(
        shopfront.shop.db, slug="lejos", currency=currency, prices=(minor, minor)
    )
    order, _pi = paid(shopfront, 4)
    assert (order.status, order.total) == ("paid", 4 * minor)
    issue_refund(shopfront.shop, order.code)
    run_until_idle(shopfront)
    assert [(r.status, r.amount) for r in refunds(shopfront)] == [("succeeded", 4 * minor)]
    assert "refunded" in order_page(shopfront, order)
