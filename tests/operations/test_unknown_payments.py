"""Payments of this shop at Stripe that its database does not know, or knows from before."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url, update

from tests.operations.auditing import assert_sound, begin_payment, corrupt, drain, pay, run_audit
from tests.payments.flows import alert_kinds, flask
from tests.sandbox_store import change_at_stripe
from tmt.core import cursors
from tmt.payments.models import Payment, ShopIdentity

# A backup is a copy of the file here; the shop's queries are the same on PostgreSQL.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@contextmanager
def restored_afterwards(front):
    """What happens in this block is lost with the database: the copy from before is restored."""
    path = Path(str(make_url(front.shop.settings.database_url).database))
    backup = path.with_suffix(".backup")
    front.shop.db.close()
    shutil.copyfile(path, backup)
    yield
    front.shop.db.close()
    for left in path.parent.glob(f"{path.name}-*"):
        left.unlink()
    shutil.copyfile(backup, path)


def refunded_at_stripe(front, pi):
    return sum(r.amount for r in front.stripe.v1.refunds.list({"payment_intent": pi}).data)


@pytest.fixture
def lost(shopfront):
    """An order that was paid after the backup, and its PaymentIntent; the shop is the backup."""
    pay(shopfront)
    with restored_afterwards(shopfront):
        order, pi = pay(shopfront, 2)
    return order, pi


def test_a_payment_without_order_is_found_reported_and_refunded_by_the_organisers_word(
    shopfront, lost
):
    order, pi = lost
    code, lines = run_audit(shopfront)
    assert (code, lines[-1]) == (1, "1 breaches")
    assert (
        f"I2  {pi}: was paid for order {order.code}, which the database does not know" in lines[0]
    )
    assert "$150.00" in lines[0]
    code, lines = run_audit(shopfront, "--repair")
    assert (code, alert_kinds(shopfront)) == (1, ["unknown_payment"])
    assert refunded_at_stripe(shopfront, pi) == 0
    assert run_audit(shopfront, "--repair", "--refund-unknown")[1][-1] == "sound"
    assert refunded_at_stripe(shopfront, pi) == 15000
    drain(shopfront)
    run_audit(shopfront, "--repair", "--refund-unknown")
    assert refunded_at_stripe(shopfront, pi) == 15000


def test_the_reconciler_reports_it_once_and_a_person_can_settle_it(shopfront, lost):
    result = flask(shopfront, "reconcile")
    assert "1 payments at Stripe belong to no order" in result.output
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == ["unknown_payment"]
    flask(shopfront, "alerts", "resolve", "1")
    assert_sound(shopfront)
    assert "belong to no order" not in flask(shopfront, "reconcile").output


@pytest.mark.parametrize("option", ["--offline", ""])
def test_refunding_unknown_payments_takes_repair_and_stripe(shopfront, option):
    result = flask(shopfront, "audit", "--refund-unknown", *filter(None, [option]))
    assert result.exit_code == 1
    assert "--repair" in result.output


def test_a_debit_that_settles_days_after_the_restore_is_reported(shopfront, lost):
    _order, pi = lost
    change_at_stripe(shopfront, pi, status="processing")
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == []
    shopfront.clock.move(days=14)
    yesterday = shopfront.clock.now() - timedelta(days=1)
    shopfront.shop.db.transaction(lambda s: cursors.advance(s, "stripe_events", yesterday))
    change_at_stripe(shopfront, pi, status="succeeded")
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == ["unknown_payment"]


def test_a_backup_from_before_the_first_sale_hides_none(shopfront):
    with restored_afterwards(shopfront):
        pay(shopfront)
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == ["unknown_payment"]


def test_another_shop_on_the_account_is_left_alone(shopfront, lost):
    def rename(session):
        session.execute(update(ShopIdentity).values(shop_id="another"))

    shopfront.shop.db.transaction(rename)
    assert_sound(shopfront)
    assert flask(shopfront, "reconcile").exit_code == 0
    assert alert_kinds(shopfront) == []


def test_a_restored_order_is_paid_again_by_its_stored_payment_intent(shopfront):
    shopfront.silence_stripe()
    order, pi = begin_payment(shopfront)
    with restored_afterwards(shopfront):
        shopfront.confirm(pi)
        flask(shopfront, "reconcile")
        assert shopfront.order(order.token).status == "paid"
    assert shopfront.order(order.token).status == "held"
    flask(shopfront, "reconcile")
    assert shopfront.order(order.token).status == "paid"
    assert len(shopfront.tickets(order)) == 2
    assert_sound(shopfront)


def test_a_restored_order_that_had_stored_no_payment_intent_is_reported(shopfront):
    order = shopfront.place_directly(1)
    with restored_afterwards(shopfront):
        pi = shopfront.buyer().open_pay_page(order)
        shopfront.confirm(pi)
        drain(shopfront)
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == ["unknown_payment"]
    lines = "\n".join(run_audit(shopfront)[1])
    assert f"I2  order {order.code}: {pi} was created for it, is succeeded at Stripe" in lines


def test_what_a_webhook_alone_paid_is_looked_at_once(shopfront):
    order, pi = begin_payment(shopfront)
    shopfront.confirm(pi)
    drain(shopfront)
    assert shopfront.order(order.token).status == "paid"
    flask(shopfront, "reconcile")
    assert shopfront.payment(order).verified_at is not None
    # A webhook that lied: Stripe has not received the money.
    corrupt(shopfront, Payment, shopfront.payment(order).id, verified_at=None)
    change_at_stripe(shopfront, pi, status="requires_payment_method", amount_received=0)
    flask(shopfront, "reconcile")
    assert alert_kinds(shopfront) == ["payment_not_confirmed"]
    assert shopfront.payment(order).verified_at is None


def test_what_an_earlier_version_created_for_an_order_is_found_again(shopfront):
    order = shopfront.place_directly(1)
    payment = shopfront.payment(order)
    corrupt(shopfront, Payment, payment.id, params_hash="of the earlier version")
    metadata = {"platform": "TMT", "order": order.code, "payment": str(payment.id)}
    params = {"amount": order.total, "currency": order.currency}
    create = shopfront.stripe.v1.payment_intents.create
    # A program may write the same, but not without the time of its request.
    create({**params, "metadata": metadata | {"timestamp": "2026-01-01"}})
    pi = create({**params, "metadata": metadata})
    create({**params, "metadata": metadata | {"payment": "9"}})
    assert shopfront.buyer().open_pay_page(order) == pi.id
