"""Tickets: one for each that was paid, none twice."""

from __future__ import annotations

import re

import pytest
from sqlalchemy.exc import IntegrityError

from tests.invariants import check_tickets
from tmt.catalog import stock
from tmt.checkout.models import OrderStatus
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.payments.sync import fulfill
from tmt.tickets.issue import get_tickets, issue, void

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def pay(shopfront, *quantities, **changed):
    order = shopfront.place_directly(*quantities, **changed)

    def unit(session):
        fulfill(session, lock_order(session, order.id), Trigger.FREE, shopfront.clock.now())

    shopfront.shop.db.transaction(unit)
    return order


def tickets(shopfront, order):
    with shopfront.shop.db.reading() as session:
        return get_tickets(session, order.id)


def test_each_ticket_has_its_number_type_and_price(shopfront):
    issued = tickets(shopfront, pay(shopfront, 2, 1))
    assert [t.number for t in issued] == [1, 2, 3]
    assert [t.type_name for t in issued] == ["General", "General", "Balcón"]
    assert [t.price for t in issued] == [7500, 7500, 2500]
    assert {t.event_id for t in issued} == {shopfront.event.id}
    assert {t.status for t in issued} == {"valid"}


def test_a_ticket_carries_its_holders_name_or_the_buyers(shopfront):
    general, balcony = shopfront.event.ticket_types
    holders = {general.id: ["Eva", ""], balcony.id: ["Leo", "one too many"]}
    issued = tickets(shopfront, pay(shopfront, 3, 1, holders=holders))
    assert [t.holder for t in issued] == ["Eva", "Ana Ejemplo", "Ana Ejemplo", "Leo"]


def test_codes_are_128_random_bits_each(shopfront):
    codes = [t.code for _ in range(5) for t in tickets(shopfront, pay(shopfront, 8))]
    assert len(set(codes)) == 40
    assert all(re.fullmatch("[A-Z2-7]{26}", code) for code in codes)
    assert len({code[:4] for code in codes}) > 35


@pytest.mark.databases("sqlite", "postgresql")
def test_an_order_cannot_be_issued_twice(shopfront):
    order = pay(shopfront, 2)
    with pytest.raises(IntegrityError):
        shopfront.shop.db.transaction(
            lambda s: issue(s, lock_order(s, order.id), shopfront.clock.now())
        )
    assert len(tickets(shopfront, order)) == 2
    check_tickets(shopfront.shop.db)


def test_void_tickets_stay_and_have_no_pdf(shopfront):
    order, other = pay(shopfront, 2), pay(shopfront, 1)

    def refund(session):
        row = lock_order(session, order.id)
        transition(session, row, OrderStatus.REFUNDED, Trigger.STAFF, shopfront.clock.now())
        void(session, order.id, None)
        stock.restock(session, row.event_id, row.quantities)

    shopfront.shop.db.transaction(refund)
    assert [t.status for t in tickets(shopfront, order)] == ["void", "void"]
    assert [t.status for t in tickets(shopfront, other)] == ["valid"]
    buyer = shopfront.buyer()
    assert buyer.get(f"/orders/{order.token}/tickets.pdf").status_code == 404
    assert buyer.get(f"/orders/{other.token}/tickets.pdf").status_code == 200


def test_the_files_of_a_paid_order_are_its_buyers_alone(shopfront):
    order = pay(shopfront, 1)
    buyer = shopfront.buyer()
    pdf = buyer.get(f"/orders/{order.token}/tickets.pdf")
    assert pdf.content.startswith(b"%PDF")
    assert pdf.headers["Cache-Control"] == "no-store"
    assert f"tickets-{order.code}.pdf" in pdf.headers["Content-Disposition"]
    calendar = buyer.get(f"/orders/{order.token}/calendar.ics")
    assert calendar.text.startswith("BEGIN:VCALENDAR")
    assert buyer.get(f"/orders/{order.token}/mail").status_code == 404


def test_nothing_is_downloaded_of_an_order_that_is_not_pay(shopfront):
    order = shopfront.place_directly(1)
    for page in ("tickets.pdf", "calendar.ics", "mail"):
        assert shopfront.buyer().get(f"/orders/{order.token}/{page}").status_code == 404
