"""Joining and what becomes of it: one subscription, whatever is lost, doubled or out of order."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import stripe
from sqlalchemy import func, select

from tests.invariants import check_money
from tests.racing import together
from tests.stripe_answers import StripeAnswers
from tmt.billing.access import AccessReason, access_of
from tmt.billing.joining import end_with_period, join, start
from tmt.billing.models import Invoice, Membership
from tmt.billing.webhook_handlers import HANDLERS
from tmt.catalog.models import Plan
from tmt.customers.accounts import customer_for
from tmt.gateway.errors import GatewayError
from tmt.gateway.inbox import InboxRow
from tmt.gateway.types import StripeEvent
from tmt.operations.audit import audit

GRACE = timedelta(days=7)


def plan_of(front, slug="amigos", **changed):
    values = {
        "family": "amigos",
        "names": {"es": "Amigos"},
        "price": 1000,
        "currency": "eur",
        "interval": "month",
        "status": "published",
        "updated_at": front.clock.now(),
    }
    front.shop.db.transaction(lambda session: session.add(Plan(slug=slug, **values | changed)))


def customer_of(front, email="ana@example.com"):
    return front.shop.db.transaction(
        lambda session: customer_for(session, front.shop, email, "Ana", "en")
    )


def joined(front, slug="amigos"):
    return join(front.shop, front.gateway, customer_of(front), slug)


def pay(front, membership, card="pm_card_visa"):
    """As the browser does with the pay page's secret; a decline raises."""
    read = start(front.shop, front.gateway, membership.id)
    secret = read.latest_invoice.client_secret
    return front.confirm(secret.split("_secret_")[0], card)


def now_of(front, membership):
    with front.shop.db.reading() as session:
        row = session.get_one(Membership, membership.id)
        invoices = session.scalars(select(Invoice).order_by(Invoice.id)).all()
        return row, invoices, access_of(row, GRACE, front.clock.now())


def subscriptions(front):
    return front.stripe.v1.subscriptions.list({"status": "all"}).data


@pytest.mark.usefixtures("sound")
def test_a_member_joins_is_declined_and_pays_with_another_card(shopfront):
    front = shopfront
    plan_of(front)
    membership = joined(front)
    row, (invoice,), access = now_of(front, membership)
    assert (row.status, invoice.status, access.reason) == ("incomplete", "open", "not_paid")
    with pytest.raises(stripe.CardError):
        pay(front, membership, "pm_card_visa_chargeDeclined")
    start(front.shop, front.gateway, membership.id)
    assert now_of(front, membership)[2].reason == AccessReason.NOT_PAID
    pay(front, membership)
    # The return page asks Stripe, before any event has come.
    start(front.shop, front.gateway, membership.id)
    row, (invoice,), access = now_of(front, membership)
    assert (row.status, invoice.status, invoice.amount_paid) == ("active", "paid", 1000)
    assert (access.reason, access.until) == (AccessReason.PAID, row.period_end)
    assert None not in (invoice.number, invoice.payment_intent_id)
    assert len(subscriptions(front)) == 1
    front.sandbox.deliver()
    front.run_jobs()
    # The PaymentIntent of an invoice is no order's, and nothing is missing or too much.
    check_money(front)
    assert [str(breach) for breach in audit(front.shop, front.gateway)] == []
    assert joined(front).id == membership.id


def test_a_double_click_is_one_membership(shopfront):
    front = shopfront
    plan_of(front)
    customer_id = customer_of(front)
    rows = together(
        *[lambda: join(front.shop, front.gateway, customer_id, "amigos") for _ in range(8)]
    )
    assert len({row.id for row in rows}) == 1
    assert len(subscriptions(front)) == 1
    assert len(front.stripe.v1.customers.list().data) == 1


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "lost", ["POST /v1/customers", "POST /v1/subscriptions", "GET /v1/subscriptions/"]
)
@pytest.mark.parametrize("later", [{"minutes": 1}, {"days": 2}])
def test_an_answer_that_is_lost_leads_to_the_same_subscription(shopfront, lost, later):
    front, answers = shopfront, StripeAnswers(shopfront)
    plan_of(front)
    answers.rules[lost] = {}.__getitem__
    with pytest.raises(GatewayError):
        joined(front)
    answers.rules.clear()
    front.clock.move(**later)
    membership = joined(front)
    assert [each.id for each in subscriptions(front)] == [membership.subscription_id]
    assert len(front.stripe.v1.customers.list().data) == 1
    with front.shop.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(Membership)) == 1


