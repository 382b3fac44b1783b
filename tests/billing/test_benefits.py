"""A member buys: prices on page, order, mail and refund, and limits that hold in a crowd."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import update

from tests.billing.members import add_member, add_plan
from tests.customers.flows import signed_in
from tests.racing import together
from tests.shopfront import add_event
from tmt.billing.benefits import benefits_for
from tmt.billing.models import Membership
from tmt.catalog.models import Event, Plan
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.orders import PriceChanged
from tmt.core.ids import new_token
from tmt.customers.accounts import find_by_email
from tmt.payments.purchase import purchase
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.usefixtures("sound")
TERMS = {"member_percent_off": 20, "member_places": 2, "included_places": 1}


def change(front, table, **values):
    front.shop.db.transaction(lambda session: session.execute(update(table).values(**values)))


def lines(order):
    return [(line.quantity, line.unit_price, line.reason) for line in order.lines]


def total(buyer, front, *quantities):
    types = front.event.ticket_types
    query = "&".join(f"quantity-{t.id}={n}" for t, n in zip(types, quantities, strict=False))
    return buyer.get(f"/events/{front.event.slug}/total?{query}").json()["total"]


def test_a_member_pays_less_and_gets_back_what_was_paid(shopfront):
    front = shopfront
    add_member(front, add_plan(front, **TERMS))
    buyer, stranger = signed_in(front), front.buyer()
    page = buyer.get("/events/concierto?lang=en").text
    assert "1 ticket is included in your membership" in page
    assert "$60.00 for members, for 2 tickets" in page
    assert "for members" not in stranger.get("/events/concierto?lang=en").text
    assert (total(buyer, front, 4), total(stranger, front, 4)) == (19500, 30000)
    order = buyer.reserve(4)
    expected = [(1, 0, "included"), (2, 6000, "member_price"), (1, 7500, None)]
    assert (lines(order), order.total) == (expected, 19500)
    assert front.stock() == (4, 0)
    intent = front.stripe.v1.payment_intents.retrieve(buyer.open_pay_page(order))
    assert intent.amount == 19500
    front.confirm(intent.id)
    shown = buyer.get(f"/orders/{order.token}/return").text
    assert "included in your membership" in shown
    front.run_jobs()
    assert any("member price" in mail.read_text() for mail in front.mails())
    prices = [ticket.price for ticket in front.tickets(order)]
    assert prices == [0, 6000, 6000, 7500]
    # All of the benefits are used up, until the order is refunded.
    assert lines(buyer.reserve(1)) == [(1, 7500, None)]
    issue_refund(front.shop, order.code, tickets=[2])
    front.run_jobs()
    assert front.payment(order).amount_received - 6000 == 13500
    assert total(buyer, front, 1) == 7500
    issue_refund(front.shop, order.code)
    front.run_jobs()
    assert total(buyer, front, 4) == 19500


def test_each_event_and_each_period_has_its_own_places(shopfront):
    front = shopfront
    add_member(front, add_plan(front, **TERMS))
    other = add_event(front.shop.db, "otro", prices=(1000,), capacities=(50,))
    buyer = signed_in(front)
    first = buyer.reserve(3)
    fields = buyer.fill_in("otro") | {f"quantity-{other.ticket_types[0].id}": "3"}
    placed = buyer.submit("otro", fields)
    second = front.order(placed.headers["Location"].split("/")[-2])
    assert lines(second) == [(2, 800, "member_price"), (1, 1000, None)]
    buyer.cancel(first)
    now = front.clock.now()
    assert total(buyer, front, 3) == 12000
    # A new period: what was included before does not come back, what is new does.
    change(front, Membership, period_start=now, paid_through=now + timedelta(days=30))
    assert lines(buyer.reserve(3)) == [(1, 0, "included"), (2, 6000, "member_price")]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("membership", "amount"),
    [
        ({"status": "past_due", "paid_through": -1}, 12000),
        ({"status": "past_due", "paid_through": -8}, 15000),
        ({"status": "canceled"}, 15000),
        ({"status": "active", "cancel_at": 20}, 6000),
    ],
)
def test_benefits_go_by_access(shopfront, membership, amount):
    front, now = shopfront, shopfront.clock.now()
    days = {k: now + timedelta(days=v) for k, v in membership.items() if isinstance(v, int)}
    add_member(front, add_plan(front, **TERMS))
    change(front, Membership, **membership | days)
    assert total(signed_in(front), front, 2) == amount


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("currency", "amount"), [("usd", 14000), ("eur", 15000)])
def test_an_amount_off_counts_in_the_plans_currency(shopfront, currency, amount):
    front = shopfront
    terms = {"currency": currency, "member_amount_off": 500, "member_places": 9}
    add_member(front, add_plan(front, **terms))
    assert total(signed_in(front), front, 2) == amount


@pytest.mark.databases("sqlite")
def test_members_buy_before_the_sale_starts(shopfront):
    front, now = shopfront, shopfront.clock.now()
    add_member(front, add_plan(front, presale_days=3))
    change(front, Event, sale_starts_at=now + timedelta(days=3, hours=1))
    buyer = signed_in(front)
    assert "quantity-" not in buyer.get("/events/concierto").text
    front.clock.move(hours=2)
    assert "quantity-" not in front.buyer().get("/events/concierto").text
    assert lines(buyer.reserve(1)) == [(1, 7500, None)]


@pytest.mark.databases("sqlite")
def test_what_the_page_showed_must_be_what_is_paid(shopfront):
    front = shopfront
    add_member(front, add_plan(front, **TERMS))
    buyer = signed_in(front)
    fields = buyer.form() | {f"quantity-{front.event.ticket_types[0].id}": "2"}
    change(front, Plan, member_percent_off=10)
    refused = buyer.submit("concierto", fields)
    assert (refused.status_code, front.stock()) == (422, (0, 0))
    again = dict(re.findall(r'name="(shown_benefits)" value="(\w*)"', refused.text))
    accepted = buyer.submit("concierto", fields | again | {"checkout_token": new_token()})
    assert accepted.status_code == 303, accepted.text
    # Nor does anybody get a lower price who is not signed in.
    assert front.buyer().submit("concierto", fields | again).status_code != 303


def test_fifty_orders_at_once_use_no_place_twice(shopfront):
    front = shopfront
    terms = {"member_percent_off": 50, "member_places": 4, "included_places": 3}
    add_member(front, add_plan(front, **terms))
    change(front, Event, max_per_order=8)
    general = front.event.ticket_types[0]
    with front.shop.db.reading() as session:
        ana = find_by_email(session, "ana@example.com")

    def buy(count):
        while True:
            with front.shop.db.reading() as session:
                shown = benefits_for(session, front.shop, ana.id, front.event)
            request = CheckoutRequest(
                checkout_token=new_token(),
                quantities={general.id: count},
                shown_prices={general.id: general.price},
                holders={},
                name="Ana",
                email=ana.email,
                shown_benefits=shown.key,
            )
            try:
                return purchase(front.shop, "concierto", request, "en", None, ana, benefits_for)
            except PriceChanged:
                continue

    orders = together(*[partial(buy, 1) for _number in range(50)])
    used = Counter()
    for order in orders:
        for line in front.order(order.code).lines:
            used[line.reason] += line.quantity
    assert used == {"included": 3, "member_price": 4, None: 43}
