"""What the organiser gives back: REF-01, REF-03, REF-04."""

from __future__ import annotations

import pypdfium2
import pytest
from sqlalchemy import update

from tests.invariants import check_money
from tests.payments.flows import (
    alert_kinds,
    flask,
    order_page,
    paid,
    refunds,
    run_until_idle,
    ticket_statuses,
)
from tests.racing import together
from tmt.catalog.models import TicketType
from tmt.payments.refunds import (
    AmountTooLarge,
    NoSuchTicket,
    NotRefundable,
    OrderDisputed,
    issue_refund,
)

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


@pytest.mark.databases("sqlite", "postgresql")
def test_everything_goes_back_and_the_order_ends(shopfront):
    order, pi = paid(shopfront)
    done = flask(shopfront, "refund", "--yes", order.code.lower())
    assert done.exit_code == 0, done.output
    assert "225.00" in done.output
    assert f"Order {order.code} is refunded." in done.output
    run_until_idle(shopfront)
    assert ticket_statuses(shopfront, order) == ["void"] * 3
    assert shopfront.stock() == (0, 0)
    (refund,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert (refund.amount, refund.reason) == (22500, "requested_by_customer")
    assert len(shopfront.mails()) == 2
    page = order_page(shopfront, order)
    assert "225.00" in page
    assert "sent to your bank" in page
    check_money(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
def test_a_ticket_goes_back_and_its_place_is_for_sale_again(shopfront):
    order, pi = paid(shopfront, 3)
    assert flask(shopfront, "refund", "--yes", order.code, "--tickets", "2").exit_code == 0
    run_until_idle(shopfront)
    assert ticket_statuses(shopfront, order) == ["valid", "void", "valid"]
    pdf = pypdfium2.PdfDocument(shopfront.buyer().get(f"/orders/{order.token}/tickets.pdf").content)
    assert len(pdf) == 2
    pdf.close()
    assert shopfront.order(order.token).status == "paid"
    assert shopfront.stock() == (0, 2)
    (refund,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert refund.amount == 7500
    check_money(shopfront)


def test_ticket_after_ticket_until_the_order_has_ended(shopfront):
    order, _pi = paid(shopfront, 3)
    for number in (1, 3, 2):
        issue_refund(shopfront.shop, order.code, tickets=[number])
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "refunded"
    assert shopfront.stock() == (0, 0)
    assert [r.tickets for r in refunds(shopfront)] == [[1], [3], [2]]
    check_money(shopfront)


def test_an_amount_leaves_the_tickets_valid(shopfront):
    order, _pi = paid(shopfront, 2)
    assert flask(shopfront, "refund", "--yes", order.code, "--amount", "12.50").exit_code == 0
    run_until_idle(shopfront)
    assert ticket_statuses(shopfront, order) == ["valid", "valid"]
    assert refunds(shopfront)[0].amount == 1250
    assert any("Your tickets are still valid" in mail.read_text() for mail in shopfront.mails())
    check_money(shopfront)


def test_tickets_become_void_without_money(shopfront):
    order, pi = paid(shopfront, 2)
    issue_refund(shopfront.shop, order.code, tickets=[1], amount=0)
    assert ticket_statuses(shopfront, order) == ["void", "valid"]
    run_until_idle(shopfront)
    assert [(r.amount, r.tickets) for r in refunds(shopfront)] == [(0, [1])]
    assert not shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"amount": 22501}, AmountTooLarge),
        ({"amount": -1}, AmountTooLarge),
        ({"tickets": [4]}, NoSuchTicket),
        ({"tickets": [1, 0]}, NoSuchTicket),
        ({"tickets": [1], "amount": 22501}, AmountTooLarge),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_done(shopfront, arguments, error):
    order, _pi = paid(shopfront)
    with pytest.raises(error):
        issue_refund(shopfront.shop, order.code, **arguments)
    assert ticket_statuses(shopfront, order) == ["valid"] * 3
    assert not refunds(shopfront)


def test_an_order_that_nobody_paid_is_refused(shopfront):
    order = shopfront.buyer().reserve(1)
    refused = flask(shopfront, "refund", "--yes", order.code)
    assert refused.exit_code == 1
    assert "held: nothing was paid" in refused.output
    assert flask(shopfront, "refund", "--yes", "NOSUCH").exit_code == 1
    assert (
        "is not an amount"
        in flask(shopfront, "refund", "--yes", order.code, "--amount", "x").output
    )


def test_a_refunded_order_is_refused(shopfront):
    order, _pi = paid(shopfront)
    issue_refund(shopfront.shop, order.code)
    with pytest.raises(NotRefundable):
        issue_refund(shopfront.shop, order.code)


def test_a_free_order_ends_with_its_tickets(shopfront):
    shopfront.shop.db.transaction(lambda s: s.execute(update(TicketType).values(price=0)))
    order = shopfront.buyer().reserve(2)
    assert (order.total, order.status) == (0, "paid")
    assert not issue_refund(shopfront.shop, order.code)
    assert shopfront.order(order.token).status == "refunded"
    assert ticket_statuses(shopfront, order) == ["void", "void"]
    assert shopfront.stock() == (0, 0)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("REF-04")
def test_ref04_twenty_at_once_want_60_percent(shopfront):
    order, pi = paid(shopfront)

    def sixty_percent():
        try:
            issue_refund(shopfront.shop, order.code, amount=13500)
        except AmountTooLarge:
            return False
        return True

    assert sum(together(*[sixty_percent] * 20)) == 1
    run_until_idle(shopfront)
    (refund,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert refund.amount == 13500
    check_money(shopfront)


@pytest.mark.case("REF-04")
def test_ref04_the_answer_is_lost_and_nothing_goes_back_twice(shopfront, sandbox):
    order, pi = paid(shopfront)
    sandbox.lose_answer("POST /v1/refunds", times=3)
    issue_refund(shopfront.shop, order.code, amount=5000)
    for _ in range(4):
        run_until_idle(shopfront)
        shopfront.clock.move(minutes=5)
    (refund,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert [(r.stripe_id, r.status) for r in refunds(shopfront)] == [(refund.id, "succeeded")]
    check_money(shopfront)


@pytest.mark.case("REF-04")
def test_ref04_a_day_later_it_is_looked_up_first(shopfront, sandbox):
    """Stripe has forgotten the key: the same call would give the money back again."""
    shopfront.silence_stripe()
    order, pi = paid(shopfront)
    sandbox.lose_answer("POST /v1/refunds", times=None)
    issue_refund(shopfront.shop, order.code, amount=5000)
    run_until_idle(shopfront)
    sandbox.calm()
    sandbox.advance(days=2)
    run_until_idle(shopfront)
    assert len(shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data) == 1
    assert refunds(shopfront)[0].status == "succeeded"


@pytest.mark.case("REF-03")
def test_ref03_pending_for_days_then_there(shopfront, sandbox):
    order, _pi = paid(shopfront, 1, method="pm_card_pendingRefund")
    issue_refund(shopfront.shop, order.code)
    run_until_idle(shopfront)
    assert refunds(shopfront)[0].status == "pending"
    assert "· processing" in order_page(shopfront, order)
    sandbox.advance(days=4)
    run_until_idle(shopfront)
    assert refunds(shopfront)[0].status == "succeeded"
    check_money(shopfront)


@pytest.mark.case("REF-03")
def test_ref03_it_fails_after_all_and_a_person_is_told(shopfront, sandbox):
    order, _pi = paid(shopfront, 1, method="pm_card_refundFail")
    issue_refund(shopfront.shop, order.code)
    run_until_idle(shopfront)
    sandbox.advance(days=4)
    run_until_idle(shopfront)
    assert refunds(shopfront)[0].status == "failed"
    assert alert_kinds(shopfront) == ["refund_failed"]
    assert order.code in flask(shopfront, "alerts", "list").output
    assert "Your refund was not completed" in order_page(shopfront, order)
    # The money is there again, and can be sent again.
    assert issue_refund(shopfront.shop, order.code).amount == 7500


def test_an_alert_is_resolved_when_a_person_says_so(shopfront):
    order, pi = paid(shopfront)
    shopfront.stripe.v1.refunds.create({"payment_intent": pi, "amount": 100})
    run_until_idle(shopfront)
    output = flask(shopfront, "alerts", "list").output
    assert order.code in output
    assert flask(shopfront, "alerts", "resolve", output.split()[0]).exit_code == 0
    assert flask(shopfront, "alerts", "list").output == "no alerts\n"
    assert flask(shopfront, "alerts", "resolve", "77").exit_code == 1


@pytest.mark.databases("sqlite", "postgresql")
def test_nothing_is_refunded_while_a_bank_disputes_it(shopfront):
    order, _pi = paid(shopfront, method="pm_card_createDispute")
    run_until_idle(shopfront)
    with pytest.raises(OrderDisputed):
        issue_refund(shopfront.shop, order.code)
