"""Vouchers and transfers: the places wait as long as the slip can be paid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import stripe
from sqlalchemy import select, update

from tests.invariants import check_money
from tests.payments.flows import (
    alert_kinds,
    english_buyer,
    flask,
    order_page,
    run_until_idle,
    take_voucher,
)
from tests.sandbox_store import change_at_stripe
from tmt.catalog.models import Event
from tmt.checkout.holds import NoMoreTime, extend
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core.outbox import OutboxRow
from tmt.gateway.types import NEXT_ACTIONS
from tmt.payments.expiry import end_hold
from tmt.payments.methods import excluded_payment_methods, payment_method_options

pytestmark = pytest.mark.usefixtures("sound")
WAITING, REFUSED = "requires_action", "requires_payment_method"


def reserve(shopfront, currency="mxn", days=30):
    starts = shopfront.clock.now() + timedelta(days=days)
    values = {"currency": currency, "starts_at": starts, "ends_at": starts + timedelta(hours=3)}
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(values)))
    buyer = english_buyer(shopfront)
    order = buyer.reserve(2)
    return buyer, order, buyer.open_pay_page(order)


def with_voucher(shopfront, email="fill_never@example.com"):
    buyer, order, pi = reserve(shopfront)
    details = take_voucher(shopfront, pi, email).next_action.oxxo_display_details
    buyer.get(f"/orders/{order.token}/return")
    run_until_idle(shopfront)
    return buyer, order, pi, details


def act_elsewhere(shopfront, pi, type_, status=WAITING, **details):
    """Has Stripe wait for the buyer in a way that the sandbox does not simulate."""
    action = {"type": type_, type_: details}
    change_at_stripe(shopfront, pi, status=status, next_action=action, payment_method="pm_1")


def kinds(shopfront, *wanted):
    with shopfront.shop.db.reading() as session:
        query = select(OutboxRow.kind).where(OutboxRow.kind.in_(wanted)).order_by(OutboxRow.id)
        return session.scalars(query).all()


def test_the_places_wait_for_the_slip_which_page_and_mail_show(shopfront, sandbox):
    buyer, order, _pi, details = with_voucher(shopfront)
    assert shopfront.order(order.token).status == "processing"
    with pytest.raises(NoMoreTime):
        extend(shopfront.shop, order.id)
    page = order_page(shopfront, order)
    (mail,) = (path.read_text() for path in shopfront.mails())
    for text in (page, mail.replace("=\n", "").replace("=3D", "=")):
        assert details.hosted_voucher_url in text
        assert "MX$150.00" in text.replace("\N{NO-BREAK SPACE}", "").replace("=C2=A0", "")
    assert "A slip cannot be canceled" in page
    # Stripe keeps it payable, whatever the buyer asks.
    form = {"csrf_token": buyer.csrf_token("/orders/find")}
    answer = buyer.post(f"/orders/{order.token}/cancel", form)
    assert "cannot be canceled any more" in answer.text
    sandbox.advance(days=2)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "processing"
    assert shopfront.stock() == (2, 0)
    assert len(shopfront.mails()) == 1


def test_it_is_paid_in_the_shop(shopfront, sandbox):
    _buyer, order, _pi, _details = with_voucher(shopfront, "ana@example.com")
    sandbox.advance(minutes=3)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "paid"
    assert shopfront.payment(order).slip_url is None
    assert len(shopfront.mails()) == 2
    check_money(shopfront)


def test_it_lapses_and_the_places_are_free_again(shopfront, sandbox):
    _buyer, order, pi, details = with_voucher(shopfront)
    left = datetime.fromtimestamp(details.expires_after, UTC) - shopfront.clock.now()
    sandbox.advance(seconds=left.total_seconds() + 60)
    run_until_idle(shopfront)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "processing"
    assert "The time to pay is over" in order_page(shopfront, order)
    assert shopfront.stock() == (2, 0)
    sandbox.advance(days=3)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "expired"
    assert shopfront.stock() == (0, 0)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    assert kinds(shopfront, "payment_slip", "payment_failed", "payment_processing") == [
        "payment_slip",
        "payment_failed",
    ]
    assert any("no payment has arrived" in path.read_text() for path in shopfront.mails())


def test_webhooks_that_never_come_change_nothing(shopfront, sandbox):
    _buyer, order, pi = reserve(shopfront)
    shopfront.silence_stripe()
    take_voucher(shopfront, pi)
    sandbox.advance(minutes=16)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "processing"
    sandbox.advance(days=8)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"


@pytest.mark.parametrize("what", ["canceled", "moved and over"])
def test_nobody_is_asked_to_pay_a_slip_for_an_event_that_takes_no_money(shopfront, what):
    buyer, order, pi = reserve(shopfront)
    take_voucher(shopfront, pi, "fill_never@example.com")
    buyer.get(f"/orders/{order.token}/return")
    if what == "canceled":
        assert flask(shopfront, "event", "cancel", shopfront.event.slug, "--yes").exit_code == 0
    else:
        past = {"starts_at": order.created_at, "ends_at": order.created_at}
        shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(past)))
    run_until_idle(shopfront)
    page = order_page(shopfront, order)
    assert "Please do not pay any more" in page
    assert "Open your payment slip" not in page
    texts = [mail.read_text() for mail in shopfront.mails()]
    assert not [text for text in texts if "Open your payment slip" in text]
    assert len([text for text in texts if "do not pay any more" in text]) == (what == "canceled")


def test_a_slip_that_can_be_taken_back_is_when_the_event_is_canceled(shopfront):
    buyer, order, pi = reserve(shopfront, "usd")
    act_elsewhere(shopfront, pi, "multibanco_display_details")
    buyer.get(f"/orders/{order.token}/return")
    flask(shopfront, "event", "cancel", shopfront.event.slug, "--yes")
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "canceled"
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"


def test_a_slip_of_which_stripe_says_nothing_ends_after_its_margin(shopfront):
    _buyer, order, pi = reserve(shopfront, "usd")
    expiry = shopfront.clock.now() + timedelta(days=2)
    details = {"expires_at": int(expiry.timestamp()), "hosted_voucher_url": "javascript:alert(1)"}
    act_elsewhere(shopfront, pi, "multibanco_display_details", **details)
    shopfront.clock.move(minutes=16)
    shopfront.run_jobs()
    assert "javascript" not in order_page(shopfront, order)
    shopfront.clock.move(days=5)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "processing"
    shopfront.clock.move(days=1, hours=1)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"


def test_a_slip_that_gives_way_to_another_method(shopfront):
    buyer, order, pi = reserve(shopfront, "usd")
    details = {"expires_at": int(shopfront.clock.now().timestamp()) + 86400}
    act_elsewhere(shopfront, pi, "konbini_display_details", **details)
    buyer.get(f"/orders/{order.token}/return")
    run_until_idle(shopfront)
    assert "Choose another payment method" in order_page(shopfront, order)
    assert "do not pay again" in buyer.get(f"/orders/{order.token}/pay").text
    with pytest.raises(Exception, match="declined"):
        shopfront.confirm(pi, "pm_card_visa_chargeDeclined")
    run_until_idle(shopfront)
    held = shopfront.order(order.token)
    assert held.status == "held"
    assert held.expires_at < shopfront.clock.now() + timedelta(minutes=16)
    # A second slip is another attempt: it has its own mail.
    act_elsewhere(shopfront, pi, "konbini_display_details", **details)
    buyer.get(f"/orders/{order.token}/return")
    assert kinds(shopfront, "payment_slip") == ["payment_slip"] * 2
    buyer.cancel(order)
    assert shopfront.order(order.token).status == "canceled"


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("something_new", "processing"),
        ("pix_display_qr_code", "expired"),
        ("redirect_to_url", "expired"),
        ("payto_await_authorization", "processing"),
        ("verify_with_microdeposits", "processing"),
        ("display_bank_transfer_instructions", "processing"),
    ],
)
def test_when_the_hold_ends_only_what_happens_here_and_now_is_canceled(shopfront, type_, status):
    _buyer, order, pi = reserve(shopfront, "usd")
    act_elsewhere(shopfront, pi, type_)
    shopfront.clock.move(minutes=16)
    end_hold(shopfront.shop, shopfront.gateway, order.id, Trigger.EXPIRY)
    assert shopfront.order(order.token).status == status
    assert alert_kinds(shopfront) == ["unknown_action"] * (type_ == "something_new")


def test_every_action_of_the_pinned_version_is_in_the_table():
    assert set(stripe.PaymentIntent.NextAction.__annotations__) - {"type"} <= set(NEXT_ACTIONS)


def test_an_unknown_action_is_looked_at_until_stripe_says_how_it_ended(shopfront):
    _buyer, order, pi = reserve(shopfront, "usd")
    act_elsewhere(shopfront, pi, "something_new")
    for _hour in range(3):
        shopfront.clock.move(hours=2)
        shopfront.run_jobs()
    assert (shopfront.order(order.token).status, shopfront.stock()) == ("processing", (2, 0))
    change_at_stripe(shopfront, pi, status=REFUSED, next_action=None)
    shopfront.clock.move(hours=2)
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "expired"


@pytest.mark.parametrize(
    ("currency", "days", "options", "excluded"),
    [
        ("mxn", 30, {"oxxo": 3}, []),
        ("mxn", 13, {"oxxo": 2}, ["acss_debit", "sepa_debit", "sofort", "us_bank_account"]),
        ("jpy", 6, {"konbini": 3}, None),
        ("brl", 5, {}, None),
    ],
)
def test_it_is_offered_when_it_is_decided_before_the_event(currency, days, options, excluded):
    now = datetime.now(UTC)
    order = Order(currency=currency, created_at=now, total=15000)
    order.event = Event(starts_at=now + timedelta(days))
    expected = {name: {"expires_after_days": valid} for name, valid in options.items()}
    assert payment_method_options(order) == expected
    names = excluded_payment_methods(order)
    assert not set(options) & set(names)
    assert names == excluded if excluded is not None else "nz_bank_account" in names


@pytest.mark.parametrize("days", [11, 13])
def test_stripe_is_told_so(shopfront, days):
    _buyer, _order, pi = reserve(shopfront, "mxn", days)
    intent = shopfront.stripe.v1.payment_intents.retrieve(pi)
    assert ("oxxo" in intent.payment_method_types) == (days == 13)
    if days == 13:
        assert intent.payment_method_options.oxxo.expires_after_days == 1
