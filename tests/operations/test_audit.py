"""The audit of the database: each way to be unsound is seen, named, and mended where it is safe."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from tests.payments.auditing import audited, finds, is_sound, paid, rest, spoil
from tests.stripe_line import StripeLine
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import OperatorAlert, Refund
from tmt.payments.refunds import issue_refund
from tmt.tickets.models import Ticket


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def one(front, table, **equal):
    with front.shop.db.reading() as session:
        return session.scalars(select(table).filter_by(**equal)).one()


def test_a_new_shop_is_sound(shopfront):
    is_sound(shopfront)
    is_sound(shopfront, "--offline")


def test_a_shop_at_rest_is_sound_whatever_happened(shopfront):
    shopfront.place_directly(1)
    looking, leaving = shopfront.buyer(), shopfront.buyer()
    looking.open_pay_page(looking.reserve(1, 1))
    leaving.cancel(leaving.reserve(1))
    paid(shopfront)
    all_back, _pi = paid(shopfront)
    part_back, _pi = paid(shopfront, 3)
    money_back, _pi = paid(shopfront)
    paid(shopfront, method="pm_card_createDispute")
    issue_refund(shopfront.shop, all_back.code)
    issue_refund(shopfront.shop, part_back.code, tickets=[1, 3])
    issue_refund(shopfront.shop, money_back.code, amount=100)
    rest(shopfront)
    shopfront.clock.move(minutes=16)
    rest(shopfront)
    is_sound(shopfront)


def test_i1_a_counter_that_is_wrong(shopfront):
    paid(shopfront, 2, 1)
    shopfront.place_directly(1)
    first, _second = shopfront.event.ticket_types
    spoil(shopfront, TicketType, first.id, held=7)
    finds(shopfront, "I1 event concierto, General: counts 7 held and 2 sold, its orders have 1 and")
    is_sound(shopfront, "--repair")
    spoil(shopfront, Event, held=0, sold=9)
    finds(shopfront, "I1 event concierto: counts 0 held and 9 sold, its orders have 1 and 3")
    is_sound(shopfront, "--repair")
    assert shopfront.stock() == (1, 3)


def test_i1_more_sold_than_there_are(shopfront):
    paid(shopfront, 4)
    spoil(shopfront, Event, held=0, sold=0)
    spoil(shopfront, TicketType, held=0, sold=0)
    spoil(shopfront, Event, capacity=3)
    finds(
        shopfront,
        "I1 event concierto: counts 0 held and 0 sold, its orders have 0 and 4",
        "I1 event concierto: has 3 places, and its orders have 4",
        "I1 event concierto, General: counts 0 held and 0 sold, its orders have 0 and 4",
    )
    code, lines = audited(shopfront, "--repair")
    assert code == 1
    assert any(line.startswith("could not be mended: event concierto") for line in lines)


def test_i3_a_paid_order_without_tickets(shopfront):
    order, _pi = paid(shopfront, 2, 1)
    gone = delete(Ticket).where(Ticket.order_id == order.id)
    shopfront.shop.db.transaction(lambda session: session.execute(gone))
    what = f"I3 order {order.code}: has 0 tickets for"
    finds(shopfront, what, what)
    is_sound(shopfront, "--repair")
    assert len(shopfront.tickets(order)) == 3


def test_i3_one_ticket_missing_and_one_of_another_type(shopfront):
    (lost, _pi), (odd, _pi) = paid(shopfront), paid(shopfront)
    gone = delete(Ticket).where(Ticket.order_id == lost.id, Ticket.number == 1)
    shopfront.shop.db.transaction(lambda session: session.execute(gone))
    ticket = one(shopfront, Ticket, order_id=odd.id, number=2)
    spoil(shopfront, Ticket, ticket.id, ticket_type_id=shopfront.event.ticket_types[1].id)
    finds(
        shopfront,
        f"I3 order {lost.code}: has 1 tickets for 2 places",
        f"I3 order {odd.code}: has 1 tickets for 2 places",
        f"I3 order {lost.code}: has tickets whose numbers do not go from 1 on",
        f"I3 order {odd.code}: has 1 tickets that nobody has paid for",
    )
    code, _lines = audited(shopfront, "--repair")
    assert code == 1


def test_i3_tickets_of_a_refunded_order(shopfront):
    order, _pi = paid(shopfront)
    issue_refund(shopfront.shop, order.code)
    rest(shopfront)
    spoil(shopfront, Ticket, status="valid")
    finds(shopfront, f"I3 order {order.code}: is refunded and has 2 tickets that are not void")
    is_sound(shopfront, "--repair")
    assert {ticket.status for ticket in shopfront.tickets(order)} == {"void"}


def test_i3_tickets_that_were_given_back(shopfront):
    order, _pi = paid(shopfront, 3)
    issue_refund(shopfront.shop, order.code, tickets=[1, 2])
    rest(shopfront)
    spoil(shopfront, Ticket, one(shopfront, Ticket, number=2).id, status="valid")
    spoil(shopfront, Event, sold=2)
    spoil(shopfront, TicketType, shopfront.event.ticket_types[0].id, sold=2)
    finds(
        shopfront,
        f"I3 order {order.code}: has tickets that were given back and are not void: 2",
    )
    is_sound(shopfront, "--repair")
    assert shopfront.stock() == (0, 1)


def test_i3_disputed_tickets_are_blocked_and_others_are_not(shopfront):
    calm, _pi = paid(shopfront)
    disputed, _pi = paid(shopfront, method="pm_card_createDispute")
    for ticket in shopfront.tickets(calm):
        spoil(shopfront, Ticket, ticket.id, status="blocked")
    for ticket in shopfront.tickets(disputed):
        spoil(shopfront, Ticket, ticket.id, status="valid")
    finds(
        shopfront,
        f"I3 order {calm.code}: has blocked tickets, and no dispute is open",
        f"I3 order {disputed.code}: is disputed, and its tickets are not blocked",
    )
    is_sound(shopfront, "--repair")
    assert {ticket.status for ticket in shopfront.tickets(calm)} == {"valid"}
    assert {ticket.status for ticket in shopfront.tickets(disputed)} == {"blocked"}


def test_i4_a_confirmation_is_missing(shopfront):
    order, _pi = paid(shopfront)
    gone = delete(OutboxRow).where(OutboxRow.kind == "confirmation")
    shopfront.shop.db.transaction(lambda session: session.execute(gone))
    finds(shopfront, f"I4 order {order.code}: is paid and gets no confirmation")
    is_sound(shopfront, "--repair")
    assert one(shopfront, OutboxRow, kind="confirmation").done_at


def test_i4_a_confirmation_too_many(shopfront):
    paid(shopfront)
    held = shopfront.place_directly(1)
    row = one(shopfront, OutboxRow, kind="confirmation")
    values = {"kind": "confirmation", "key": f"confirmation-{held.token}", "payload": {}}
    more = OutboxRow(**values, created_at=row.created_at, due_at=row.due_at, done_at=row.done_at)
    shopfront.shop.db.transaction(lambda session: session.add(more))
    finds(shopfront, "I4 outbox row")


def test_i7_a_mail_that_was_given_up(shopfront):
    paid(shopfront)
    row = one(shopfront, OutboxRow, kind="confirmation")
    now = shopfront.clock.now()
    wrong = {"done_at": None, "parked_at": now, "attempts": 80, "last_error": "MailRefused: no"}
    spoil(shopfront, OutboxRow, row.id, **wrong)
    finds(shopfront, f"I7 outbox row {row.id}: (confirmation) is not done: given up after 80")
    is_sound(shopfront, "--repair")
    assert one(shopfront, OutboxRow, id=row.id).done_at


def test_i7_nobody_does_what_is_due(shopfront):
    paid(shopfront)
    row = one(shopfront, OutboxRow, kind="confirmation")
    spoil(shopfront, OutboxRow, row.id, done_at=None, due_at=shopfront.clock.now())
    is_sound(shopfront)
    shopfront.clock.move(minutes=11)
    finds(shopfront, f"I7 outbox row {row.id}: (confirmation) is not done: due for long")
    lease = shopfront.clock.now() + timedelta(minutes=5)
    spoil(shopfront, OutboxRow, row.id, leased_until=lease)
    is_sound(shopfront)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"done_at": None, "outcome": None, "last_error": "KeyError: x"}, "KeyError: x"),
        ({"outcome": "unhandled"}, "it came before the shop knew its type"),
    ],
)
def test_i7_an_event_that_is_not_handled(shopfront, wrong, why):
    _order, pi = paid(shopfront)
    event = one(shopfront, InboxRow, type="payment_intent.succeeded", object_id=pi)
    spoil(shopfront, InboxRow, event.id, **wrong)
    finds(shopfront, f"I7 event {event.event_id}: (payment_intent.succeeded) is not handled: {why}")
    is_sound(shopfront, "--repair")
    assert one(shopfront, InboxRow, id=event.id).outcome == "handled"


def test_i7_a_refund_that_nothing_sends(shopfront):
    order, _pi = paid(shopfront)
    issue_refund(shopfront.shop, order.code, amount=100)
    gone = delete(OutboxRow).where(OutboxRow.kind == "refund")
    shopfront.shop.db.transaction(lambda session: session.execute(gone))
    finds(shopfront, f"I7 order {order.code}: a refund of $1.00 was decided, and nothing sends it")
    is_sound(shopfront, "--repair")
    assert one(shopfront, Refund).status == "succeeded"


def test_notices_are_counted_and_are_no_breach(shopfront):
    paid(shopfront, method="pm_card_createDispute")
    assert one(shopfront, OperatorAlert).kind == "dispute_opened"
    code, lines = audited(shopfront)
    assert code == 0
    assert lines == ["1 alerts wait for a person: flask alerts list", "sound"]


def test_without_stripe_the_database_is_audited_and_the_exit_code_is_2(shopfront):
    order, _pi = paid(shopfront)
    spoil(shopfront, Event, held=3)
    line = StripeLine(shopfront)
    line.fate = lambda _call: "refused"
    code, lines = audited(shopfront)
    assert code == 2
    assert lines[0].startswith("I1  event concierto: counts 3 held")
    assert lines[-1].startswith("Stripe does not answer: StripeServerError")
    line.calls.clear()
    code, _lines = audited(shopfront, "--offline")
    assert (code, line.calls) == (1, [])
    assert order.status == "paid"


def test_an_order_that_is_marked_paid_by_hand(shopfront):
    order = shopfront.place_directly(1)
    spoil(shopfront, Order, order.id, status="paid", paid_at=shopfront.clock.now())
    finds(
        shopfront,
        "I1 event concierto",
        "I1 event concierto, General",
        f"I2 order {order.code}: is paid, and no payment of $75.00 has come for it",
        f"I3 order {order.code}: has 0 tickets for 1 places",
        f"I4 order {order.code}: is paid and gets no confirmation",
    )
