"""PAY-01, PAY-06, PAY-11: everybody at the same instant, round after round."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
import requests
import stripe
from sqlalchemy import select, update

from tests.actions import rendered_event
from tests.invariants import check_money
from tests.racing import together
from tests.stripe_line import change_at_stripe
from tmt.catalog.models import Event
from tmt.catalog.stock import SoldOut
from tmt.checkout.models import Order
from tmt.checkout.states import Cause
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.start import current_intent

pytestmark = pytest.mark.usefixtures("sound")
ROUNDS = 24


def begun(front):
    order = front.place_directly(1)
    intent = current_intent(front.shop, front.gateway, order, Cause.PAGE)
    assert intent
    return order, intent.id


def statuses(front):
    with front.shop.db.reading() as session:
        return session.scalars(select(Order.status).order_by(Order.id)).all()


def capacity(front, places):
    query = update(Event).where(Event.id == front.event.id).values(capacity=places)
    front.shop.db.transaction(lambda s: s.execute(query))


def paying(front, pi):
    """The buyer's browser, which Stripe may refuse by now."""

    def pay():
        with contextlib.suppress(stripe.InvalidRequestError):
            front.confirm(pi)

    return pay


def test_pay06_return_page_status_webhook_and_endpoint_at_once(shopfront):
    for number in range(ROUNDS):
        order, pi = begun(shopfront)
        paid = shopfront.confirm(pi).to_dict(for_json=True)
        page = f"{shopfront.url}/orders/{order.token}"
        event = rendered_event(shopfront, "payment_intent.succeeded", paid, id=f"evt_{number}")
        calls = [
            *[partial(requests.get, f"{page}/return", timeout=30)] * 5,
            *[partial(requests.get, f"{page}/status", timeout=30)] * 5,
            *[partial(shopfront.deliver, event)] * 5,
            partial(shopfront.api, "confirm_payment", {"payment_intent_id": pi}),
        ]
        *answers, _worked = together(*calls, partial(shopfront.shop.jobs.run, "inbox"))
        assert {answer.status_code for answer in answers} == {200}
        assert shopfront.order(order.token).status == "paid"
        assert len(shopfront.tickets(order)) == 1
    shopfront.run_jobs()
    assert len(shopfront.mails()) == ROUNDS
    assert shopfront.stock() == (0, ROUNDS)
    check_money(shopfront)


def test_pay11_sweeper_against_payer(shopfront):
    for _round in range(ROUNDS):
        order, pi = begun(shopfront)
        shopfront.clock.move(minutes=16)
        page = f"{shopfront.url}/orders/{order.token}/return"
        together(
            paying(shopfront, pi),
            lambda: end_overdue_holds(shopfront.shop, shopfront.gateway),
            lambda: end_overdue_holds(shopfront.shop, shopfront.gateway),
            partial(requests.get, page, timeout=30),
        )
    shopfront.run_jobs()
    assert set(statuses(shopfront)) <= {"paid", "expired"}
    check_money(shopfront)


def test_pay11_giving_up_against_paying(shopfront):
    for _round in range(ROUNDS // 2):
        buyer = shopfront.buyer()
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        form = {"csrf_token": buyer.csrf_token("/orders/find")}
        path = f"/orders/{order.token}/cancel"
        _, answer = together(paying(shopfront, pi), partial(buyer.post, path, form))
        assert answer.status_code == 200
        shopfront.run_jobs()
        assert shopfront.order(order.token).status in ("paid", "canceled")
    check_money(shopfront)


def test_pay01_the_late_payer_against_the_next_buyer(shopfront):
    """One place, two who want it at the same instant: one has it, the other's money comes back."""
    for number in range(1, ROUNDS + 1):
        capacity(shopfront, number)
        order, pi = begun(shopfront)
        shopfront.clock.move(minutes=16)
        shopfront.run_jobs()
        change_at_stripe(shopfront, pi, status="requires_payment_method")
        shopfront.confirm(pi)
        told = shopfront.gateway.retrieve_payment_intent(pi)
        took = together(
            partial(requests.get, f"{shopfront.url}/orders/{order.token}/return", timeout=30),
            partial(_free_place, shopfront),
        )[1]
        assert told.status == "succeeded"
        assert shopfront.order(order.token).status == ("refunded" if took else "paid")
        if took:
            _settle_by_hand(shopfront, took)
    shopfront.run_jobs()
    assert shopfront.stock() == (0, ROUNDS)
    check_money(shopfront)


def _free_place(front):
    try:
        return front.place_directly(1)
    except SoldOut:
        return None


def _settle_by_hand(front, order):
    intent = current_intent(front.shop, front.gateway, order, Cause.PAGE)
    front.confirm(intent.id)
    current_intent(front.shop, front.gateway, order, Cause.RETURN_PAGE)
