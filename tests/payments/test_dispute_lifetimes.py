"""Disputes after their first decision, and what they do to what a person had decided."""

from __future__ import annotations

import pytest

from tests.payments.flows import alert_kinds, flask, paid, refunds, run_until_idle, ticket_statuses
from tests.sandbox_client import SandboxClient
from tests.sandbox_store import change_at_stripe
from tests.shopfront import PUBLISHABLE_KEY, SECRET_KEY
from tmt.checkout.states import Trigger
from tmt.gateway.types import DisputeMeaning, DisputeStatus
from tmt.payments.disputes import OutdatedAnswer, sync_dispute
from tmt.payments.refunds import OrderDisputed, issue_refund

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
def disputed(shopfront):
    """A paid order of two tickets whose payment is disputed, and the dispute's id; no events."""
    order, pi = paid(shopfront, 2, method="pm_card_createDispute")
    run_until_idle(shopfront)
    shopfront.silence_stripe()
    (dispute,) = shopfront.stripe.v1.disputes.list({"payment_intent": pi}).data
    return order, dispute.id


def becomes(shopfront, dispute, status, **changed):
    """Stripe decides, and the shop reads it."""
    change_at_stripe(shopfront, dispute, status=status, **changed)
    assert sync_dispute(shopfront.shop, shopfront.gateway, dispute, Trigger.WEBHOOK)


def test_every_status_of_the_pinned_version_has_a_meaning():
    assert {status.meaning for status in DisputeStatus} == set(DisputeMeaning)
    assert DisputeStatus("prevented").is_closed
    assert not DisputeStatus("appeal_under_review").is_closed
    assert DisputeStatus("something_new").meaning == DisputeMeaning.UNDECIDED


def test_lost_appealed_and_won_gives_the_tickets_back(shopfront, disputed):
    order, dispute = disputed
    becomes(shopfront, dispute, "lost")
    assert ticket_statuses(shopfront, order) == ["void", "void"]
    becomes(shopfront, dispute, "appeal_under_review")
    assert shopfront.order(order.token).status == "refunded"
    with pytest.raises(OrderDisputed):
        issue_refund(shopfront.shop, order.code)
    assert flask(shopfront, "audit", "--offline").exit_code == 0
    becomes(shopfront, dispute, "won")
    assert shopfront.order(order.token).status == "paid"
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    assert shopfront.stock() == (0, 2)
    kinds = ["dispute_opened", "dispute_lost", "dispute_reopened", "dispute_won"]
    assert alert_kinds(shopfront) == kinds
    becomes(shopfront, dispute, "lost")
    assert ticket_statuses(shopfront, order) == ["void", "void"]
    assert alert_kinds(shopfront) == [*kinds, "dispute_lost"]


def test_won_after_its_tickets_were_sold_to_others_needs_a_person(shopfront, disputed):
    order, dispute = disputed
    becomes(shopfront, dispute, "lost")
    for quantities in [(8,), (8,), (8,), (8,), (8,), (8,), (1,)]:
        shopfront.place_directly(*quantities)
    becomes(shopfront, dispute, "won")
    assert shopfront.order(order.token).status == "refunded"
    assert alert_kinds(shopfront)[-1] == "dispute_won_late"
    assert issue_refund(shopfront.shop, order.code).amount == 15000


def test_a_refund_that_a_lost_dispute_withdraws_raises_an_alert(shopfront):
    order, pi = paid(shopfront, 2)
    shopfront.silence_stripe()
    issue_refund(shopfront.shop, order.code, tickets=[1])
    client = SandboxClient(
        shopfront.stripe_url, SECRET_KEY, PUBLISHABLE_KEY, shopfront.stripe_store
    )
    client.dashboard(f"payments/{pi}/dispute", reason="fraudulent")
    (dispute,) = (one.id for one in shopfront.stripe.v1.disputes.list().data)
    becomes(shopfront, dispute, "needs_response", amount=7500)
    shopfront.run_jobs()
    assert refunds(shopfront)[0].status == "requested"
    becomes(shopfront, dispute, "lost")
    assert refunds(shopfront)[0].status == "canceled"
    assert alert_kinds(shopfront) == ["dispute_opened", "refund_withdrawn", "dispute_lost"]
    assert "refund was not sent" in flask(shopfront, "alerts", "list").output
    # An appeal brings back the ticket of the dispute's money, not the one that was refunded.
    becomes(shopfront, dispute, "won")
    assert ticket_statuses(shopfront, order) == ["void", "valid"]


def test_an_inquiry_that_stripe_can_refund_blocks_no_refund(shopfront):
    order, pi = paid(shopfront, 2, method="pm_card_createDisputeInquiry")
    run_until_idle(shopfront)
    assert issue_refund(shopfront.shop, order.code, amount=500)
    run_until_idle(shopfront)
    assert [refund.status for refund in refunds(shopfront)] == ["succeeded"]
    # It becomes a dispute: now nothing is refunded.
    shopfront.silence_stripe()
    (dispute,) = shopfront.stripe.v1.disputes.list({"payment_intent": pi}).data
    becomes(shopfront, dispute.id, "needs_response", is_charge_refundable=False)
    assert ticket_statuses(shopfront, order) == ["blocked", "blocked"]
    assert alert_kinds(shopfront).count("dispute_opened") == 2
    with pytest.raises(OrderDisputed):
        issue_refund(shopfront.shop, order.code)


def test_the_reconciler_applies_a_later_decision_and_another_amount(shopfront, disputed):
    order, dispute = disputed
    becomes(shopfront, dispute, "lost")
    change_at_stripe(shopfront, dispute, status="won")
    assert flask(shopfront, "reconcile", "--since", "1d").exit_code == 0
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    change_at_stripe(shopfront, dispute, amount=7500)
    assert flask(shopfront, "reconcile", "--since", "1d").exit_code == 0
    assert flask(shopfront, "audit").output.splitlines()[-1] == "sound"


def test_an_answer_that_is_older_than_what_is_stored_is_read_again(
    shopfront, disputed, monkeypatch
):
    order, dispute = disputed
    outdated = shopfront.gateway.retrieve_dispute(dispute)

    def read_slowly(_dispute):
        becomes_meanwhile()
        return outdated

    def becomes_meanwhile():
        monkeypatch.undo()
        becomes(shopfront, dispute, "lost")

    monkeypatch.setattr(shopfront.gateway, "retrieve_dispute", read_slowly)
    with pytest.raises(OutdatedAnswer):
        sync_dispute(shopfront.shop, shopfront.gateway, dispute, Trigger.WEBHOOK)
    assert ticket_statuses(shopfront, order) == ["void", "void"]