@pytest.mark.databases("sqlite")
def test_another_plan_of_the_family_replaces_one_that_was_never_paid(shopfront):
    front = shopfront
    plan_of(front)
    plan_of(front, "anual", interval="year", price=10000)
    monthly, yearly = joined(front), joined(front, "anual")
    assert now_of(front, monthly)[0].status.is_over
    pay(front, yearly)
    start(front.shop, front.gateway, yearly.id)
    # What is paid stays, whatever is chosen then.
    assert joined(front).id == yearly.id
    assert subscriptions(front)[0].status == "active"
    assert len(subscriptions(front)) == 2


def test_events_in_any_order_lead_to_what_stripe_says(shopfront):
    front = shopfront
    front.silence_stripe()
    plan_of(front)
    membership = joined(front)
    pay(front, membership)
    types = [name for name in HANDLERS if name.startswith(("invoice.", "customer."))]
    events = front.stripe.v1.events.list({"types": types, "limit": 100}).data
    assert len(events) >= 6
    # Stripe's news overtake the answer of the shop's own call, too.
    draw = random.Random(7)
    for _round in range(12):
        forget(front, membership)
        for each in draw.choices(events, k=len(events)) if _round % 2 else draw.sample(events, 6):
            object_ = {"id": each.data.object["id"]}
            event = StripeEvent(each.id, each.type, each.created, False, each.api_version, object_)
            HANDLERS[each.type](front.shop, front.gateway, event, lambda _session: None)
        start(front.shop, front.gateway, membership.id)
        row, invoices, access = now_of(front, membership)
        assert (row.status, [i.status for i in invoices]) == ("active", ["paid"])
        assert (access.reason, access.until) == (AccessReason.PAID, row.period_end)


def forget(front, membership):
    """As if the process had died after it stored the subscription's id."""

    def unit(session):
        row = session.get_one(Membership, membership.id)
        row.status, row.paid_through, row.period_start = "incomplete", None, None
        for invoice in session.scalars(select(Invoice)):
            session.delete(invoice)

    front.shop.db.transaction(unit)


@pytest.mark.databases("sqlite")
def test_events_of_other_systems_have_no_effect(shopfront):
    front, v1 = shopfront, shopfront.stripe.v1
    customer = v1.customers.create({"email": "other@example.com"}).id
    recurring = {"currency": "eur", "unit_amount": 500, "recurring": {"interval": "month"}}
    price = v1.prices.create(recurring | {"product_data": {"name": "Gym"}}).id
    marks = {"tmt_membership": "1", "tmt_shop": "another"}
    foreign = {"customer": customer, "items": [{"price": price}], "metadata": marks}
    v1.subscriptions.create(foreign | {"payment_behavior": "default_incomplete"})
    v1.invoices.delete(v1.invoices.create({"customer": customer}).id)
    front.sandbox.deliver()
    front.run_jobs()
    with front.shop.db.reading() as session:
        rows = session.execute(select(InboxRow.type, InboxRow.done_at.is_not(None))).all()
        assert session.scalars(select(Invoice)).all() == []
    assert {name for name, is_done in rows if not is_done} == set()
    assert "invoice.created" in {name for name, _is_done in rows}


@pytest.mark.databases("sqlite")
def test_who_joins_again_after_an_end_that_nobody_has_said(shopfront):
    front = shopfront
    front.silence_stripe()
    plan_of(front)
    first = joined(front)
    front.stripe.v1.subscriptions.cancel(first.subscription_id)
    second = joined(front)
    assert (second.id != first.id, second.status) == (True, "incomplete")


@pytest.mark.databases("sqlite")
def test_canceling_ends_with_the_period_and_is_taken_back(shopfront):
    front = shopfront
    plan_of(front)
    membership = joined(front)
    pay(front, membership)
    end_with_period(front.shop, front.gateway, membership.id, ends=True)
    row, _invoices, access = now_of(front, membership)
    assert (row.cancel_at_period_end, row.ends_at, access.is_open) == (True, row.period_end, True)
    end_with_period(front.shop, front.gateway, membership.id, ends=False)
    assert now_of(front, membership)[0].ends_at is None
    # In Stripe's portal it is another field; the event brings it.
    change = {"cancel_at": int(row.period_end.timestamp())}
    front.stripe.v1.subscriptions.update(membership.subscription_id, change)
    front.sandbox.deliver()
    front.run_jobs()
    assert now_of(front, membership)[0].ends_at == row.period_end
    end_with_period(front.shop, front.gateway, membership.id, ends=False)
    assert now_of(front, membership)[0].ends_at is None
