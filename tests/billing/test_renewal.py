"""A membership through time: renewed, declined, in grace, suspended, recovered, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
import stripe

from tests.billing.test_joining import joined, now_of, pay, plan_of
from tmt.billing.access import AccessReason
from tmt.billing.joining import end_with_period, start

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def member(shopfront):
    plan_of(shopfront)
    membership = joined(shopfront)
    pay(shopfront, membership)
    start(shopfront.shop, shopfront.gateway, membership.id)
    return membership


def pass_time(front, sandbox, **span):
    sandbox.advance(**span)
    front.sandbox.deliver()
    front.run_jobs()


def test_each_renewal_moves_what_is_paid_through(shopfront, sandbox, member):
    front, ends = shopfront, []
    for _month in range(3):
        row, invoices, access = now_of(front, member)
        ends.append(access.until)
        assert (row.status, access.reason) == ("active", AccessReason.PAID)
        pass_time(front, sandbox, days=31)
    assert ends == sorted(set(ends))
    assert {invoice.status for invoice in now_of(front, member)[1]} == {"paid"}
    assert len(invoices) == 3


def test_a_renewal_that_fails_leads_through_grace_to_suspension_and_back(
    shopfront, sandbox, member
):
    front = shopfront
    row = now_of(front, member)[0]
    # It is stored, and declined when it is charged.
    bad = front.stripe.v1.payment_methods.create(
        {"type": "card", "card": {"token": "tok_chargeCustomerFail"}}
    )
    customer = front.stripe.v1.subscriptions.retrieve(row.subscription_id).customer
    front.stripe.v1.payment_methods.attach(bad.id, {"customer": customer})
    front.stripe.v1.subscriptions.update(row.subscription_id, {"default_payment_method": bad.id})
    pass_time(front, sandbox, days=32)
    row, _invoices, access = now_of(front, member)
    assert (row.status, access.reason) == ("past_due", AccessReason.GRACE)
    assert access.until == row.paid_through + timedelta(days=7)
    pass_time(front, sandbox, days=7)
    row, invoices, access = now_of(front, member)
    assert access.reason == AccessReason.SUSPENDED
    assert invoices[-1].status == "open"
    with pytest.raises(stripe.CardError):
        pay(front, member, "pm_card_visa_chargeDeclined")
    pay(front, member)
    start(front.shop, front.gateway, member.id)
    row, _invoices, access = now_of(front, member)
    assert (row.status, access.reason) == ("active", AccessReason.PAID)


def test_a_canceled_membership_ends_with_its_period(shopfront, sandbox, member):
    front = shopfront
    end_with_period(front.shop, front.gateway, member.id, ends=True)
    pass_time(front, sandbox, days=32)
    row, invoices, access = now_of(front, member)
    assert (row.status, access.reason) == ("canceled", AccessReason.ENDED)
    assert len(invoices) == 1
    assert joined(front).id != member.id
