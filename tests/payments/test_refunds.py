"""Giving money back: asked of Stripe once, and the organiser may be faster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.invariants import check_money
from tmt.checkout.states import Cause
from tmt.core.outbox import OutboxRow
from tmt.payments.models import Refund
from tmt.payments.settle import settle

pytestmark = pytest.mark.usefixtures("sound")


def paid_short(shopfront, method="pm_card_visa", amount=7000):
    """An order for which Stripe received too little: all of it is owed to the buyer."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.stripe.v1.payment_intents.update(pi, {"amount": amount})
    shopfront.confirm(pi, method)
    buyer.get(f"/orders/{order.token}/return")
    return order, pi


def the_refund(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(Refund)).one()


def the_row(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(OutboxRow).where(OutboxRow.kind == "refund")).one()


def test_a_refund_is_written_down_before_it_is_asked_for(shopfront):
    _order, pi = paid_short(shopfront)
    refund = the_refund(shopfront)
    assert (refund.amount, refund.currency, refund.status) == (7000, "usd", "requested")
    assert refund.refund is None
    assert not shopfront.stripe.v1.refunds.list().data
    shopfront.run_jobs()
    (made,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert (the_refund(shopfront).refund, the_refund(shopfront).status) == (made.id, "succeeded")
    check_money(shopfront)


def test_a_refund_that_is_pending_is_kept_as_pending(shopfront):
    paid_short(shopfront, "pm_card_pendingRefund")
    shopfront.run_jobs()
    assert the_refund(shopfront).status == "pending"


def test_the_same_refund_sent_again_is_one(shopfront):
    """A crash after the call hides its success: the row is done again, with its key."""
    _order, pi = paid_short(shopfront)
    shopfront.run_jobs()

    def reopen(session):
        session.get_one(OutboxRow, the_row(shopfront).id).done_at = None

    shopfront.shop.db.transaction(reopen)
    shopfront.run_jobs()
    assert the_row(shopfront).done_at
    (made,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert the_refund(shopfront).refund == made.id
    check_money(shopfront)


def test_the_organiser_was_faster_in_the_dashboard(shopfront):
    _order, pi = paid_short(shopfront)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi})
    shopfront.run_jobs()
    assert the_row(shopfront).done_at
    assert the_refund(shopfront).status == "succeeded"
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    check_money(shopfront)


def test_what_stripe_refuses_stays_owed_and_says_why(shopfront):
    """A part went back by hand: a person must look, and nothing is sent twice."""
    _order, pi = paid_short(shopfront)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": 100})
    for _day in range(3):
        shopfront.run_jobs()
        shopfront.clock.move(days=1)
    row = the_row(shopfront)
    assert row.done_at is None
    assert row.attempts == 3
    assert "Misused" in (row.last_error or "")
    assert the_refund(shopfront).status == "requested"
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1


def test_a_payment_is_owed_back_once_whoever_tells_of_it(shopfront):
    order, pi = paid_short(shopfront)
    told = shopfront.gateway.retrieve_payment_intent(pi)
    for cause in (Cause.WEBHOOK, Cause.API, Cause.PAGE):
        settle(shopfront.shop, told, cause)
        settle(shopfront.shop, replace(told, status="canceled"), cause)
    assert the_refund(shopfront).amount == 7000
    assert shopfront.order(order.token).status == "refunded"
