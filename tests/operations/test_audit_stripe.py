"""The audit of the money: what the rows say of it, and whether Stripe says the same."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select, update

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
from tests.stripe_line import StripeLine, change_at_stripe
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core.outbox import OutboxRow
from tmt.payments.alerts import open_alerts, resolve
from tmt.payments.intents import current_intent
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.refunds import issue_refund


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def refunds(front):
    with front.shop.db.reading() as session:
        return session.scalars(select(Refund).order_by(Refund.id)).all()


def test_money_is_kept_for_an_order_that_is_not_paid(shopfront):
    order, pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code)
    for gone in (delete(Refund), delete(OutboxRow).where(OutboxRow.kind == "refund")):
        shopfront.shop.db.transaction(lambda session, gone=gone: session.execute(gone))
    assert_breaches(shopfront, f"I2 order {order.code}: is refunded, and $150.00 of the buyer's money are")
    assert_sound(shopfront, "--repair")
    (made,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert (made.amount, refunds(shopfront)[0].stripe_id) == (15000, made.id)


def test_money_that_could_not_be_given_back_waits_for_a_person(shopfront):
    order, _pi = pay(shopfront, method="pm_card_refundFail")
    issue_refund(shopfront.shop, order.code)
    drain(shopfront)
    shopfront.sandbox.advance(4 * 86400)
    drain(shopfront)
    assert [refund.status for refund in refunds(shopfront)] == ["failed"]
    assert_breaches(shopfront, f"I2 order {order.code}: is refunded, and $150.00 of the buyer's money are")
    code, lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert any("could not be mended" in line and "failed before" in line for line in lines)
    assert len(refunds(shopfront)) == 1
    with shopfront.shop.db.reading() as session:
        (notice,) = open_alerts(session)
    resolve(shopfront.shop, notice.id)
    assert_sound(shopfront)


def test_paid_with_less_than_it_costs(shopfront):
    order, pi = pay(shopfront)
    corrupt(shopfront, Payment, amount_received=1)
    change_at_stripe(shopfront, pi, amount_received=1)
    assert_breaches(shopfront, f"I2 order {order.code}: is paid, and no payment of $150.00 has come for it")


def test_paid_twice_and_only_once_needed(shopfront):
    order, _pi = pay(shopfront)
    other, other_pi = begin_payment(shopfront)
    shopfront.confirm(other_pi)
    drain(shopfront)
    moved = update(Payment).where(Payment.payment_intent_id == other_pi).values(order_id=order.id)
    shopfront.shop.db.transaction(lambda session: session.execute(moved))
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: costs $150.00, and $300.00 are kept for it",
        f"I2 order {other.code}: is paid, and no payment of $150.00 has come for it",
    )


def test_all_went_back_and_the_order_stands(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=14999)
    drain(shopfront)
    corrupt(shopfront, Refund, amount=15000)
    change_at_stripe(shopfront, refunds(shopfront)[0].stripe_id, amount=15000)
    assert_breaches(shopfront, f"I2 order {order.code}: is paid, and all of its money has gone back")
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == "refunded"
    assert shopfront.stock() == (0, 0)


def test_more_went_back_than_came(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code)
    drain(shopfront)
    corrupt(shopfront, Refund, amount=15001)
    change_at_stripe(shopfront, refunds(shopfront)[0].stripe_id, amount=15001)
    assert_breaches(shopfront, f"I2 order {order.code}: $150.01 went back of $150.00 that came")


def test_stripe_has_money_that_the_shop_has_not_heard_of(shopfront):
    shopfront.silence_stripe()
    order, pi = begin_payment(shopfront)
    shopfront.confirm(pi)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: is succeeded at Stripe and requires_payment_method here;"
        " $150.00 of it are left at Stripe and $0.00 here",
    )
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == "paid"


@pytest.mark.parametrize("status", ["processing", "canceled"])
def test_stripe_knows_more_of_a_payment(shopfront, status):
    order, pi = begin_payment(shopfront)
    change_at_stripe(shopfront, pi, status=status)
    what = f"I2 order {order.code}: {pi}: is {status} at Stripe and requires_payment_method here"
    assert_breaches(shopfront, what)
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == status


def test_the_shop_says_paid_and_stripe_does_not(shopfront):
    order, pi = pay(shopfront)
    change_at_stripe(shopfront, pi, status="canceled", amount_received=0)
    assert_breaches(
        shopfront, f"I2 order {order.code}: {pi}: is canceled at Stripe and succeeded here; $0.00"
    )
    code, _lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert shopfront.order(order.code).status == "paid"


def test_a_buyer_in_the_middle_of_it_is_no_breach(shopfront):
    _order, pi = begin_payment(shopfront)
    change_at_stripe(shopfront, pi, status="requires_action")
    assert_sound(shopfront)


def test_a_refund_and_a_dispute_that_the_shop_has_not_heard_of(shopfront):
    shopfront.silence_stripe()
    (refunded, first), (disputed, second) = begin_payment(shopfront), begin_payment(shopfront)
    shopfront.confirm(first)
    shopfront.confirm(second, "pm_card_createDispute")
    shopfront.run_jobs()
    gone = delete(Dispute)
    shopfront.shop.db.transaction(lambda session: session.execute(gone))
    made = shopfront.stripe.v1.refunds.create({"payment_intent": first, "amount": 100})
    (dispute,) = shopfront.stripe.v1.disputes.list().data
    expected = {
        refunded.code: f"$149.00 of it are left at Stripe and $150.00 here; refund {made.id} is"
        " only known at Stripe",
        disputed.code: f"dispute {dispute.id} is only known at Stripe",
    }
    _code, lines = run_audit(shopfront)
    for code, text in expected.items():
        assert any(f"order {code}" in line and text in line for line in lines), lines
    code, lines = run_audit(shopfront, "--repair")
    assert (code, lines[-1]) == (0, "sound")
    assert {ticket.status for ticket in shopfront.tickets(disputed)} == {"blocked"}
    assert [refund.amount for refund in refunds(shopfront)] == [100]


def test_a_refund_that_has_failed_at_stripe(shopfront):
    shopfront.silence_stripe()
    order, pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=100)
    shopfront.run_jobs()
    (made,) = refunds(shopfront)
    change_at_stripe(shopfront, made.stripe_id, status="failed")
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: {pi}: $150.00 of it are left at Stripe and $149.00 here; refund"
        f" {made.stripe_id} is failed at Stripe and succeeded here",
    )
    code, lines = run_audit(shopfront, "--repair")
    assert (code, lines[-1]) == (0, "sound")


def test_payments_and_refunds_that_stripe_does_not_know(shopfront):
    (order, pi), (other, other_pi) = pay(shopfront), pay(shopfront)
    issue_refund(shopfront.shop, other.code, amount=100)
    drain(shopfront)
    corrupt(shopfront, Refund, stripe_id="re_nowhere")
    lost = (
        update(Payment).where(Payment.payment_intent_id == pi).values(payment_intent_id="pi_nowhere")
    )
    shopfront.shop.db.transaction(lambda session: session.execute(lost))
    _code, lines = run_audit(shopfront)
    text = "\n".join(lines)
    assert f"order {order.code}: pi_nowhere is unknown at Stripe" in text
    assert f"order {other.code}: {other_pi}: refund re_" in text
    assert "refund re_nowhere is only known here" in text
    assert f"order {order.code}: {pi} was made for it, is succeeded at Stripe and unknown" in text


def test_a_payment_that_cannot_be_read_hides_no_other(shopfront):
    shopfront.silence_stripe()
    (odd, odd_pi), (unheard, pi) = begin_payment(shopfront), begin_payment(shopfront)
    shopfront.confirm(pi)
    change_at_stripe(shopfront, odd_pi, metadata="no object")
    _code, lines = run_audit(shopfront)
    text = "\n".join(lines)
    assert f"order {odd.code}: {odd_pi} cannot be read: AttributeError" in text
    assert f"order {unheard.code}: {pi}: is succeeded at Stripe" in text


def test_a_payment_intent_that_nobody_stored(shopfront):
    """It is the pay page's while the order is held; after that it must not be paid any more."""
    order = shopfront.place_directly(1)
    line = StripeLine(shopfront)
    line.fate = lambda call: "unanswered" if call == "POST /v1/payment_intents" else None
    shopfront.buyer().get(f"/orders/{order.token}/pay")
    line.fate = lambda _call: None
    (made,) = shopfront.stripe.v1.payment_intents.list().data
    assert_sound(shopfront)
    corrupt(shopfront, Order, status="expired")
    corrupt(shopfront, Payment, status="canceled")
    code, lines = run_audit(shopfront)
    assert code == 1
    assert any(f"{made.id} was made for it, is requires_payment_method" in line for line in lines)
    run_audit(shopfront, "--repair")
    assert shopfront.stripe.v1.payment_intents.retrieve(made.id).status == "canceled"


def test_stripe_is_asked_by_lists(shopfront):
    remove_capacity(shopfront)
    for _ in range(12):
        pay(shopfront, 1)
    line = StripeLine(shopfront)
    assert_sound(shopfront)
    assert sorted(line.calls) == ["GET /v1/disputes", "GET /v1/payment_intents", "GET /v1/refunds"]
