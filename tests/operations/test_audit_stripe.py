"""The audit of the money: whether Stripe and the shop's rows agree."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.operations.auditing import (
    assert_breaches,
    assert_sound,
    begin_payment,
    corrupt,
    drain,
    pay,
    remove,
    remove_capacity,
    run_audit,
)
from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy
from tmt.checkout.models import Order
from tmt.operations.audit import audit
from tmt.payments.alerts import open_alerts
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.refunds import issue_refund

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def get_refunds(front):
    with front.shop.db.reading() as session:
        return session.scalars(select(Refund).order_by(Refund.id)).all()


def alert_kinds(front):
    with front.shop.db.reading() as session:
        return [alert.kind for alert in open_alerts(session)]


@sqlite_only
def test_a_payment_that_the_shop_has_not_heard_of(shopfront):
    shopfront.silence_stripe()
    order, pi = begin_payment(shopfront)
    shopfront.confirm(pi)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: is succeeded at Stripe and requires_payment_method in the"
        " shop; its balance is $150.00 at Stripe and $0.00 in the shop",
    )
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == "paid"


@sqlite_only
@pytest.mark.parametrize("status", ["processing", "canceled"])
def test_a_status_that_the_shop_has_not_heard_of(shopfront, status):
    order, pi = begin_payment(shopfront)
    change_at_stripe(shopfront, pi, status=status)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: is {status} at Stripe and requires_payment_method in the",
    )
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == status


@sqlite_only
def test_a_status_that_stripe_has_added(shopfront):
    """The audit reports it before and after the repair, and the repair raises an alert."""
    order, pi = begin_payment(shopfront)
    change_at_stripe(shopfront, pi, status="requires_patience")
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: is requires_patience at Stripe and requires_payment_method",
    )
    code, _lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert alert_kinds(shopfront) == ["unknown_status"]
    assert_breaches(
        shopfront, f"I2 order {order.code}: payment {pi} has the status 'requires_patience', which"
    )


@sqlite_only
def test_paid_in_the_shop_and_canceled_at_stripe(shopfront):
    order, pi = pay(shopfront)
    change_at_stripe(shopfront, pi, status="canceled", amount_received=0)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: is canceled at Stripe and succeeded in the shop; its"
        " balance is $0.00 at Stripe and $150.00 in the shop",
    )
    code, _lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert shopfront.order(order.code).status == "paid"


@sqlite_only
def test_a_buyer_who_is_paying_right_now_is_no_breach(shopfront):
    _order, pi = begin_payment(shopfront)
    change_at_stripe(shopfront, pi, status="requires_action")
    assert_sound(shopfront)


def test_a_refund_and_a_dispute_that_the_shop_has_not_heard_of(shopfront):
    shopfront.silence_stripe()
    (refunded, refunded_pi), (disputed, disputed_pi) = (
        begin_payment(shopfront),
        begin_payment(shopfront),
    )
    shopfront.confirm(refunded_pi)
    shopfront.confirm(disputed_pi, "pm_card_createDispute")
    shopfront.run_jobs()
    remove(shopfront, Dispute)
    refund = shopfront.stripe.v1.refunds.create({"payment_intent": refunded_pi, "amount": 100})
    (dispute,) = shopfront.stripe.v1.disputes.list().data
    problems = {b.subject: b.problem for b in audit(shopfront.shop, shopfront.gateway)}
    assert problems[f"order {refunded.code}"] == (
        f"{refunded_pi}: its balance is $149.00 at Stripe and $150.00 in the shop;"
        f" refund {refund.id} exists only at Stripe"
    )
    assert f"dispute {dispute.id} exists only at Stripe" in problems[f"order {disputed.code}"]
    assert_sound(shopfront, "--repair")
    assert {ticket.status for ticket in shopfront.tickets(disputed)} == {"blocked"}
    assert [refund.amount for refund in get_refunds(shopfront)] == [100]


@sqlite_only
def test_a_refund_that_has_failed_at_stripe(shopfront):
    shopfront.silence_stripe()
    order, pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=100)
    shopfront.run_jobs()
    (refund,) = get_refunds(shopfront)
    change_at_stripe(shopfront, refund.stripe_id, status="failed")
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: its balance is $150.00 at Stripe and $149.00 in the shop;"
        f" refund {refund.stripe_id} is failed at Stripe and succeeded in the shop",
    )
    assert_sound(shopfront, "--repair")


@sqlite_only
def test_a_refund_of_another_amount(shopfront):
    order, pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=100)
    drain(shopfront)
    (refund,) = get_refunds(shopfront)
    change_at_stripe(shopfront, refund.stripe_id, amount=300)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: its balance is $147.00 at Stripe and $149.00 in the shop;"
        f" refund {refund.stripe_id} is of $3.00 at Stripe and of $1.00 in the shop",
    )


@sqlite_only
def test_payments_of_other_systems_on_the_account_are_no_breach(shopfront):
    pay(shopfront)
    foreign = shopfront.stripe.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "automatic_payment_methods": {"enabled": True}}
    )
    shopfront.confirm(foreign.id)
    shopfront.stripe.v1.refunds.create({"payment_intent": foreign.id, "amount": 100})
    assert_sound(shopfront)


def test_payments_and_refunds_that_stripe_does_not_know(shopfront):
    (order, pi), (other, other_pi) = pay(shopfront), pay(shopfront)
    issue_refund(shopfront.shop, other.code, amount=100)
    drain(shopfront)
    corrupt(shopfront, Refund, stripe_id="re_nowhere")
    corrupt(shopfront, Payment, shopfront.payment(order).id, payment_intent_id="pi_nowhere")
    _code, lines = run_audit(shopfront)
    text = "\n".join(lines)
    assert f"order {order.code}: pi_nowhere does not exist at Stripe" in text
    assert f"order {other.code}: {other_pi}: refund re_" in text
    assert "exists only at Stripe; refund re_nowhere exists only in the shop" in text
    assert f"order {order.code}: {pi} was created for it, is succeeded at Stripe" in text


@sqlite_only
def test_a_payment_that_cannot_be_read_hides_no_other(shopfront):
    shopfront.silence_stripe()
    (broken, broken_pi), (unheard, pi) = begin_payment(shopfront), begin_payment(shopfront)
    shopfront.confirm(pi)
    change_at_stripe(shopfront, broken_pi, metadata="no object")
    _code, lines = run_audit(shopfront)
    text = "\n".join(lines)
    assert f"order {broken.code}: {broken_pi} cannot be read: UnreadableAnswer" in text
    assert f"order {unheard.code}: {pi}: is succeeded at Stripe" in text


@sqlite_only
def test_a_payment_intent_that_is_stored_on_no_order(shopfront):
    """The pay page finds it while the order is held; after that nobody may pay it any more."""
    order = shopfront.place_directly(1)
    line = StripeProxy(shopfront)
    line.fate = lambda call: "unanswered" if call == "POST /v1/payment_intents" else None
    shopfront.buyer().get(f"/orders/{order.token}/pay")
    line.fate = lambda _call: None
    (intent,) = shopfront.stripe.v1.payment_intents.list().data
    assert_sound(shopfront)
    corrupt(shopfront, Order, status="expired")
    corrupt(shopfront, Payment, status="canceled")
    code, lines = run_audit(shopfront)
    assert code == 1
    assert f"{intent.id} was created for it, is requires_payment_method" in "\n".join(lines)
    run_audit(shopfront, "--repair")
    assert shopfront.stripe.v1.payment_intents.retrieve(intent.id).status == "canceled"


@sqlite_only
@pytest.mark.parametrize("status", ["succeeded", "processing"])
def test_a_payment_intent_that_a_held_order_has_not_stored(shopfront, status):
    shopfront.silence_stripe()
    order, pi = begin_payment(shopfront, 1)
    shopfront.confirm(pi)
    change_at_stripe(shopfront, pi, status=status)
    corrupt(shopfront, Payment, payment_intent_id=None, status="new")
    problem = f"{pi} was created for it, is {status} at Stripe and not in the shop"
    assert_breaches(shopfront, f"I2 order {order.code}: {problem}")


@sqlite_only
def test_stripe_is_asked_by_lists(shopfront):
    remove_capacity(shopfront)
    for _ in range(12):
        pay(shopfront, 1)
    line = StripeProxy(shopfront)
    assert_sound(shopfront)
    assert sorted(line.calls) == ["GET /v1/disputes", "GET /v1/payment_intents", "GET /v1/refunds"]
