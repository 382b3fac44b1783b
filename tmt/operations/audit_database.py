"""What the audit asks the database alone: I1, I3, I4, I7, and of I2 what the rows say.

Each check is a handful of statements over whole tables, which find only what is wrong, so that a
shop of any size is checked without reading it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, selectinload

from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.core.money import format_money
from tmt.core.outbox import OutboxRow
from tmt.core.queued_rows import QueuedRow
from tmt.gateway.inbox import UNHANDLED, InboxRow
from tmt.gateway.types import CLOSED_DISPUTES, DisputeStatus, PaymentIntentStatus, RefundStatus
from tmt.operations import audit_repair
from tmt.operations.audit_repair import Breach
from tmt.payments.models import COUNTED_REFUNDS, Dispute, OperatorAlert, Payment, Refund
from tmt.payments.webhook_handlers import HANDLERS
from tmt.shop import Shop
from tmt.tickets.models import Ticket, TicketStatus

# Jobs run every minute: what is due for longer has nobody who does it.
_PATIENCE = timedelta(minutes=10)
_BATCH = 500
_MENDS = "flask audit --repair"
_ASK_STRIPE = "look at the order's payments in Stripe's dashboard"


def database_breaches(shop: Shop) -> Iterator[Breach]:
    """Everything that the database alone shows to be wrong."""
    now, blocks = shop.clock.now(), shop.settings.block_disputed
    checks = (stock, money, lambda s: tickets(s, blocks), confirmations, lambda s: undone(s, now))
    for check in checks:
        with shop.db.reading() as session:
            found = list(check(session))
        yield from found


def stock(session: Session) -> Iterator[Breach]:
    """I1: held and sold places are what the orders say, and no more than there are."""
    held, sold = audit_repair.places(session)
    for event in session.scalars(select(Event).options(selectinload(Event.ticket_types))):
        ids = [ticket_type.id for ticket_type in event.ticket_types]
        rows: list[tuple[Event | TicketType, str, list[int]]] = [(event, "", ids)]
        rows += [(one, f", {one.name}", [one.id]) for one in event.ticket_types]
        for row, name, of in rows:
            said = sum(held.get(i, 0) for i in of), sum(sold.get(i, 0) for i in of)
            yield from _counted(row, f"event {event.slug}{name}", said, event.id)


def _counted(
    row: Event | TicketType, subject: str, said: tuple[int, int], event_id: int
) -> Iterator[Breach]:
    too_many = row.capacity is not None and sum(said) > row.capacity
    if (row.held, row.sold) != said:
        what = (
            f"counts {row.held} held and {row.sold} sold, its orders have {said[0]} and {said[1]}"
        )
        repair = None if too_many else audit_repair.recount_stock(event_id)
        yield Breach("I1", subject, what, _MENDS, repair)
    if too_many:
        what = f"has {row.capacity} places, and its orders have {sum(said)}"
        yield Breach("I1", subject, what, "raise the capacity, or refund orders: flask refund")


def money(session: Session) -> Iterator[Breach]:
    """I2, as far as the rows tell: what is kept for an order is what it is paid with."""
    kept = _kept_by_order()
    left = func.coalesce(kept.c.kept, 0)
    unpaid = ~_paid_with()
    wrong = or_(
        and_(
            Order.status == OrderStatus.PAID,
            Order.total > 0,
            or_(left <= 0, left > Order.total, unpaid),
        ),
        and_(Order.status != OrderStatus.PAID, left > 0, ~_given_back_by_hand()),
    )
    columns = (Order.id, Order.code, Order.status, Order.total, Order.currency)
    query = select(*columns, left.label("kept"), unpaid.label("unpaid"))
    for row in session.execute(query.outerjoin(kept, kept.c.order_id == Order.id).where(wrong)):
        yield _kept_wrongly(row)
    returned, order = _returned(), Order.code
    query = select(order, Payment, returned).join(Order, Order.id == Payment.order_id)
    more = query.where(
        Payment.status == PaymentIntentStatus.SUCCEEDED, returned > Payment.amount_received
    )
    for code, payment, sum_ in session.execute(more):
        came = _money(payment.amount_received, payment.received_currency)
        what = f"{_money(sum_, payment.received_currency)} went back of {came} that came"
        yield Breach("I2", f"order {code}", what, _ASK_STRIPE)


def _kept_wrongly(row: Any) -> Breach:
    subject, kept = f"order {row.code}", _money(row.kept, row.currency)
    if row.status != OrderStatus.PAID:
        what = f"is {row.status}, and {kept} of the buyer's money are kept"
        mend = f"flask refund {row.code}"
        return Breach("I2", subject, what, mend, audit_repair.owe_rest(row.id))
    if row.unpaid:
        what = f"is paid, and no payment of {_money(row.total, row.currency)} has come for it"
        return Breach("I2", subject, what, _ASK_STRIPE)
    if row.kept > 0:
        what = f"costs {_money(row.total, row.currency)}, and {kept} are kept for it"
        return Breach("I2", subject, what, "refund the second payment in Stripe's dashboard")
    what = "is paid, and all of its money has gone back"
    return Breach("I2", subject, what, _MENDS, audit_repair.end_empty(row.id))


def _kept_by_order() -> Any:
    left = Payment.amount_received - _returned() - _lost()
    return (
        select(Payment.order_id, func.sum(case((left > 0, left), else_=0)).label("kept"))
        .where(Payment.status == PaymentIntentStatus.SUCCEEDED)
        .group_by(Payment.order_id)
        .subquery()
    )


def _returned() -> ScalarSelect[Any]:
    query = select(func.coalesce(func.sum(Refund.amount), 0))
    mine = query.where(Refund.payment_id == Payment.id, Refund.status.in_(COUNTED_REFUNDS))
    return mine.correlate(Payment).scalar_subquery()


def _lost() -> ScalarSelect[Any]:
    query = select(func.coalesce(func.sum(Dispute.amount), 0))
    mine = query.where(Dispute.payment_id == Payment.id, Dispute.status == DisputeStatus.LOST)
    return mine.correlate(Payment).scalar_subquery()


def _given_back_by_hand() -> ColumnElement[bool]:
    """Whether Stripe could not give the money back, and a person has said that it is done."""
    failed = (OperatorAlert.order_id == Order.id, OperatorAlert.kind == "refund_failed")
    told = exists().where(*failed, OperatorAlert.resolved_at.is_not(None))
    return and_(told, ~exists().where(*failed, OperatorAlert.resolved_at.is_(None)))


def _paid_with() -> ColumnElement[bool]:
    return exists().where(
        Payment.order_id == Order.id,
        Payment.status == PaymentIntentStatus.SUCCEEDED,
        Payment.amount_received == Order.total,
        Payment.received_currency == Order.currency,
    )


def tickets(session: Session, block_disputed: bool | None = None) -> Iterator[Breach]:
    """I3: a ticket for each paid place that was not given back, and none besides.

    `block_disputed` is the setting of that name; None leaves the question out.
    """
    yield from _ticket_counts(session)
    yield from _tickets_too_many(session)
    yield from _tickets_given_back(session)
    yield from _tickets_disputed(session, block_disputed)


def _ticket_counts(session: Session) -> Iterator[Breach]:
    """Once paid, an order has as many tickets of each type as it has places, numbered from 1."""
    asked = _by_type(OrderLine, func.sum(OrderLine.quantity)).subquery()
    there = _by_type(Ticket, func.count()).subquery()
    same = and_(there.c.order_id == asked.c.order_id, there.c.type == asked.c.type)
    found = func.coalesce(there.c.n, 0)
    query = (
        select(Order.id, Order.code, asked.c.n, found, _any_ticket())
        .join(asked, asked.c.order_id == Order.id)
        .outerjoin(there, same)
        .where(Order.paid_at.is_not(None), found != asked.c.n)
    )
    for order_id, code, places, tickets, some in session.execute(query):
        what = f"has {tickets} tickets for {places} places of one type"
        repair = None if some else audit_repair.issue_missing(order_id)
        yield Breach("I3", f"order {code}", what, _MENDS if repair else _ASK_STRIPE, repair)
    lowest, highest = func.min(Ticket.number), func.max(Ticket.number)
    gaps = select(Order.code).join(Ticket, Ticket.order_id == Order.id).group_by(Order.code)
    for code in session.scalars(gaps.having(or_(lowest != 1, highest != func.count()))):
        what = "has tickets whose numbers do not go from 1 on"
        yield Breach("I3", f"order {code}", what, "compare its tickets with its lines")


def _by_type(table: type[OrderLine] | type[Ticket], count: Any) -> Select[Any]:
    columns = table.order_id, table.ticket_type_id.label("type")
    return select(*columns, count.label("n")).group_by(table.order_id, table.ticket_type_id)


def _any_ticket() -> ColumnElement[bool]:
    return exists().where(Ticket.order_id == Order.id)


def _tickets_too_many(session: Session) -> Iterator[Breach]:
    """No ticket without a paid place; none that is not void in an order that is not paid."""
    line = exists().where(
        OrderLine.order_id == Ticket.order_id, OrderLine.ticket_type_id == Ticket.ticket_type_id
    )
    query = select(Order.code, func.count()).join(Ticket, Ticket.order_id == Order.id)
    odd = query.where(or_(Order.paid_at.is_(None), ~line)).group_by(Order.code)
    for code, count in session.execute(odd):
        what = f"has {count} tickets that nobody has paid for"
        yield Breach("I3", f"order {code}", what, "void them: flask refund --tickets")
    ended = select(Order.id, Order.code, Order.status, func.count())
    ended = ended.join(Ticket, Ticket.order_id == Order.id).where(
        Order.paid_at.is_not(None),
        Order.status != OrderStatus.PAID,
        Ticket.status != TicketStatus.VOID,
    )
    for order_id, code, status, count in session.execute(ended.group_by(Order.id)):
        what = f"is {status} and has {count} tickets that are not void"
        yield Breach("I3", f"order {code}", what, _MENDS, audit_repair.void_all(order_id))


def _tickets_given_back(session: Session) -> Iterator[Breach]:
    """A ticket that was given back is void."""
    query = (
        select(Order.id, Order.code, Refund.tickets)
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(cast(Refund.tickets, String) != "[]", Order.status == OrderStatus.PAID)
    )
    for refunds in session.execute(query.execution_options(yield_per=_BATCH)).partitions():
        orders = {order_id for order_id, _code, _numbers in refunds}
        standing = select(Ticket.order_id, Ticket.number).where(
            Ticket.order_id.in_(orders), Ticket.status != TicketStatus.VOID
        )
        valid = {(order_id, number) for order_id, number in session.execute(standing)}
        for order_id, code, numbers in refunds:
            left = [number for number in numbers if (order_id, number) in valid]
            if left:
                what = f"has tickets that were given back and are not void: {_listed(left)}"
                repair = audit_repair.void_named(order_id, left)
                yield Breach("I3", f"order {code}", what, _MENDS, repair)


def _tickets_disputed(session: Session, block_disputed: bool | None) -> Iterator[Breach]:
    """Blocked while a dispute is undecided, and only then."""
    dispute = select(Payment.order_id).join(Dispute, Dispute.payment_id == Payment.id)
    undecided = dispute.where(Dispute.status.not_in(CLOSED_DISPUTES))
    query = select(Order.id, Order.code).join(Ticket, Ticket.order_id == Order.id).distinct()
    blocked = query.where(Ticket.status == TicketStatus.BLOCKED, Order.id.not_in(undecided))
    cases = [(blocked, "has blocked tickets, and no dispute is open")]
    if block_disputed:
        held = undecided.where(Dispute.status.not_like("warning\\_%", escape="\\"))
        valid = query.where(Ticket.status == TicketStatus.VALID, Order.id.in_(held))
        cases.append((valid, "is disputed, and its tickets are not blocked"))
    for wrong, what in cases:
        for order_id, code in session.execute(wrong):
            repair = audit_repair.align_disputes(order_id)
            yield Breach("I3", f"order {code}", what, _MENDS, repair)


def confirmations(session: Session) -> Iterator[Breach]:
    """I4: one confirmation is sent, or will be, for each order that was paid."""
    prefix = "confirmation-"
    key = literal(prefix) + Order.token
    missing = select(Order.id, Order.code).where(
        Order.status == OrderStatus.PAID, ~exists().where(OutboxRow.key == key)
    )
    for order_id, code in session.execute(missing):
        repair = audit_repair.put_confirmation(order_id)
        yield Breach("I4", f"order {code}", "is paid and gets no confirmation", _MENDS, repair)
    # Said so that the index on the token serves: the other way, each row would read all orders.
    token = func.substr(OutboxRow.key, len(prefix) + 1)
    right = exists().where(Order.token == token, Order.paid_at.is_not(None))
    named = and_(OutboxRow.key.startswith(prefix, autoescape=True), right)
    odd = select(OutboxRow.id).where(OutboxRow.kind == "confirmation", ~named)
    for row_id in session.scalars(odd):
        what = "confirms an order that was never paid, or a second time"
        yield Breach("I4", f"outbox row {row_id}", what, "tell the buyer, if it was sent")


def undone(session: Session, now: datetime) -> Iterator[Breach]:
    """I7: no event of Stripe's unhandled, nothing left undone."""
    yield from _events(session, now)
    yield from _rows(session, now)
    key = literal("refund-") + cast(Refund.id, String)
    sends = exists().where(OutboxRow.key == key, OutboxRow.done_at.is_(None))
    query = (
        select(Refund.id, Order.code, Refund.amount, Refund.currency)
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(Refund.status == RefundStatus.REQUESTED, ~sends)
    )
    for refund_id, code, amount, currency in session.execute(query):
        what = f"a refund of {_money(amount, currency)} was decided, and nothing sends it"
        repair = audit_repair.send_again(refund_id)
        yield Breach("I7", f"order {code}", what, _MENDS, repair)


