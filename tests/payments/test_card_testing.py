"""PAY-16: who tries stolen cards gets few tries, somebody is told, and buyers still buy."""

from __future__ import annotations

import time

import pytest
import requests
import stripe
from sqlalchemy import func, select, update

from tests.invariants import check_money
from tests.stripe_proxy import StripeProxy
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import OrderTransition
from tmt.config import Settings
from tmt.gateway.inbox import InboxRow
from tmt.payments import card_testing
from tmt.payments.models import OperatorAlert

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]
DECLINED = "pm_card_visa_chargeDeclined"
ENDED = "payment_intent_unexpected_state"


def default(name):
    return Settings.model_fields[name].default


def known_declines(front, pi=None):
    query = select(func.count()).where(InboxRow.type == card_testing.FAILED_EVENT)
    if pi:
        query = query.where(InboxRow.object_id == pi)
    with front.shop.db.reading() as session:
        return session.scalar(query)


def decline(front, pi):
    """Tries a stolen card; False when the PaymentIntent takes no more. The shop has been told."""
    before = known_declines(front, pi)
    with pytest.raises(stripe.StripeError) as refused:
        front.confirm(pi, DECLINED)
    if refused.value.code == ENDED:
        return False
    assert refused.value.code == "card_declined"
    deadline = time.monotonic() + 15
    while known_declines(front, pi) == before:
        assert time.monotonic() < deadline, "no webhook came"
        time.sleep(0.005)
    return True


def try_cards(front, pi, most):
    """How many of so many stolen cards the PaymentIntent takes, the jobs at work meanwhile."""
    for tried in range(most):
        if not decline(front, pi):
            return tried
        front.shop.jobs.run("inbox")
    return most


def transitions(front, order):
    query = select(OrderTransition).where(OrderTransition.order_id == order.id)
    with front.shop.db.reading() as session:
        return [(t.to_status, t.triggered_by) for t in session.scalars(query)]


def notices(front):
    with front.shop.db.reading() as session:
        return [notice.kind for notice in session.scalars(select(OperatorAlert))]


def buy(front):
    """A buyer who has nothing to do with it."""
    buyer = front.buyer(name="Berta", email="berta@example.com")
    buyer.session.headers["X-Forwarded-For"] = "198.51.100.200"
    order = buyer.reserve(1)
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    assert front.order(order.token).status == "paid"
    check_money(front)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-16")
def test_pay16_one_order_gets_ten_declines_of_500(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order)
    assert try_cards(shopfront, pi, 500) == 10
    assert transitions(shopfront, order) == [("canceled", "declines")]
    assert shopfront.stock() == (0, 0)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    shopfront.run_jobs()
    assert notices(shopfront) == ["too_many_declines"]
    page = buyer.get(f"/orders/{order.token}", headers={"Accept-Language": "en"})
    assert "Too many payment attempts were declined" in page.text
    assert buyer.get(f"/orders/{order.token}/pay").url.endswith(order.token)
    buy(shopfront)


@pytest.mark.case("PAY-16")
def test_pay16_nine_declines_are_a_buyers_bad_luck(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    assert try_cards(shopfront, pi, 9) == 9
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    assert notices(shopfront) == []


@pytest.mark.case("PAY-16")
def test_pay16_a_decline_that_is_told_ten_times_is_one(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    assert decline(shopfront, pi)
    with shopfront.shop.db.reading() as session:
        event = session.scalar(select(InboxRow.event_id).where(InboxRow.object_id == pi))
    for _again in range(10):
        answer = shopfront.app.test_cli_runner().invoke(args=["inbox", "replay", event])
        assert answer.exit_code == 0
    assert shopfront.order(order.token).status == "held"


@pytest.mark.case("PAY-16")
def test_pay16_paid_at_the_last_card_stays_paid(shopfront):
    """The tenth decline is told after the eleventh card has paid."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    for _card in range(10):
        decline(shopfront, pi)
    shopfront.confirm(pi)
    # The inbox alone: the reconciler would find the payment first.
    shopfront.shop.jobs.run("inbox")
    assert shopfront.order(order.token).status == "paid"
    assert ("paid", "declines") in transitions(shopfront, order)
    assert notices(shopfront) == []
    check_money(shopfront)


class TestStripeSilent:
    @pytest.fixture
    def settings(self):
        return {"stripe_retries": 0}

    @pytest.mark.case("PAY-16")
    def test_pay16_the_end_waits_for_stripe(self, shopfront):
        buyer = shopfront.buyer()
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        for _card in range(10):
            decline(shopfront, pi)
        line = StripeProxy(shopfront)
        line.fate = lambda call: "refused" if call.endswith("/cancel") else None
        shopfront.run_jobs()
        assert shopfront.order(order.token).status == "held"
        line.fate = lambda _call: None
        shopfront.clock.move(minutes=1)
        shopfront.run_jobs()
        assert transitions(shopfront, order) == [("canceled", "declines")]
        assert notices(shopfront) == ["too_many_declines"]


class TestOneAddress:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": default("orders_per_address"), "trusted_proxies": 1}

    @pytest.mark.case("PAY-16")
    def test_pay16_one_address_gets_40_orders_of_500(self, shopfront, many_places):
        codes = []
        for number in range(45):
            tester = shopfront.buyer(email=f"tester{number}@example.com")
            tester.session.headers["X-Forwarded-For"] = "203.0.113.1"
            answer = tester.place(1)
            codes.append(answer.status_code)
        assert codes == [303] * 40 + [429] * 5
        assert 0 < int(answer.headers["Retry-After"]) <= 600
        assert shopfront.stock() == (40, 0)
        buy(shopfront)


class TestFiftyAddresses:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": "1 per hour", "trusted_proxies": 1, "declines_per_order": 1}

    @pytest.mark.case("PAY-16")
    def test_pay16_fifty_addresses_with_ten_cards_each(self, shopfront, many_places):
        """500 cards: few of them are tried, the alarm is raised, and a buyer buys."""
        tried = 0
        for number in range(50):
            tester = shopfront.buyer(email=f"tester{number}@example.com")
            tester.session.headers["X-Forwarded-For"] = f"203.0.113.{number}"
            order = tester.reserve(1)
            tried += try_cards(shopfront, tester.open_pay_page(order), 10)
            tester.session.cookies.clear()
            assert number % 10 or tester.place(1, email="eva@example.com").status_code == 429
        assert tried == 50
        assert shopfront.stock() == (0, 0)
        assert outcomes_and_alerts(shopfront) == (0.0, 50.0, 1)
        buy(shopfront)


@pytest.fixture
def many_places(shopfront):
    """Places for 1,000, so that none of this is about their number."""

    def unit(session):
        session.execute(update(Event).values(capacity=1000))
        session.execute(update(TicketType).values(capacity=1000))

    shopfront.shop.db.transaction(unit)


def outcomes_and_alerts(front):
    """The last hour's payments in /metrics, and how often their rate has been reported."""

    def samples():
        lines = requests.get(f"{front.url}/metrics", timeout=20).text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    counter = 'tmt_decline_rate_alerts_total{mode="test"}'
    before = samples().get(counter, 0)
    front.shop.jobs.run("decline_check")
    now = samples()
    return (
        float(now['tmt_last_hour_payments{outcome="succeeded"}']),
        float(now['tmt_last_hour_payments{outcome="failed"}']),
        float(now.get(counter, 0)) - float(before),
    )
