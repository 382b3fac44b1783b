"""DB-02: page, webhook, sweeper, reconciler and organiser at one order, on a slow Stripe.

Whoever took order and payment in another sequence than the others would meet them in a deadlock;
whoever asked Stripe meanwhile would keep them all waiting.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

import pytest

from tests.concurrency.test_payment_race import (
    begun,
    capacity,
    confirming,
    delivering,
    drain,
    getting,
)
from tests.invariants import check_money
from tests.racing import together
from tests.shopfront import rendered_event
from tests.stripe_proxy import StripeProxy
from tmt.core.errors import DomainError
from tmt.operations.reconcile import sync_with_stripe
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.usefixtures("sound")
ROUNDS = 20


@pytest.fixture
def settings():
    return {"confirms_per_address": "10000 per minute"}


def giving_back(front, order):
    """The organiser presses the button until there is something to give back, or not."""

    def give():
        for _again in range(3):
            with suppress(DomainError):
                return issue_refund(front.shop, order.code, amount=1000)
            time.sleep(0.01)
        return None

    return give


@pytest.mark.case("DB-02")
def test_db02_everybody_at_one_order_meets_no_deadlock(shopfront):
    front = shopfront
    front.silence_stripe()
    capacity(front, None)
    StripeProxy(front).fate = lambda _call: time.sleep(0.03)
    for number in range(ROUNDS):
        order, pi = begun(front)
        paid = front.confirm(pi).to_dict(for_json=True)
        front.clock.move(minutes=16)
        event = rendered_event(front, "payment_intent.succeeded", paid, id=f"evt_{number}")
        answers = together(
            getting(front, order, "return"),
            delivering(front, event),
            confirming(front, pi),
            partial(front.shop.jobs.run, "inbox"),
            partial(end_overdue_holds, front.shop, front.gateway),
            partial(sync_with_stripe, front.shop, front.gateway, pi),
            giving_back(front, order),
        )
        assert answers[:3] == [303, 200, 200]
        assert front.order(order.token).status == "paid"
    drain(front)
    assert front.stock() == (0, ROUNDS)
    check_money(front)
