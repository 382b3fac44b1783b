"""Answers of Stripe's that overtake each other: the older one never wins, and no mail is lost."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.payments.flows import run_until_idle
from tests.sandbox_store import change_at_stripe
from tmt.checkout.states import Trigger
from tmt.core.outbox import OutboxRow
from tmt.payments.sync import Outcome, read_payment_intent, sync_from_stripe, sync_payment_intent

pytestmark = pytest.mark.usefixtures("sound")
DECLINED = {"code": "card_declined", "decline_code": "generic_decline"}


@pytest.fixture
def placed(shopfront):
    """An order whose card was declined, about which no event is sent."""
    shopfront.silence_stripe()
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    at_stripe(shopfront, pi, "requires_payment_method", last_payment_error=DECLINED)
    return order, pi


def at_stripe(shopfront, pi, status, method=None, **changed):
    fields = {"last_payment_error": None, "payment_method": method} | changed
    change_at_stripe(shopfront, pi, status=status, **fields)


def sync(shopfront, pi):
    return sync_from_stripe(shopfront.shop, shopfront.gateway, pi, Trigger.WEBHOOK)[1]


def mails(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(OutboxRow.kind).order_by(OutboxRow.id)).all()


def test_a_read_from_before_the_debit_refuses_nothing(shopfront, placed):
    order, pi = placed
    old = read_payment_intent(shopfront.shop, shopfront.gateway, pi)
    at_stripe(shopfront, pi, "processing", "pm_1")
    assert sync(shopfront, pi) == Outcome.PROCESSING
    ran = []
    outcome = sync_payment_intent(shopfront.shop, old, Trigger.RETURN_PAGE, ran.append)
    assert (outcome, ran) == (Outcome.STALE, [])
    assert shopfront.order(order.token).status == "processing"
    assert mails(shopfront) == ["payment_processing"]
    # The bank's own refusal still counts, and is mailed.
    at_stripe(shopfront, pi, "requires_payment_method", last_payment_error=DECLINED)
    assert sync(shopfront, pi) == Outcome.FAILED
    assert mails(shopfront) == ["payment_processing", "payment_failed"]


def test_a_read_from_before_the_refusal_starts_no_waiting(shopfront, placed):
    order, pi = placed
    at_stripe(shopfront, pi, "processing", "pm_1")
    sync(shopfront, pi)
    at_stripe(shopfront, pi, "processing", "pm_2")
    old = read_payment_intent(shopfront.shop, shopfront.gateway, pi)
    at_stripe(shopfront, pi, "requires_payment_method", last_payment_error=DECLINED)
    sync(shopfront, pi)
    assert sync_payment_intent(shopfront.shop, old, Trigger.PAGE) == Outcome.STALE
    assert shopfront.order(order.token).status == "held"


def test_a_read_that_is_overtaken_is_repeated(shopfront, placed, monkeypatch):
    order, pi = placed
    retrieve = shopfront.gateway.retrieve_payment_intent
    meanwhile = iter([lambda: at_stripe(shopfront, pi, "processing", "pm_1")])

    def retrieve_slowly(payment_intent):
        intent = retrieve(payment_intent)
        for happen in meanwhile:
            happen()
            sync(shopfront, pi)
        return intent

    monkeypatch.setattr(shopfront.gateway, "retrieve_payment_intent", retrieve_slowly)
    assert sync(shopfront, pi) == Outcome.UNCHANGED
    assert shopfront.order(order.token).status == "processing"


def test_each_refusal_is_mailed_once(shopfront, placed):
    _order, pi = placed
    for _attempt in range(2):
        at_stripe(shopfront, pi, "processing", "pm_1")
        sync(shopfront, pi)
        sync(shopfront, pi)
        at_stripe(shopfront, pi, "requires_payment_method", last_payment_error=DECLINED)
        assert sync(shopfront, pi) == Outcome.FAILED
        assert sync(shopfront, pi) == Outcome.UNCHANGED
    assert mails(shopfront) == ["payment_processing", "payment_failed"] * 2
    run_until_idle(shopfront)
    assert len(shopfront.mails()) == 2


def test_without_an_error_nothing_is_refused(shopfront, placed):
    order, pi = placed
    at_stripe(shopfront, pi, "processing", "pm_1")
    sync(shopfront, pi)
    at_stripe(shopfront, pi, "requires_payment_method")
    assert sync(shopfront, pi) == Outcome.UNCHANGED
    assert shopfront.order(order.token).status == "processing"
    # It cannot stay so for ever: nobody pays it any more.
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"
