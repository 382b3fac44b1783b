"""PAY-01, PAY-06, PAY-11: everybody at the same instant, again and again.

How a round ends shows that both orders of events were met. The mails are counted in the outbox,
as drawing and writing all of them takes longer than the races.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from functools import partial

import pytest
import stripe
from sqlalchemy import select, update

from tests.invariants import check_money
from tests.racing import together
from tests.sandbox_store import change_at_stripe
from tests.shopfront import SIGNING_SECRET, rendered_event
from tmt.catalog.models import Event, TicketType
from tmt.catalog.stock import SoldOut
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core.outbox import OutboxRow
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.intents import current_intent

pytestmark = pytest.mark.usefixtures("sound")
# On PostgreSQL these rounds, and twice as many, also pass without the order's row lock; that one is
# shown by tests/checkout/test_states.py.
ROUNDS = 30
_JSON = {"Content-Type": "application/json"}


class Handicap:
    """Holds back the one who was faster the last time, until the two meet at the same instant.

    Without it, one of two wins every time, and nothing has been tried.
    """

    def __init__(self):
        self.seconds = 0.0

    def __call__(self, action):
        def late():
            time.sleep(self.seconds)
            return action()

        return late

    def note(self, won):
        self.seconds = max(0.0, self.seconds + (0.003 if won else -0.002))


def begun(front):
    order = front.place_directly(1)
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    return order, intent.id


def statuses(front):
    with front.shop.db.reading() as session:
        return session.scalars(select(Order.status).order_by(Order.id)).all()


def capacity(front, places):
    """Lets the event have so many places, of any ticket type; None for no end of them."""

    def unit(session):
        session.execute(update(TicketType).values(capacity=None))
        session.execute(update(Event).values(capacity=places))

    front.shop.db.transaction(unit)


def drain(front):
    """Lets the shop do what is due; of the mails only the newest few are written."""
    query = select(OutboxRow.id).where(OutboxRow.kind != "refund", OutboxRow.done_at.is_(None))
    with front.shop.db.reading() as session:
        left_out = session.scalars(query.order_by(OutboxRow.id.desc()).offset(3)).all()
    statement = (
        update(OutboxRow).where(OutboxRow.id.in_(left_out)).values(done_at=front.shop.clock.now())
    )
    front.shop.db.transaction(lambda s: s.execute(statement))
    front.run_jobs()


def paying(front, pi):
    """The buyer's browser, which Stripe may refuse by now."""

    def pay():
        with contextlib.suppress(stripe.InvalidRequestError):
            front.confirm(pi)

    return pay


def asking(front, method, path, body=None, headers=None):
    """Asks the shop over a connection of its own, without what a whole client costs; the status."""

    def ask():
        with contextlib.closing(http.client.HTTPConnection(front.url[7:], timeout=30)) as line:
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            answer.read()
            return answer.status

    return ask


def getting(front, order, page):
    return asking(front, "GET", f"/orders/{order.token}/{page}")


def delivering(front, body):
    signature = stripe.WebhookSignature.generate_signature_header(body, SIGNING_SECRET)
    return asking(front, "POST", "/stripe_webhook", body, _JSON | {"Stripe-Signature": signature})


def confirming(front, pi):
    body = json.dumps({"data": {"payment_intent_id": pi}})
    return asking(front, "POST", "/stripe_confirm_payment", body, _JSON)


@pytest.mark.case("PAY-06")
def test_pay06_return_page_status_webhook_and_endpoint_at_once(shopfront):
    """Every fifth round with five of each, the others with one or two."""
    capacity(shopfront, None)
    for number in range(ROUNDS):
        many = 1 if number % 5 else 5
        order, pi = begun(shopfront)
        paid = shopfront.confirm(pi).to_dict(for_json=True)
        event = rendered_event(shopfront, "payment_intent.succeeded", paid, id=f"evt_{number}")
        calls = [
            *[getting(shopfront, order, "return")] * many,
            *[getting(shopfront, order, "status")] * many,
            *[delivering(shopfront, event)] * (many + 1),
            confirming(shopfront, pi),
        ]
        *answers, _worked = together(*calls, partial(shopfront.shop.jobs.run, "inbox"))
        assert answers == [303] * many + [200] * (2 * many + 2)
        assert shopfront.order(order.token).status == "paid"
        assert len(shopfront.tickets(order)) == 1
    drain(shopfront)
    assert shopfront.stock() == (0, ROUNDS)
    check_money(shopfront)


@pytest.mark.case("PAY-11")
def test_pay11_sweeper_against_payer(shopfront):
    capacity(shopfront, None)
    handicap = Handicap()
    for _round in range(ROUNDS):
        order, pi = begun(shopfront)
        shopfront.clock.move(minutes=16)
        together(
            handicap(paying(shopfront, pi)),
            lambda: end_overdue_holds(shopfront.shop, shopfront.gateway),
            lambda: end_overdue_holds(shopfront.shop, shopfront.gateway),
            getting(shopfront, order, "return"),
        )
        handicap.note(shopfront.order(order.token).status != "expired")
    drain(shopfront)
    assert set(statuses(shopfront)) == {"paid", "expired"}
    check_money(shopfront)


@pytest.mark.case("PAY-11")
def test_pay11_giving_up_against_paying(shopfront):
    capacity(shopfront, None)
    buyer, handicap = shopfront.buyer(), Handicap()
    form = {"csrf_token": buyer.csrf_token("/orders/find")}
    for _round in range(ROUNDS):
        order, pi = begun(shopfront)
        path = f"/orders/{order.token}/cancel"
        giving_up = partial(buyer.post, path, form, allow_redirects=False)
        _, answer = together(handicap(paying(shopfront, pi)), giving_up)
        assert answer.status_code == 303
        handicap.note(shopfront.order(order.token).status != "canceled")
    drain(shopfront)
    assert set(statuses(shopfront)) == {"paid", "canceled"}
    check_money(shopfront)


@pytest.mark.case("PAY-01")
def test_pay01_the_late_payer_against_the_next_buyer(shopfront):
    """One place, two who want it at the same instant: one has it, the other's money comes back."""
    handicap = Handicap()
    for number in range(1, ROUNDS + 1):
        capacity(shopfront, number)
        order, pi = begun(shopfront)
        shopfront.clock.move(minutes=16)
        shopfront.shop.jobs.run("holds")
        change_at_stripe(shopfront, pi, status="requires_payment_method")
        shopfront.confirm(pi)
        taking = handicap(partial(_place_one, shopfront))
        _status, took = together(getting(shopfront, order, "return"), taking)
        assert shopfront.order(order.token).status == ("refunded" if took else "paid")
        handicap.note(took)
        if took:
            _pay_for(shopfront, took)
    drain(shopfront)
    assert set(statuses(shopfront)) == {"paid", "refunded"}
    assert shopfront.stock() == (0, ROUNDS)
    check_money(shopfront)


def _place_one(front):
    try:
        return front.place_directly(1)
    except SoldOut:
        return None


def _pay_for(front, order):
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    front.confirm(intent.id)
    current_intent(front.shop, front.gateway, order, Trigger.RETURN_PAGE)
