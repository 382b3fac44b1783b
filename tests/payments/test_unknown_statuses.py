"""Statuses that Stripe may add later: stored as they are, treated with caution, and reported."""

from __future__ import annotations

import pytest

from tests.payments.flows import alert_kinds, paid, refunds, run_until_idle, ticket_statuses
from tests.sandbox_store import change_at_stripe
from tmt.checkout.states import Trigger
from tmt.gateway.types import PaymentIntentStatus
from tmt.payments.balances import net_paid
from tmt.payments.expiry import end_hold
from tmt.payments.refunds import OrderDisputed, issue_refund

NEW = "requires_something_new"


def test_a_payment_intent_keeps_its_hold_and_is_not_canceled(shopfront):
    shopfront.silence_stripe()
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    change_at_stripe(shopfront, pi, status=NEW)
    shopfront.clock.move(minutes=16)
    end_hold(shopfront.shop, shopfront.gateway, order.id, Trigger.EXPIRY)
    assert shopfront.order(order.token).status == "held"
    assert shopfront.stock() == (1, 0)
    assert shopfront.payment(order).status == NEW
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == NEW
    assert alert_kinds(shopfront) == ["unknown_status"]
    # What it becomes later counts as ever.
    change_at_stripe(shopfront, pi, status="requires_payment_method")
    end_hold(shopfront.shop, shopfront.gateway, order.id, Trigger.EXPIRY)
    assert shopfront.order(order.token).status == "expired"


def test_a_refund_counts_as_refunded(shopfront):
    order, _pi = paid(shopfront, 1)
    shopfront.silence_stripe()
    issue_refund(shopfront.shop, order.code, amount=500)
    run_until_idle(shopfront)
    (refund,) = refunds(shopfront)
    change_at_stripe(shopfront, refund.stripe_id, status=NEW)
    shopfront.clock.move(days=2)
    shopfront.run_jobs()
    assert refunds(shopfront)[0].status == NEW
    assert "unknown_status" in alert_kinds(shopfront)
    with shopfront.shop.db.reading() as session:
        assert net_paid(session, shopfront.order(order.token)) == 7000


def test_a_dispute_is_undecided(shopfront):
    order, _pi = paid(shopfront, 1, method="pm_card_createDispute")
    run_until_idle(shopfront)
    shopfront.silence_stripe()
    (dispute,) = shopfront.stripe.v1.disputes.list().data
    change_at_stripe(shopfront, dispute.id, status=NEW)
    shopfront.clock.move(days=2)
    shopfront.run_jobs()
    assert "unknown_status" in alert_kinds(shopfront)
    assert ticket_statuses(shopfront, order) == ["blocked"]
    with pytest.raises(OrderDisputed):
        issue_refund(shopfront.shop, order.code)


def test_an_unlisted_value_is_kept_and_says_so():
    assert PaymentIntentStatus(NEW) == NEW
    assert not PaymentIntentStatus(NEW).is_known
    assert PaymentIntentStatus("succeeded").is_known
