"""What one buyer, one browser and one address get of an event, however many of them ask at once."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from functools import partial
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select, update

from tests.racing import together
from tmt.catalog.models import Event, TicketType
from tmt.checkout.buyer_limits import BuyerLimit, Origin, TooManyUnpaid
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.holds import NoMoreTime, extend
from tmt.checkout.models import Order, OrderKey
from tmt.checkout.states import Trigger, lock_order
from tmt.core.email_address import buyer_email
from tmt.core.errors import RateLimited
from tmt.core.ids import new_token
from tmt.payments.confirm_email import confirm
from tmt.payments.purchase import purchase
from tmt.payments.refunds import issue_refund
from tmt.payments.sync import fulfill

pytestmark = pytest.mark.usefixtures("sound")
REFUSED = (BuyerLimit, TooManyUnpaid, RateLimited)


@pytest.fixture
def settings():
    return {"unpaid_per_address": 40}


def change(front, **values):
    """Changes the event, and with `price` or `places` its ticket types."""
    price, places = values.pop("price", None), values.pop("places", None)
    types = {"price": price} if price is not None else {}
    if places is not None:
        values["capacity"] = types["capacity"] = places

    def unit(session):
        if values:
            session.execute(update(Event).values(**values))
        if types:
            session.execute(update(TicketType).values(**types))

    front.shop.db.transaction(unit)
    for each in front.event.ticket_types:
        each.price = each.price if price is None else price


def buy(front, count=1, email=None, address="203.0.113.1", network=None, session=None):
    """Places an order below the web; None when a limit refused it."""
    general = front.event.ticket_types[0]
    request = CheckoutRequest(
        checkout_token=new_token(),
        quantities={general.id: count},
        shown_prices={general.id: general.price},
        holders={},
        name="Ana",
        email=email or f"{new_token()}@example.com",
    )
    origin = Origin(address, network or address, session or new_token())
    try:
        return purchase(front.shop, front.event.slug, request, "en", origin)
    except REFUSED:
        return None


def taken(front):
    return sum(front.stock())


def pay(front, order):
    buyer = front.buyer()
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")


def fulfil_all(orders, session):
    """Makes the orders paid as a payment does, without going to Stripe for each."""
    for order in orders:
        fulfill(session, lock_order(session, order.id), Trigger.WEBHOOK, order.created_at)


def test_aliases_are_one_buyer():
    same = ("Ana.B+x@gmail.com", "anab@googlemail.com", "ANAB+y+z@GMAIL.com")
    assert {buyer_email(email) for email in same} == {"anab@gmail.com"}
    assert buyer_email("a.b+1@example.com") == buyer_email("A.B@example.com") != "ab@example.com"
    assert buyer_email("+1@example.com") == "+1@example.com"


@pytest.mark.parametrize("price", [7500, 0])
@pytest.mark.parametrize("shared", ["email", "session"])
def test_fifty_orders_at_once_get_one_buyer_no_more_than_the_limit(shopfront, price, shared):
    change(shopfront, price=price, max_per_buyer=5, places=400)
    who = {"session": "s"} if shared == "session" else {}
    emails = [f"ana+{n}@example.com" if shared == "email" else None for n in range(50)]
    orders = together(
        *[
            partial(buy, shopfront, 1 + n % 2, email, f"198.51.100.{n}", **who)
            for n, email in enumerate(emails)
        ]
    )
    assert taken(shopfront) == 5
    assert len([order for order in orders if order]) < 6
    assert buy(shopfront, 5, "eva@example.com", "192.0.2.1")


def test_what_was_refunded_makes_room_for_its_buyer(shopfront):
    change(shopfront, max_per_buyer=3, places=40)
    order = buy(shopfront, 3, "ana@example.com")
    pay(shopfront, order)
    assert not buy(shopfront, 1, "ana@example.com")
    issue_refund(shopfront.shop, order.code, tickets=[1, 2])
    assert not buy(shopfront, 3, "ana@example.com")
    assert buy(shopfront, 2, "ana@example.com")


@pytest.mark.case("STK-03")
def test_slips_of_an_address_take_twice_the_room(shopfront):
    change(shopfront, places=310)
    for number in range(5):
        buy(shopfront, 4, f"a{number}@example.com")
    assert buy(shopfront, 4)
    slips = update(Order).values(status="processing")
    shopfront.shop.db.transaction(lambda session: session.execute(slips))
    assert not buy(shopfront, 4)


@pytest.mark.case("STK-03")
def test_one_address_holds_a_part_of_the_places_and_others_buy(shopfront):
    change(shopfront, places=310)
    for _try in range(60):
        buy(shopfront, 8)
    assert taken(shopfront) <= 40
    for _try in range(60):
        buy(shopfront, 1)
    assert taken(shopfront) <= 80
    assert buy(shopfront, 8, address="198.51.100.9")


@pytest.mark.case("STK-03")
def test_a_network_of_ipv6_holds_twice_as_much(shopfront):
    change(shopfront, places=310)
    for number in range(60):
        buy(shopfront, 8, address=f"2001:db8:1:{number:x}::/64", network="2001:db8:1::/48")
    assert 40 < taken(shopfront) <= 80
    assert buy(shopfront, 8, address="2001:db8:2:1::/64", network="2001:db8:2::/48")


@pytest.mark.case("STK-03")
def test_one_session_holds_one_orders_worth(shopfront):
    change(shopfront, places=400)
    orders = [buy(shopfront, 3, session="s", address=f"198.51.100.{n}") for n in range(5)]
    assert [bool(order) for order in orders] == [True, True, False, False, False]


class TestCrowd:
    @pytest.fixture
    def settings(self):
        return {"unpaid_per_address": 40, "orders_per_address": "40 per 10 minutes; 100 per hour"}

    def test_a_crowd_behind_one_address_that_pays_gets_through(self, shopfront):
        """Thirty people at a time want two tickets each, and pay before the next thirty come."""
        change(shopfront, places=600)
        bought = 0
        for _wave in range(6):
            orders = [order for order in (buy(shopfront, 2) for _ in range(30)) if order]
            shopfront.shop.db.transaction(partial(fulfil_all, orders))
            bought += len(orders)
        assert bought > 110
        assert shopfront.stock() == (0, 2 * bought)

    def test_who_never_pays_shuts_nobody_out_at_the_same_address(self, shopfront):
        change(shopfront, places=310)
        for count in (8, 3):
            while buy(shopfront, count):
                pass
        assert buy(shopfront, 2)
        assert not buy(shopfront, 3)


@pytest.mark.case("STK-03")
def test_an_extended_order_counts_twice(shopfront):
    change(shopfront, places=310)
    orders = [buy(shopfront, 8) for _ in range(4)]
    for order in orders:
        extend(shopfront.shop, order.id)
    assert not buy(shopfront, 8)
    while buy(shopfront, 1):
        pass
    assert taken(shopfront) == 44
    with shopfront.shop.db.reading() as session:
        newest = session.scalar(select(func.max(Order.id)))
    with pytest.raises(NoMoreTime):
        extend(shopfront.shop, newest)
    alone = buy(shopfront, 8, address="198.51.100.1")
    for _time in range(3):
        extend(shopfront.shop, alone.id)


@pytest.mark.case("STK-03")
def test_made_up_addresses_get_a_part_of_the_free_tickets(shopfront):
    change(shopfront, places=150, price=0)
    together(*[lambda: [buy(shopfront, 4) for _ in range(10)]] * 4)
    held, sold = shopfront.stock()
    assert sold <= 20
    assert held + sold <= 75
    shopfront.clock.move(minutes=20)
    shopfront.run_jobs()
    assert shopfront.stock() == (0, sold)
    assert buy(shopfront, 4, address="198.51.100.1").status == "paid"


def test_half_of_the_free_tickets_is_the_most_of_an_address(shopfront):
    change(shopfront, places=40, price=0)
    for _hour in range(30):
        order = buy(shopfront, 4)
        if order and order.status == "held":
            confirm(shopfront.shop, order)
    assert shopfront.stock() == (0, 20)


def test_one_email_gets_one_orders_worth_of_free_tickets(shopfront):
    change(shopfront, places=4000, price=0)
    for number in range(10):
        buy(shopfront, 8, f"ana+{number}@gmail.com", address=f"198.51.100.{number}")
    assert taken(shopfront) == 8


def confirm_link(front, number=-1):
    mail = message_from_bytes(front.mails()[number].read_bytes(), policy=policy.default)
    link = re.search(r"\S+/orders/\S+/confirm/\w+", mail.get_body(("plain",)).get_content())
    return urlsplit(link[0]).path


def test_free_tickets_wait_for_the_click_in_the_mail(shopfront):
    change(shopfront, price=0, confirm_email=True)
    buyer = shopfront.buyer()
    buyer.session.headers["Accept-Language"] = "en"
    event_page = buyer.get(f"/events/{shopfront.event.slug}").text
    assert "you will get them as soon as you confirm your email address" in event_page
    order = buyer.reserve(2)
    assert (order.status, shopfront.stock()) == ("held", (2, 0))
    page = buyer.get(f"/orders/{order.token}/pay").text
    assert "We have sent a link to ana@example.com" in page
    assert "Pay now" not in page
    shopfront.run_jobs()
    link = confirm_link(shopfront)
    assert link.rpartition("/")[2] not in page
    # Programs that check mails open every link.
    assert shopfront.buyer().get(link).status_code == 200
    assert shopfront.order(order.token).status == "held"
    other = shopfront.buyer()
    wrong = f"/orders/{order.token}/confirm/{'0' * 32}"
    token = {"csrf_token": other.csrf_token(link)}
    assert other.post(wrong, token).status_code == 404
    for _twice in range(2):
        answer = other.post(link, token, allow_redirects=False)
        assert answer.headers["Location"] == f"/orders/{order.token}"
    assert (shopfront.order(order.token).status, shopfront.stock()) == ("paid", (0, 2))
    assert "Paid on" not in buyer.get(f"/orders/{order.token}").text
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 2


def test_without_the_click_the_hold_ends(shopfront):
    change(shopfront, price=0, confirm_email=True)
    order = shopfront.buyer().reserve(1)
    shopfront.run_jobs()
    link = confirm_link(shopfront)
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert (shopfront.order(order.token).status, shopfront.stock()) == ("expired", (0, 0))
    assert shopfront.buyer().get(link, allow_redirects=False).status_code == 303


def test_the_form_says_what_is_limited_and_keeps_what_was_typed(shopfront):
    change(shopfront, max_per_buyer=2)
    buyer = shopfront.buyer()
    buyer.session.headers["Accept-Language"] = "en"
    page = buyer.get(f"/events/{shopfront.event.slug}").text
    assert "Up to 2 tickets per person." in page
    assert 'data-max-total="2"' in page
    assert shopfront.buyer().place(2).status_code == 303
    answer = buyer.place(1)
    assert answer.status_code == 422
    assert "only 2 tickets for this event, with those of earlier orders" in answer.text
    assert 'value="ana@example.com"' in answer.text
    change(shopfront, max_per_buyer=None)
    while shopfront.buyer(email=f"{new_token()}@example.com").place(8).status_code == 303:
        pass
    answer = buyer.place(4)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "reserved from your network" in answer.text


def test_keys_are_deleted_after_the_event(shopfront):
    buy(shopfront)
    with shopfront.shop.db.reading() as session:
        rows = session.scalars(select(OrderKey.key)).all()
    assert len(rows) == 3
    shopfront.clock.move(days=31)
    shopfront.run_jobs()
    with shopfront.shop.db.reading() as session:
        assert not session.scalars(select(OrderKey.key)).all()


class TestOwnOrder:
    """SEC-01: a cookie or a form that somebody else has leads to nobody's order."""

    def used_form(self, front):
        buyer = front.buyer()
        planted = buyer.session.cookies.copy()
        fields = buyer.form() | {f"quantity-{front.event.ticket_types[0].id}": "1"}
        planted.update(buyer.session.cookies.copy())
        order = front.order(
            re.search(
                r"/orders/([\w-]{22})", buyer.submit(front.event.slug, fields).headers["Location"]
            )[1]
        )
        return buyer, planted, fields, order

    @pytest.mark.case("SEC-01")
    @pytest.mark.parametrize("is_paid", [True, False])
    def test_another_session_with_the_form_does_not_reach_the_order(self, shopfront, is_paid):
        buyer, _planted, fields, order = self.used_form(shopfront)
        if is_paid:
            pay(shopfront, order)
        thief = shopfront.buyer()
        stolen = fields | {"csrf_token": thief.form()["csrf_token"]}
        answer = thief.submit(shopfront.event.slug, stolen)
        assert answer.status_code == 422
        assert order.token not in answer.text
        again = buyer.submit(shopfront.event.slug, fields)
        assert order.token in again.headers["Location"]

    @pytest.mark.case("SEC-01")
    def test_a_cookie_that_was_planted_before_does_not_reach_the_order(self, shopfront):
        _buyer, planted, fields, order = self.used_form(shopfront)
        thief = shopfront.buyer()
        thief.session.cookies = planted
        page = thief.get(f"/events/{shopfront.event.slug}").text
        assert order.token not in page
        assert fields["checkout_token"] not in page

    def test_another_tab_leads_to_the_order_that_waits(self, shopfront):
        buyer = shopfront.buyer()
        tabs = [buyer.form() for _ in range(2)]
        assert tabs[0]["checkout_token"] != tabs[1]["checkout_token"]
        quantity = {f"quantity-{shopfront.event.ticket_types[0].id}": "1"}
        answers = [buyer.submit(shopfront.event.slug, form | quantity) for form in tabs]
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert shopfront.stock() == (1, 0)
