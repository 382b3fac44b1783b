"""The audit of the database: each kind of breach is found, named, and repaired where it is safe."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.operations.auditing import (
    assert_breaches,
    assert_sound,
    corrupt,
    drain,
    pay,
    remove,
    run_audit,
)
from tests.sandbox_store import change_at_stripe
from tests.stripe_proxy import StripeProxy
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.operations.audit import audit
from tmt.payments.alerts import open_alerts, resolve
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.payments.refunds import issue_refund
from tmt.tickets.models import Ticket

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def get_one(front, table, **equal):
    with front.shop.db.reading() as session:
        return session.scalars(select(table).filter_by(**equal)).one()


def get_refunds(front):
    with front.shop.db.reading() as session:
        return session.scalars(select(Refund).order_by(Refund.id)).all()


@pytest.mark.databases("sqlite", "postgresql")
def test_a_new_shop_is_sound(shopfront):
    assert_sound(shopfront)
    assert_sound(shopfront, "--offline")


@pytest.mark.databases("sqlite", "postgresql")
def test_a_shop_where_nothing_is_happening_is_sound_whatever_happened_before(shopfront):
    shopfront.place_directly(1)
    undecided, canceling = shopfront.buyer(), shopfront.buyer()
    undecided.open_pay_page(undecided.reserve(1, 1))
    canceling.cancel(canceling.reserve(1))
    pay(shopfront)
    refunded, _pi = pay(shopfront)
    partly_refunded, _pi = pay(shopfront, 3)
    with_refunded_amount, _pi = pay(shopfront)
    pay(shopfront, method="pm_card_createDispute")
    issue_refund(shopfront.shop, refunded.code)
    issue_refund(shopfront.shop, partly_refunded.code, tickets=[1, 3])
    issue_refund(shopfront.shop, with_refunded_amount.code, amount=100)
    drain(shopfront)
    shopfront.clock.move(minutes=16)
    drain(shopfront)
    assert_sound(shopfront)


def test_i1_a_wrong_counter(shopfront):
    pay(shopfront, 2, 1)
    shopfront.place_directly(1)
    general, _balcony = shopfront.event.ticket_types
    corrupt(shopfront, TicketType, general.id, held=7)
    assert_breaches(
        shopfront,
        "I1 event concierto, General: counts 7 tickets held and 2 sold, but its orders have 1 and",
    )
    assert_sound(shopfront, "--repair")
    corrupt(shopfront, Event, sold=9)
    assert_breaches(
        shopfront,
        "I1 event concierto: counts 1 tickets held and 9 sold, but its orders have 1 and 3",
    )
    assert_sound(shopfront, "--repair")
    assert shopfront.stock() == (1, 3)


def test_i1_more_tickets_sold_than_there_are(shopfront):
    pay(shopfront, 4)
    corrupt(shopfront, Event, held=0, sold=0, capacity=3)
    corrupt(shopfront, TicketType, held=0, sold=0)
    assert_breaches(
        shopfront,
        "I1 event concierto: counts 0 tickets held and 0 sold, but its orders have 0 and 4",
        "I1 event concierto: has 3 tickets, but its orders have 4",
        "I1 event concierto, General: counts 0 tickets held and 0 sold",
    )
    code, lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert any(line.startswith("could not be repaired: event concierto") for line in lines)


def test_i2_money_of_a_refunded_order_is_left(shopfront):
    order, pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code)
    remove(shopfront, Refund)
    remove(shopfront, OutboxRow, OutboxRow.kind == "refund")
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: is refunded, and the shop still has $150.00 of the buyer's money",
    )
    assert_sound(shopfront, "--repair")
    (at_stripe,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    (refund,) = get_refunds(shopfront)
    assert (at_stripe.amount, refund.stripe_id) == (15000, at_stripe.id)


def test_i2_money_that_could_not_be_refunded_is_left_to_a_person(shopfront):
    order, _pi = pay(shopfront, method="pm_card_refundFail")
    issue_refund(shopfront.shop, order.code)
    drain(shopfront)
    shopfront.sandbox.advance(4 * 86400)
    drain(shopfront)
    assert [refund.status for refund in get_refunds(shopfront)] == ["failed"]
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: is refunded, and the shop still has $150.00 of the buyer's money",
    )
    code, lines = run_audit(shopfront, "--repair")
    assert code == 1
    assert any("could not be repaired" in line and "failed before" in line for line in lines)
    assert len(get_refunds(shopfront)) == 1
    with shopfront.shop.db.reading() as session:
        (alert,) = open_alerts(session)
    resolve(shopfront.shop, alert.id)
    assert_sound(shopfront)


def test_i2_paid_with_less_than_the_total(shopfront):
    order, pi = pay(shopfront)
    corrupt(shopfront, Payment, amount_received=1)
    change_at_stripe(shopfront, pi, amount_received=1)
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: is paid, but no payment of $150.00 was received for it",
    )


def test_i2_a_paid_order_without_a_payment_of_its_own(shopfront):
    order, _pi = pay(shopfront)
    held = shopfront.place_directly(2)
    remove(shopfront, Payment, Payment.order_id == held.id)
    moved = update(Payment).where(Payment.order_id == order.id).values(order_id=held.id)
    shopfront.shop.db.transaction(lambda session: session.execute(moved))
    assert_breaches(
        shopfront,
        f"I2 order {order.code}: is paid, but no payment of $150.00 was received for it",
        f"I2 order {held.code}: is held, and the shop still has $150.00 of the buyer's money",
    )


def test_i2_a_paid_order_whose_money_is_all_refunded(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=14999)
    drain(shopfront)
    corrupt(shopfront, Refund, amount=15000)
    change_at_stripe(shopfront, get_refunds(shopfront)[0].stripe_id, amount=15000)
    assert_breaches(
        shopfront, f"I2 order {order.code}: is paid, but all of its money was refunded or lost"
    )
    assert_sound(shopfront, "--repair")
    assert shopfront.order(order.code).status == "refunded"
    assert shopfront.stock() == (0, 0)


def test_i2_more_was_refunded_than_received(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code)
    drain(shopfront)
    corrupt(shopfront, Refund, amount=15001)
    change_at_stripe(shopfront, get_refunds(shopfront)[0].stripe_id, amount=15001)
    assert_breaches(
        shopfront, f"I2 order {order.code}: $150.01 were refunded of $150.00 that were received"
    )


def test_i2_a_status_that_the_shop_does_not_know(shopfront):
    """Stripe adds statuses; nothing acts on one, so it must not go unseen."""
    refunded, _pi = pay(shopfront)
    disputed, _pi = pay(shopfront, method="pm_card_createDispute")
    held = shopfront.place_directly(1)
    issue_refund(shopfront.shop, refunded.code, amount=100)
    drain(shopfront)
    corrupt(shopfront, Refund, status="on_hold")
    corrupt(shopfront, Dispute, status="in_arbitration")
    corrupt(shopfront, Payment, shopfront.payment(held).id, status="requires_patience")
    breaches = [b for b in audit(shopfront.shop, None) if "does not know" in b.problem]
    assert {(b.invariant, b.subject, b.problem.split()[0], b.repair) for b in breaches} == {
        ("I2", f"order {refunded.code}", "refund", None),
        ("I2", f"order {disputed.code}", "dispute", None),
        ("I2", f"order {held.code}", "payment", None),
    }


def test_i3_a_paid_order_without_tickets(shopfront):
    order, _pi = pay(shopfront, 2, 1)
    remove(shopfront, Ticket, Ticket.order_id == order.id)
    assert_breaches(
        shopfront,
        f"I3 order {order.code}: has 0 tickets of a type of which 2 were ordered",
        f"I3 order {order.code}: has 0 tickets of a type of which 1 were ordered",
    )
    assert_sound(shopfront, "--repair")
    assert len(shopfront.tickets(order)) == 3


def test_i3_a_missing_ticket_and_one_of_another_type(shopfront):
    (incomplete, _pi), (mixed_up, _pi) = pay(shopfront), pay(shopfront)
    remove(shopfront, Ticket, Ticket.order_id == incomplete.id, Ticket.number == 1)
    ticket = get_one(shopfront, Ticket, order_id=mixed_up.id, number=2)
    corrupt(shopfront, Ticket, ticket.id, ticket_type_id=shopfront.event.ticket_types[1].id)
    assert_breaches(
        shopfront,
        f"I3 order {incomplete.code}: has 1 tickets of a type of which 2 were ordered",
        f"I3 order {mixed_up.code}: has 1 tickets of a type of which 2 were ordered",
        f"I3 order {incomplete.code}: has tickets that are not numbered from 1 without a gap",
        f"I3 order {mixed_up.code}: has 1 tickets that were not paid for",
    )
    code, _lines = run_audit(shopfront, "--repair")
    assert code == 1


def test_i3_tickets_of_a_refunded_order(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code)
    drain(shopfront)
    corrupt(shopfront, Ticket, status="valid")
    assert_breaches(
        shopfront, f"I3 order {order.code}: is refunded, but 2 of its tickets are not void"
    )
    assert_sound(shopfront, "--repair")
    assert {ticket.status for ticket in shopfront.tickets(order)} == {"void"}


def test_i3_tickets_that_were_refunded_singly(shopfront):
    order, _pi = pay(shopfront, 3)
    issue_refund(shopfront.shop, order.code, tickets=[1, 2])
    drain(shopfront)
    corrupt(shopfront, Ticket, get_one(shopfront, Ticket, number=2).id, status="valid")
    corrupt(shopfront, Event, sold=2)
    corrupt(shopfront, TicketType, shopfront.event.ticket_types[0].id, sold=2)
    assert_breaches(shopfront, f"I3 order {order.code}: has refunded tickets that are not void: 2")
    assert_sound(shopfront, "--repair")
    assert shopfront.stock() == (0, 1)


def test_i3_disputed_tickets_are_blocked_and_others_are_not(shopfront):
    undisputed, _pi = pay(shopfront)
    disputed, _pi = pay(shopfront, method="pm_card_createDispute")
    for ticket in shopfront.tickets(undisputed):
        corrupt(shopfront, Ticket, ticket.id, status="blocked")
    for ticket in shopfront.tickets(disputed):
        corrupt(shopfront, Ticket, ticket.id, status="valid")
    assert_breaches(
        shopfront,
        f"I3 order {undisputed.code}: has blocked tickets, but no dispute of it is open",
        f"I3 order {disputed.code}: is disputed, but its tickets are not blocked",
    )
    assert_sound(shopfront, "--repair")
    assert {ticket.status for ticket in shopfront.tickets(undisputed)} == {"valid"}
    assert {ticket.status for ticket in shopfront.tickets(disputed)} == {"blocked"}


def test_i3_an_inquiry_blocks_no_tickets(shopfront):
    pay(shopfront, method="pm_card_createDispute")
    (dispute,) = shopfront.stripe.v1.disputes.list().data
    corrupt(shopfront, Dispute, status="warning_needs_response")
    change_at_stripe(shopfront, dispute.id, status="warning_needs_response")
    corrupt(shopfront, Ticket, status="valid")
    assert_sound(shopfront)


def test_i4_a_missing_confirmation(shopfront):
    order, _pi = pay(shopfront)
    remove(shopfront, OutboxRow, OutboxRow.kind == "confirmation")
    assert_breaches(shopfront, f"I4 order {order.code}: is paid, but no confirmation is sent")
    assert_sound(shopfront, "--repair")
    assert get_one(shopfront, OutboxRow, kind="confirmation").done_at


def test_i4_a_confirmation_of_an_order_that_was_never_paid(shopfront):
    held = shopfront.place_directly(1)
    now = shopfront.clock.now()
    key = f"confirmation-{held.token}"
    row = OutboxRow(
        kind="confirmation", key=key, payload={}, created_at=now, due_at=now, done_at=now
    )
    shopfront.shop.db.transaction(lambda session: session.add(row))
    assert_breaches(shopfront, "I4 outbox row 1: confirms an order that was never paid")


def test_i7_a_parked_mail(shopfront):
    pay(shopfront)
    row = get_one(shopfront, OutboxRow, kind="confirmation")
    parked = {"done_at": None, "parked_at": shopfront.clock.now(), "attempts": 80}
    corrupt(shopfront, OutboxRow, row.id, **parked, last_error="MailRefused: no")
    assert_breaches(
        shopfront,
        f"I7 outbox row {row.id}: (confirmation) is not done: parked after 80 attempts",
    )
    assert_sound(shopfront, "--repair")
    assert get_one(shopfront, OutboxRow, id=row.id).done_at


def test_i7_a_row_that_is_overdue_and_not_claimed(shopfront):
    pay(shopfront)
    row = get_one(shopfront, OutboxRow, kind="confirmation")
    corrupt(shopfront, OutboxRow, row.id, done_at=None, due_at=shopfront.clock.now())
    assert_sound(shopfront)
    shopfront.clock.move(minutes=11)
    assert_breaches(shopfront, f"I7 outbox row {row.id}: (confirmation) is not done: overdue")
    lease = shopfront.clock.now() + timedelta(minutes=5)
    corrupt(shopfront, OutboxRow, row.id, leased_until=lease)
    assert_sound(shopfront)


@pytest.mark.parametrize(
    ("corruption", "reason"),
    [
        ({"done_at": None, "outcome": None, "last_error": "KeyError: x"}, "KeyError: x"),
        ({"outcome": "unhandled"}, "it arrived before the shop handled its type"),
    ],
)
def test_i7_an_event_that_is_not_handled(shopfront, corruption, reason):
    _order, pi = pay(shopfront)
    event = get_one(shopfront, InboxRow, type="payment_intent.succeeded", object_id=pi)
    corrupt(shopfront, InboxRow, event.id, **corruption)
    assert_breaches(
        shopfront,
        f"I7 event {event.event_id}: (payment_intent.succeeded) is not handled: {reason}",
    )
    assert_sound(shopfront, "--repair")
    assert get_one(shopfront, InboxRow, id=event.id).outcome == "handled"


def test_i7_a_refund_that_nothing_sends(shopfront):
    order, _pi = pay(shopfront)
    issue_refund(shopfront.shop, order.code, amount=100)
    remove(shopfront, OutboxRow, OutboxRow.kind == "refund")
    assert_breaches(
        shopfront,
        f"I7 order {order.code}: a refund of $1.00 was requested, but nothing sends it",
    )
    assert_sound(shopfront, "--repair")
    assert get_one(shopfront, Refund).status == "succeeded"


def test_an_order_that_was_marked_as_paid_by_hand(shopfront):
    order = shopfront.place_directly(1)
    corrupt(shopfront, Order, order.id, status="paid", paid_at=shopfront.clock.now())
    assert_breaches(
        shopfront,
        "I1 event concierto",
        "I1 event concierto, General",
        f"I2 order {order.code}: is paid, but no payment of $75.00 was received for it",
        f"I3 order {order.code}: has 0 tickets of a type of which 1 were ordered",
        f"I4 order {order.code}: is paid, but no confirmation is sent",
    )


def test_open_alerts_are_counted_and_are_no_breach(shopfront):
    pay(shopfront, method="pm_card_createDispute")
    assert get_one(shopfront, OperatorAlert).kind == "dispute_opened"
    assert run_audit(shopfront) == (0, ["1 open alerts: flask alerts list", "sound"])


def test_without_stripe_the_database_is_audited_and_the_exit_code_is_2(shopfront):
    corrupt(shopfront, Event, held=3)
    shopfront.place_directly(1)
    line = StripeProxy(shopfront)
    line.fate = lambda _call: "refused"
    code, lines = run_audit(shopfront)
    assert code == 2
    assert lines[0].startswith("I1  event concierto: counts 4 tickets held")
    assert lines[-1].startswith("Error: Stripe could not be reached: StripeServerError")
    line.calls.clear()
    code, _lines = run_audit(shopfront, "--offline")
    assert (code, line.calls) == (1, [])
