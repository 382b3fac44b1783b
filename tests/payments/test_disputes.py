"""Disputes: recorded, tickets on hold, released when won, ended when lost."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.payments.flows import (
    alert_kinds,
    order_page,
    paid,
    refunds,
    run_until_idle,
    ticket_statuses,
)
from tmt.payments.models import Dispute
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.usefixtures("sound")


def disputed(shopfront, method="pm_card_createDispute"):
    order, pi = paid(shopfront, 2, method=method)
    run_until_idle(shopfront)
    (dispute,) = shopfront.stripe.v1.disputes.list({"payment_intent": pi}).data
    return order, dispute


def decide(shopfront, dispute, evidence):
    shopfront.stripe.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True}
    )
    run_until_idle(shopfront)


def stored(shopfront):
    with shopfront.shop.db.reading() as session:
        return [(d.stripe_id, d.status, d.amount) for d in session.scalars(select(Dispute))]


def test_while_it_is_undecided_the_tickets_open_no_door(shopfront):
    order, dispute = disputed(shopfront)
    assert stored(shopfront) == [(dispute.id, "needs_response", 15000)]
    assert ticket_statuses(shopfront, order) == ["blocked", "blocked"]
    assert shopfront.stock() == (0, 2)
    assert alert_kinds(shopfront) == ["dispute_opened"]
    assert "disputed with your bank" in order_page(shopfront, order)
    answer = shopfront.buyer().get(f"/orders/{order.token}/tickets.pdf")
    assert answer.status_code == 404


def test_won_gives_the_tickets_back(shopfront):
    order, dispute = disputed(shopfront)
    decide(shopfront, dispute, "winning_evidence")
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    assert alert_kinds(shopfront) == ["dispute_opened", "dispute_won"]
    assert "disputed with your bank" not in order_page(shopfront, order)
    assert issue_refund(shopfront.shop, order.code)


def test_lost_ends_the_order_and_its_places_are_for_sale(shopfront):
    order, dispute = disputed(shopfront)
    decide(shopfront, dispute, "losing_evidence")
    assert ticket_statuses(shopfront, order) == ["void", "void"]
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.stock() == (0, 0)
    assert alert_kinds(shopfront) == ["dispute_opened", "dispute_lost"]
    assert "Your bank reversed the payment" in order_page(shopfront, order)
    assert not refunds(shopfront)


def test_old_news_change_nothing_that_is_decided(shopfront):
    order, dispute = disputed(shopfront)
    decide(shopfront, dispute, "losing_evidence")
    for event in shopfront.stripe.v1.events.list({"limit": 100}).data:
        shopfront.deliver(str(event))
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "refunded"
    assert stored(shopfront) == [(dispute.id, "lost", 15000)]


def test_an_inquiry_moves_no_money_and_no_ticket(shopfront):
    order, _dispute = disputed(shopfront, "pm_card_createDisputeInquiry")
    assert stored(shopfront)[0][1] == "warning_needs_response"
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]


@pytest.mark.parametrize("settings", [{"block_disputed": False}])
def test_an_organiser_may_let_them_in_meanwhile(shopfront):
    order, dispute = disputed(shopfront)
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    decide(shopfront, dispute, "losing_evidence")
    assert ticket_statuses(shopfront, order) == ["void", "void"]
