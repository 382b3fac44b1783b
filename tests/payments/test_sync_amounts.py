"""PAY-08: what Stripe received must be what the order costs, in its currency."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.invariants import check_money
from tests.sandbox_store import change_at_stripe
from tmt.checkout.states import Trigger
from tmt.payments.models import Refund
from tmt.payments.sync import Outcome, sync_payment_intent

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def owed(shopfront):
    with shopfront.shop.db.reading() as session:
        return [(r.amount, r.currency, r.reason, r.status) for r in session.scalars(select(Refund))]


@pytest.mark.case("PAY-08")
@pytest.mark.parametrize(
    ("received", "currency"), [(7499, "usd"), (7501, "usd"), (1, "usd"), (7500, "eur")]
)
def test_pay08_another_amount_or_currency_is_no_payment(shopfront, received, currency):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = shopfront.gateway.retrieve_payment_intent(buyer.open_pay_page(order))
    succeeded = replace(pi, status="succeeded", amount_received=received, currency=currency)
    assert sync_payment_intent(shopfront.shop, succeeded, Trigger.WEBHOOK) == Outcome.REFUNDING
    assert sync_payment_intent(shopfront.shop, succeeded, Trigger.RETURN_PAGE) == Outcome.UNCHANGED
    assert shopfront.order(order.token).status == "refunded"
    assert not shopfront.tickets(order)
    assert shopfront.stock() == (0, 0)
    assert owed(shopfront) == [(received, currency, "mismatch", "requested")]


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-08")
@pytest.mark.parametrize("amount", [7499, 7501, 50])
def test_pay08_an_amount_changed_at_stripe_goes_back_whole(shopfront, amount):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    shopfront.stripe.v1.payment_intents.update(pi, {"amount": amount})
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "refunded"
    assert owed(shopfront) == [(amount, "usd", "mismatch", "succeeded")]
    check_money(shopfront)


@pytest.mark.case("PAY-08")
def test_pay08_a_part_of_the_capture_is_not_enough(shopfront):
    """`amount` says what was asked, `amount_received` what came."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    change_at_stripe(shopfront, pi, status="succeeded", amount_received=7499)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "refunded"
    assert not shopfront.tickets(order)


@pytest.mark.case("PAY-08")
def test_pay08_a_payment_of_the_exact_amount_is_one(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = shopfront.gateway.retrieve_payment_intent(buyer.open_pay_page(order))
    succeeded = replace(pi, status="succeeded", amount_received=7500)
    assert sync_payment_intent(shopfront.shop, succeeded, Trigger.WEBHOOK) == Outcome.PAID


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-09")
def test_pay09_a_payment_intent_that_is_not_stored_pays_nothing(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    foreign = shopfront.stripe.v1.payment_intents.create(
        {"amount": 7500, "currency": "usd", "metadata": {"platform": "TMT", "order": order.code}}
    )
    shopfront.confirm(foreign.id)
    succeeded = shopfront.gateway.retrieve_payment_intent(foreign.id)
    assert sync_payment_intent(shopfront.shop, succeeded, Trigger.API) == Outcome.UNKNOWN_INTENT
    assert shopfront.order(order.token).status == "held"
