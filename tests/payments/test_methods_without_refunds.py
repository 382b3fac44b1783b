"""Stripe refunds no OXXO and no Boleto payments: a person pays the money back, and all know it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.payments.flows import flask, order_page, paid, refunds, run_until_idle
from tests.payments.test_event_changes import cancel, mails
from tests.payments.test_slips import with_voucher
from tests.sandbox_store import change_at_stripe
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.payments.methods import excluded_payment_methods, payment_method_options
from tmt.payments.models import OperatorAlert

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]
BY_HAND = "OXXO payments cannot be refunded automatically"


def alerts(shopfront):
    with shopfront.shop.db.reading() as session:
        return {alert.kind: alert.details for alert in session.scalars(select(OperatorAlert))}


def check_by_hand(shopfront, order, subject):
    """Page, mail and alert say that a person returns the money, and Stripe was not called."""
    run_until_idle(shopfront)
    (mail,) = mails(shopfront, subject)
    bodies = [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]
    for text in (order_page(shopfront, order), *bodies):
        assert BY_HAND in text
        assert "MX$150.00" in text.replace("\N{NO-BREAK SPACE}", "")
        assert "You do not need to do anything" not in text
        assert "issued a refund" not in text
    (alert,) = alerts(shopfront).items()
    assert alert[0] == "refund_by_hand"
    assert (alert[1]["amount"], alert[1]["currency"], alert[1]["method"]) == (15000, "mxn", "OXXO")
    assert [(r.status, r.stripe_id) for r in refunds(shopfront)] == [("failed", None)]
    assert shopfront.order(order.token).status == "refunded"


@pytest.fixture
def paid_by_oxxo(shopfront, sandbox):
    _buyer, order, _pi, _details = with_voucher(shopfront, "ana@example.com")
    sandbox.advance(minutes=3)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "paid"
    return order


def test_paid_for_an_event_that_is_canceled(shopfront, sandbox):
    _buyer, order, _pi, _details = with_voucher(shopfront, "ana@example.com")
    cancel(shopfront)
    run_until_idle(shopfront)
    (mail,) = mails(shopfront, "Canceled:")
    for text in (order_page(shopfront, order), mail.get_body(("plain",)).get_content()):
        assert "Please do not pay any more: OXXO" in text
    sandbox.advance(minutes=3)
    check_by_hand(shopfront, order, "Your payment for")


def test_the_event_is_canceled_afterwards(shopfront, paid_by_oxxo):
    cancel(shopfront)
    check_by_hand(shopfront, paid_by_oxxo, "Canceled:")


def test_the_command_says_so_before(shopfront, paid_by_oxxo):
    code = shopfront.order(paid_by_oxxo.token).code
    asked = flask(shopfront, "refund", code)
    assert "Stripe refunds no OXXO payments" in asked.output
    assert not refunds(shopfront)
    assert flask(shopfront, "refund", code, "--yes").exit_code == 0
    check_by_hand(shopfront, paid_by_oxxo, "Your refund for")
    assert "another way" in flask(shopfront, "refund", code, "--yes").output
    assert "the shop still has" in flask(shopfront, "audit").output
    flask(shopfront, "alerts", "resolve", "1")
    assert "the shop still has" not in flask(shopfront, "audit").output


def test_a_slip_is_replaced_by_a_card_which_can_be_refunded(shopfront):
    _buyer, order, pi, _details = with_voucher(shopfront)
    change_at_stripe(shopfront, pi, status="requires_payment_method", next_action=None)
    shopfront.confirm(pi, "pm_card_visa")
    run_until_idle(shopfront)
    assert flask(shopfront, "refund", shopfront.order(order.token).code, "--yes").exit_code == 0
    assert [refund.status for refund in refunds(shopfront)] == ["succeeded"]


def test_a_canceled_event_whose_refund_failed_says_that(shopfront, sandbox):
    order, _pi = paid(shopfront, method="pm_card_refundFail")
    cancel(shopfront)
    run_until_idle(shopfront)
    assert "We have issued a refund" in order_page(shopfront, order)
    sandbox.advance(days=4)
    run_until_idle(shopfront)
    page = order_page(shopfront, order)
    for words in ("This event has been canceled", "Your refund was not completed"):
        assert words in page
    assert "We have issued a refund" not in page


@pytest.mark.parametrize(
    ("method", "currency", "least", "most"),
    [
        ("oxxo", "mxn", 1000, 1000000),
        ("boleto", "brl", 500, 4999999),
        ("konbini", "jpy", 120, 300000),
    ],
)
def test_slips_have_a_least_and_a_most_amount(method, currency, least, most):
    now = datetime(2026, 11, 1, tzinfo=UTC)
    offered = {}
    for total in (least - 1, least, most, most + 1):
        event = Event(starts_at=now + timedelta(30))
        order = Order(currency=currency, created_at=now, total=total, event=event)
        offered[total] = method in payment_method_options(order)
        assert (method in excluded_payment_methods(order)) != offered[total]
    assert list(offered.values()) == [False, True, True, False]
