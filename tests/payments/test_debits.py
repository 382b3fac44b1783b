"""PAY-12 with a real bank debit: bought today, settled or bounced days later, asked back later."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.invariants import check_money
from tests.payments.flows import (
    alert_kinds,
    english_buyer,
    order_page,
    run_until_idle,
    ticket_statuses,
)
from tmt.catalog.models import Event

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def event_in(shopfront, **changed):
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(changed)))


def debit(shopfront, iban="success"):
    """An order in euros that is paid by bank debit today."""
    event_in(shopfront, currency="eur")
    buyer = english_buyer(shopfront)
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
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "processing"
    return order, pi


def subjects(shopfront):
    return " ".join(
        line for mail in shopfront.mails() for line in mail.read_text().splitlines()
        if line.startswith("Subject:")
    )  # fmt: skip


def test_it_settles_five_days_later(shopfront, sandbox):
    order, _pi = debit(shopfront)
    assert "Your payment is being processed" in order_page(shopfront, order)
    assert not shopfront.mails()
    sandbox.advance(hours=1)
    run_until_idle(shopfront)
    assert "is being processed" in subjects(shopfront)
    assert shopfront.stock() == (2, 0)
    sandbox.advance(days=5)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    assert len(shopfront.mails()) == 2
    check_money(shopfront)


def test_it_bounces_and_the_places_are_free_again(shopfront, sandbox):
    order, pi = debit(shopfront, "failed")
    sandbox.advance(days=5)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)
    assert "was not completed" in subjects(shopfront)
    assert "is being processed" not in subjects(shopfront)
    assert "Your payment was not completed" in order_page(shopfront, order)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    check_money(shopfront)


@pytest.mark.case("PAY-12")
def test_the_bank_asks_for_it_back_after_the_tickets_are_out(shopfront, sandbox):
    order, _pi = debit(shopfront, "disputed")
    sandbox.advance(days=6)
    run_until_idle(shopfront)
    assert ticket_statuses(shopfront, order) == ["blocked", "blocked"]
    assert alert_kinds(shopfront) == ["dispute_opened"]


@pytest.mark.parametrize(("days", "offered"), [(5, False), (40, True)])
def test_it_is_not_offered_when_the_event_comes_sooner_than_the_money(shopfront, days, offered):
    starts = shopfront.clock.now() + timedelta(days=days)
    event_in(shopfront, currency="eur", starts_at=starts, ends_at=starts + timedelta(hours=3))
    buyer = english_buyer(shopfront)
    pi = buyer.open_pay_page(buyer.reserve(1))
    methods = shopfront.stripe.v1.payment_intents.retrieve(pi).payment_method_types
    assert "card" in methods
    assert ("sepa_debit" in methods) == offered


def test_a_card_that_takes_a_moment_gets_no_mail_about_it(shopfront, sandbox):
    order, _pi = debit(shopfront)
    sandbox.advance(days=6)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert "is being processed" not in subjects(shopfront)