def _events(session: Session, now: datetime) -> Iterator[Breach]:
    late = _waits_too_long(InboxRow, now)
    failing = and_(InboxRow.done_at.is_(None), InboxRow.last_error.is_not(None))
    unhandled = and_(InboxRow.outcome == UNHANDLED, InboxRow.type.in_(HANDLERS))
    for row in session.scalars(select(InboxRow).where(or_(late, failing, unhandled))):
        what = f"({row.type}) is not handled: {_why(row)}"
        mend, repair = f"flask inbox replay {row.event_id}", audit_repair.replay(row.event_id)
        yield Breach("I7", f"event {row.event_id}", what, mend, repair)


def _rows(session: Session, now: datetime) -> Iterator[Breach]:
    for row in session.scalars(select(OutboxRow).where(_waits_too_long(OutboxRow, now))):
        what = f"({row.kind}) is not done: {_why(row)}"
        mend, repair = f"flask outbox retry {row.id}", audit_repair.retry_row(row.id)
        yield Breach("I7", f"outbox row {row.id}", what, mend, repair)


def _waits_too_long(kind: type[InboxRow] | type[OutboxRow], now: datetime) -> Any:
    free = or_(kind.leased_until.is_(None), kind.leased_until < now)
    due = and_(kind.due_at < now - _PATIENCE, free)
    return and_(kind.done_at.is_(None), or_(kind.parked_at.is_not(None), due))


def _why(row: QueuedRow) -> str:
    if row.done_at:
        return "it came before the shop knew its type"
    if row.parked_at:
        return f"given up after {row.attempts} attempts, {row.last_error}"
    return row.last_error or "due for long, and no job takes it: does flask jobs run?"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _money(amount: int, currency: str) -> str:
    return format_money(amount, currency, "en")
