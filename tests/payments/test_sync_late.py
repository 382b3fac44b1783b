"""PAY-01, PAY-02: money that comes after its hold has ended."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from tests.invariants import check_money
from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy, wait_for_event
from tmt.catalog.models import Event
from tmt.core.mail_transport import file_name
from tmt.core.mailer import domain_of, message_id
from tmt.core.outbox import OutboxRow
from tmt.payments.models import Refund

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def capacity(shopfront, places):
    query = update(Event).where(Event.id == shopfront.event.id).values(capacity=places)
    shopfront.shop.db.transaction(lambda s: s.execute(query))


def expired_but_payable(shopfront, buyer, status="expired"):
    """An order that has ended although its PaymentIntent can be paid, as after a lost cancel."""
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    if status == "canceled":
        buyer.cancel(order)
    else:
        shopfront.clock.move(minutes=16)
        shopfront.run_jobs()
    assert shopfront.order(order.token).status == status
    change_at_stripe(shopfront, pi, status="requires_payment_method", canceled_at=None)
    return order, pi


def refunds(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(Refund)).all()


def mail_file(shopfront, kind, order):
    key = message_id(f"{kind}-{order.token}", domain_of(shopfront.url))
    return shopfront.shop.settings.mail_folder / file_name(key)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-01")
@pytest.mark.parametrize("status", ["expired", "canceled"])
def test_pay01_the_places_are_still_free_and_the_buyer_gets_them(shopfront, status):
    capacity(shopfront, 1)
    buyer = shopfront.buyer()
    order, pi = expired_but_payable(shopfront, buyer, status)
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "paid"
    assert shopfront.order(order.token).ended_at is None
    assert shopfront.stock() == (0, 1)
    shopfront.run_jobs()
    assert [path.name for path in shopfront.mails()] == [
        mail_file(shopfront, "confirmation", order).name
    ]
    check_money(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("PAY-01")
@pytest.mark.parametrize("news", ["webhook", "return"])
def test_pay01_the_places_are_gone_and_the_money_goes_back_once(shopfront, news):
    capacity(shopfront, 1)
    ana, eva = shopfront.buyer(), shopfront.buyer(name="Eva", email="eva@example.com")
    late, pi = expired_but_payable(shopfront, ana)
    faster = eva.reserve(1)
    shopfront.confirm(eva.open_pay_page(faster))
    eva.get(f"/orders/{faster.token}/return")
    shopfront.confirm(pi)
    if news == "return":
        ana.get(f"/orders/{late.token}/return")
    wait_for_event(shopfront, "payment_intent.succeeded", pi)
    for _again in range(3):
        shopfront.run_jobs()
        ana.get(f"/orders/{late.token}/return")
    assert shopfront.order(late.token).status == "refunded"
    assert shopfront.order(faster.token).status == "paid"
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    assert [(r.amount, r.status, r.reason) for r in refunds(shopfront)] == [
        (7500, "succeeded", "too_late")
    ]
    check_money(shopfront)
    assert mail_file(shopfront, "refunded", late).exists()
    assert not mail_file(shopfront, "confirmation", late).exists()
    assert "order-refunded" in ana.get(f"/orders/{late.token}").text
    assert ana.get(f"/orders/{late.token}/tickets.pdf").status_code == 404


@pytest.mark.case("PAY-01")
def test_pay01_an_event_that_was_called_off_takes_no_late_money(shopfront):
    buyer = shopfront.buyer()
    order, pi = expired_but_payable(shopfront, buyer)
    query = update(Event).where(Event.id == shopfront.event.id).values(status="canceled")
    shopfront.shop.db.transaction(lambda s: s.execute(query))
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "refunded"
    shopfront.run_jobs()
    check_money(shopfront)


@pytest.mark.case("PAY-01")
def test_pay01_an_event_that_is_over_takes_no_late_money(shopfront):
    buyer = shopfront.buyer()
    order, pi = expired_but_payable(shopfront, buyer)
    shopfront.clock.move(days=31)
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.order(order.token).status == "refunded"
    shopfront.run_jobs()
    check_money(shopfront)


@pytest.mark.case("PAY-01")
def test_pay01_half_of_the_places_is_not_taken_again(shopfront):
    """The event has room but the ticket type has not: nothing of it stays held."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1, 1)
    pi = buyer.open_pay_page(order)
    buyer.cancel(order)
    change_at_stripe(shopfront, pi, status="requires_payment_method")
    balcony = shopfront.event.ticket_types[1]
    query = update(type(balcony)).where(type(balcony).id == balcony.id).values(capacity=0)
    shopfront.shop.db.transaction(lambda s: s.execute(query))
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    assert shopfront.stock() == (0, 0)
    assert shopfront.order(order.token).status == "refunded"


@pytest.mark.case("PAY-01")
def test_pay01_in_three_d_secure_past_the_hold_while_another_buys(shopfront):
    capacity(shopfront, 1)
    ana, eva = shopfront.buyer(), shopfront.buyer(email="eva@example.com")
    late = ana.reserve(1)
    pi = ana.open_pay_page(late)
    challenge = shopfront.confirm(pi, "pm_card_authenticationRequired")
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    faster = eva.reserve(1)
    url = challenge.next_action.redirect_to_url.url
    assert ana.session.post(url, {"outcome": "complete"}, timeout=20).status_code == 404
    shopfront.confirm(eva.open_pay_page(faster))
    eva.get(f"/orders/{faster.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(late.token).status == "expired"
    assert shopfront.order(faster.token).status == "paid"
    check_money(shopfront)


@pytest.mark.case("PAY-02")
@pytest.mark.parametrize("fate", ["refused", "lost", "unanswered"])
def test_pay02_the_refunds_answer_is_lost_and_it_is_still_one(shopfront, fate):
    capacity(shopfront, 1)
    ana, eva = shopfront.buyer(), shopfront.buyer(email="eva@example.com")
    late, pi = expired_but_payable(shopfront, ana)
    eva.reserve(1)
    shopfront.confirm(pi)
    line = StripeProxy(shopfront)
    line.fate = lambda call: fate if call == "POST /v1/refunds" else None
    ana.get(f"/orders/{late.token}/return")
    shopfront.run_jobs()
    assert line.count("POST /v1/refunds") == 1
    assert shopfront.order(late.token).status == "refunded"
    assert [r.status for r in refunds(shopfront)] == ["requested"]
    line.fate = lambda _call: None
    shopfront.clock.move(minutes=1)
    shopfront.run_jobs()
    assert [r.status for r in refunds(shopfront)] == ["succeeded"]
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    assert mail_file(shopfront, "refunded", late).exists()
    check_money(shopfront)


@pytest.mark.case("PAY-02")
def test_pay02_no_mail_can_be_written_and_the_money_goes_back_all_the_same(shopfront):
    capacity(shopfront, 1)
    ana, eva = shopfront.buyer(), shopfront.buyer(email="eva@example.com")
    late, pi = expired_but_payable(shopfront, ana)
    eva.reserve(1)
    folder = shopfront.shop.settings.mail_folder
    folder.write_text("in the way")
    shopfront.confirm(pi)
    ana.get(f"/orders/{late.token}/return")
    shopfront.run_jobs()
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    folder.unlink()
    shopfront.clock.move(minutes=1)
    shopfront.run_jobs()
    assert mail_file(shopfront, "refunded", late).exists()
    with shopfront.shop.db.reading() as session:
        assert all(row.done_at for row in session.scalars(select(OutboxRow)))
    check_money(shopfront)
