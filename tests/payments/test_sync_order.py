"""WH-02: in whatever order Stripe's events come, they end in the same state."""

from __future__ import annotations

import itertools
import json

import pytest
import stripe

from tests.invariants import check_money
from tmt.checkout.states import Trigger
from tmt.payments.intents import current_intent

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


@pytest.fixture
def quiet(shopfront):
    """The shop, to which Stripe sends nothing by itself."""
    shopfront.silence_stripe()
    return shopfront


def reserve_with_intent(front):
    order = front.place_directly(1)
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    return order, intent.id


def events_of(front, pi, *types):
    """Stripe's events about the PaymentIntent, by type, as the webhook would get them."""
    bodies = {}
    for event in front.stripe.v1.events.list({"limit": 100}).data:
        fields = event.to_dict(for_json=True)
        object_ = fields["data"]["object"]
        if pi in (object_["id"], object_.get("payment_intent")):
            bodies[fields["type"]] = json.dumps(fields)
    return [bodies[name] for name in types]


def deliver(front, events):
    for body in events:
        assert front.deliver(body).status_code == 200
        front.shop.jobs.run("inbox")


def declined_then_paid(front, pi):
    with pytest.raises(stripe.CardError):
        front.confirm(pi, "pm_card_visa_chargeDeclined")
    front.confirm(pi)


PAID_TYPES = (
    "payment_intent.created",
    "payment_intent.payment_failed",
    "charge.succeeded",
    "payment_intent.succeeded",
)


@pytest.mark.case("WH-02")
@pytest.mark.parametrize("first", PAID_TYPES)
def test_wh02_declined_then_paid_in_every_order_of_the_events(quiet, first):
    rest = [name for name in PAID_TYPES if name != first]
    for types in itertools.permutations(rest):
        order, pi = reserve_with_intent(quiet)
        declined_then_paid(quiet, pi)
        deliver(quiet, events_of(quiet, pi, first, *types))
        assert quiet.order(order.token).status == "paid", (first, *types)
        assert quiet.payment(order).status == "succeeded"
        assert len(quiet.tickets(order)) == 1
    quiet.run_jobs()
    check_money(quiet)


@pytest.mark.case("WH-02")
@pytest.mark.parametrize("turned", [False, True])
def test_wh02_declined_then_canceled_in_every_order(quiet, turned):
    order, pi = reserve_with_intent(quiet)
    with pytest.raises(stripe.CardError):
        quiet.confirm(pi, "pm_card_visa_chargeDeclined")
    quiet.stripe.v1.payment_intents.cancel(pi)
    types = ["payment_intent.payment_failed", "payment_intent.canceled"]
    deliver(quiet, events_of(quiet, pi, *(reversed(types) if turned else types)))
    assert quiet.order(order.token).status == "canceled"
    assert quiet.payment(order).status == "canceled"
    assert quiet.stock() == (0, 0)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("WH-02")
def test_wh02_an_old_decline_moves_a_paid_order_nowhere(quiet):
    order, pi = reserve_with_intent(quiet)
    declined_then_paid(quiet, pi)
    current_intent(quiet.shop, quiet.gateway, order, Trigger.RETURN_PAGE)
    deliver(quiet, events_of(quiet, pi, "payment_intent.payment_failed"))
    assert quiet.order(order.token).status == "paid"
    assert quiet.payment(order).error_code is None
    quiet.run_jobs()
    check_money(quiet)


@pytest.mark.case("WH-02")
def test_wh02_a_refund_that_is_told_before_the_payment(quiet):
    """The buyer has paid and got all of it back before the first event arrives."""
    order, pi = reserve_with_intent(quiet)
    quiet.stripe.v1.payment_intents.update(pi, {"amount": 50})
    quiet.confirm(pi)
    quiet.stripe.v1.refunds.create({"payment_intent": pi})
    deliver(quiet, events_of(quiet, pi, "charge.refunded", "payment_intent.succeeded"))
    quiet.run_jobs()
    assert quiet.order(order.token).status == "refunded"
    assert not quiet.tickets(order)
    check_money(quiet)
