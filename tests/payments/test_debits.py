"""PAY-12 with a real bank debit: bought today, settled or bounced days later, asked back later."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.invariants import check_money
from tests.payments.test_returns import notices, page_of, reader, settle_down, states
from tmt.catalog.models import Event

pytestmark = pytest.mark.usefixtures("sound")


def event_in(shopfront, **changed):
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(changed)))


def debit(shopfront, iban="success"):
    """An order in euros that is paid by bank debit today."""
    event_in(shopfront, currency="eur")
    buyer = reader(shopfront)
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order)
    mandate = {"customer_acceptance": {"type": "offline"}}
    shopfront.stripe.v1.payment_intents.confirm(
        pi,
        {
            "payment_method": f"pm_sepaDebit_{iban}_de",
            "mandate_data": mandate,
            "return_url": f"{shopfront.url}/orders/{order.token}/return",
        },
    )
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "processing"
    return order, pi


def subjects(shopfront):
    return " ".join(
        line for mail in shopfront.mails() for line in mail.read_text().splitlines()
        if line.startswith("Subject:")
    )  # fmt: skip


def test_it_settles_five_days_later(shopfront, sandbox):
    order, _pi = debit(shopfront)
    assert "Your payment is on its way" in page_of(shopfront, order)
    assert not shopfront.mails()
    sandbox.advance(hours=1)
    settle_down(shopfront)
    assert "is on its way" in subjects(shopfront)
    assert shopfront.stock() == (2, 0)
    sandbox.advance(days=5)
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert states(shopfront, order) == ["valid", "valid"]
    assert len(shopfront.mails()) == 2
    check_money(shopfront)


def test_it_bounces_and_the_places_are_free_again(shopfront, sandbox):
    order, pi = debit(shopfront, "failed")
    sandbox.advance(days=5)
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)
    assert "Your bank did not pay" in subjects(shopfront)
    assert "is on its way" not in subjects(shopfront)
    assert "Your bank did not pay" in page_of(shopfront, order)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    check_money(shopfront)


@pytest.mark.case("PAY-12")
def test_the_bank_asks_for_it_back_after_the_tickets_are_out(shopfront, sandbox):
    order, _pi = debit(shopfront, "disputed")
    sandbox.advance(days=6)
    settle_down(shopfront)
    assert states(shopfront, order) == ["blocked", "blocked"]
    assert notices(shopfront) == ["dispute_opened"]


@pytest.mark.parametrize(("days", "offered"), [(5, False), (40, True)])
def test_it_is_not_offered_when_the_event_comes_sooner_than_the_money(shopfront, days, offered):
    starts = shopfront.clock.now() + timedelta(days=days)
    event_in(shopfront, currency="eur", starts_at=starts, ends_at=starts + timedelta(hours=3))
    buyer = reader(shopfront)
    pi = buyer.open_pay_page(buyer.reserve(1))
    methods = shopfront.stripe.v1.payment_intents.retrieve(pi).payment_method_types
    assert "card" in methods
    assert ("sepa_debit" in methods) == offered


def test_a_card_that_takes_a_moment_gets_no_mail_about_it(shopfront, sandbox):
    order, _pi = debit(shopfront)
    sandbox.advance(days=6)
    settle_down(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert "is on its way" not in subjects(shopfront)
