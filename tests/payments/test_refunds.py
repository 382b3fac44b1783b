"""Giving money back: asked of Stripe once, and the organiser may be faster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.invariants import check_money
from tmt.checkout.states import Trigger
from tmt.core.outbox import OutboxRow
from tmt.payments.models import Refund
from tmt.payments.sync import sync_payment_intent

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


def all_refunds(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(Refund).order_by(Refund.id)).all()


def the_row(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(OutboxRow).where(OutboxRow.kind == "refund")).one()


def test_a_refund_is_written_down_before_it_is_asked_for(shopfront):
    _order, pi = paid_short(shopfront)
    refund = the_refund(shopfront)
    assert (refund.amount, refund.currency, refund.status) == (7000, "usd", "requested")
    assert refund.stripe_id is None
    assert not shopfront.stripe.v1.refunds.list().data
    shopfront.run_jobs()
    (created,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    refund = the_refund(shopfront)
    assert (refund.stripe_id, refund.status) == (created.id, "succeeded")
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
    (created,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert the_refund(shopfront).stripe_id == created.id
    check_money(shopfront)


def test_the_organiser_was_faster_in_the_dashboard(shopfront):
    _order, pi = paid_short(shopfront)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi})
    shopfront.run_jobs()
    assert the_row(shopfront).done_at
    own, theirs = all_refunds(shopfront)
    assert (own.status, own.failure_reason) == ("failed", "charge_already_refunded")
    assert (theirs.status, theirs.reason, theirs.amount) == ("succeeded", "external", 7000)
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    check_money(shopfront)


def test_a_part_went_back_by_hand_and_the_rest_follows(shopfront):
    """Stripe refuses the whole; what is there is booked, and only what is left is asked for."""
    _order, pi = paid_short(shopfront)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": 100})
    for _minute in range(2):
        shopfront.run_jobs()
    created = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert sorted(refund.amount for refund in created) == [100, 6900]
    assert [(r.amount, r.status) for r in all_refunds(shopfront)] == [
        (7000, "failed"),
        (100, "succeeded"),
        (6900, "succeeded"),
    ]
    check_money(shopfront)


def test_a_payment_is_owed_back_once_whoever_tells_of_it(shopfront):
    order, pi = paid_short(shopfront)
    intent = shopfront.gateway.retrieve_payment_intent(pi)
    for trigger in (Trigger.WEBHOOK, Trigger.API, Trigger.PAGE):
        sync_payment_intent(shopfront.shop, intent, trigger)
        sync_payment_intent(shopfront.shop, replace(intent, status="canceled"), trigger)
    assert the_refund(shopfront).amount == 7000
    assert shopfront.order(order.token).status == "refunded"
