"""A refund that was decided on before the bank took the money: sent after all, or withdrawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.operations.auditing import begin_payment
from tests.payments.flows import refunds
from tests.stripe_proxy import StripeProxy
from tmt.checkout.states import Trigger
from tmt.gateway.types import RefundStatus
from tmt.operations.reconcile import sync_with_stripe
from tmt.payments.balances import get_disputes
from tmt.payments.refunds import issue_refund, record_refund
from tmt.payments.sync import sync_payment_intent

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]
CREATE = "POST /v1/refunds"


@pytest.fixture
def line(shopfront):
    """The calls to Stripe."""
    shopfront.silence_stripe()
    return StripeProxy(shopfront)


@pytest.fixture
def disputed(shopfront, line):
    """A PaymentIntent whose order was to be refunded when the shop heard of a dispute."""
    order, pi = begin_payment(shopfront, 1)
    shopfront.confirm(pi, "pm_card_createDispute")
    intent = shopfront.gateway.retrieve_payment_intent(pi)
    sync_payment_intent(shopfront.shop, intent, Trigger.RETURN_PAGE)
    issue_refund(shopfront.shop, order.code)
    sync_with_stripe(shopfront.shop, shopfront.gateway, pi)
    shopfront.shop.jobs.run("outbox")
    assert CREATE not in line.calls
    assert [refund.status for refund in refunds(shopfront)] == ["requested"]
    return order, pi


def decide(front, pi, evidence):
    """The bank decides; what Stripe said of the dispute before."""
    (before,) = front.gateway.list_disputes(payment_intent=pi)
    answer = {"evidence": {"uncategorized_text": evidence}, "submit": True}
    front.stripe.v1.disputes.update(before.id, answer)
    sync_with_stripe(front.shop, front.gateway, pi)
    front.clock.move(hours=7)
    front.shop.jobs.run("outbox")
    return before


def test_the_bank_leaves_the_money_and_the_refund_is_sent_once(shopfront, line, disputed):
    _order, pi = disputed
    decide(shopfront, pi, "winning_evidence")
    assert line.calls.count(CREATE) == 1
    (sent,) = shopfront.gateway.list_refunds(payment_intent=pi)
    # An answer that was written before.
    pending = replace(sent, status=RefundStatus.PENDING)
    record_refund(shopfront.shop, pending, Trigger.RECONCILER)
    assert [refund.status for refund in refunds(shopfront)] == ["succeeded"]


def test_the_bank_takes_the_money_and_the_refund_is_withdrawn(shopfront, line, disputed):
    order, pi = disputed
    decide(shopfront, pi, "losing_evidence")
    assert CREATE not in line.calls
    (refund,) = refunds(shopfront)
    assert (refund.status, refund.failure_reason) == ("canceled", "dispute_lost")
    with shopfront.shop.db.reading() as session:
        assert [dispute.status for dispute in get_disputes(session, order.id)] == ["lost"]
