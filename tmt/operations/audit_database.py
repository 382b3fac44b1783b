"""The part of the audit that needs only the database: I1, I3, I4, I7, and I2 as the rows show it.

Each check is a few statements over whole tables that return only what is wrong, so that a shop
of any size is audited without loading it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Subquery,
    and_,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, selectinload

from tmt.billing.webhook_handlers import HANDLERS
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.core.database import account_of, belongs_to
from tmt.core.money import format_money
from tmt.core.outbox import OutboxRow
from tmt.core.queued_rows import QueuedRow, is_free
from tmt.gateway.inbox import UNHANDLED, InboxRow
from tmt.gateway.types import (
    CLOSED_DISPUTES,
    INQUIRIES,
    LOST_DISPUTES,
    DisputeStatus,
    PaymentIntentStatus,
    RefundStatus,
)
from tmt.operations import audit_repair
from tmt.operations.audit_repair import Breach
from tmt.payments.models import FAILED_REFUNDS, Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket, TicketStatus

# Jobs run every minute: a row that is due for longer is not being worked on.
_OVERDUE_AFTER = timedelta(minutes=10)
_BATCH_SIZE = 500
_REPAIR = "flask audit --repair"
_CHECK_PAYMENT = "compare the order with its payment in Stripe's dashboard"


def database_breaches(shop: Shop) -> Iterator[Breach]:
    """Every breach that the database alone shows."""
    checks: tuple[Callable[[Session], Iterator[Breach]], ...] = (
        stock_breaches,
        money_breaches,
        partial(ticket_breaches, block_disputed=shop.settings.block_disputed),
        confirmation_breaches,
        partial(backlog_breaches, now=shop.clock.now()),
    )
    for check in checks:
        with shop.db.reading() as session:
            breaches = list(check(session))
        yield from breaches


def stock_breaches(session: Session) -> Iterator[Breach]:
    """I1: the counters of held and sold tickets match the orders, and nothing is oversold."""
    held, sold = audit_repair.count_stock(session)
    for event in session.scalars(select(Event).options(selectinload(Event.ticket_types))):
        all_types = [ticket_type.id for ticket_type in event.ticket_types]
        counters: list[tuple[Event | TicketType, str, list[int]]] = [
            (event, f"event {event.slug}", all_types),
            *((t, f"event {event.slug}, {t.name}", [t.id]) for t in event.ticket_types),
        ]
        for row, subject, type_ids in counters:
            expected_held = sum(held.get(type_id, 0) for type_id in type_ids)
            expected_sold = sum(sold.get(type_id, 0) for type_id in type_ids)
            expected = expected_held + expected_sold
            is_oversold = row.capacity is not None and expected > row.capacity
            if (row.held, row.sold) != (expected_held, expected_sold):
                problem = (
                    f"counts {row.held} tickets held and {row.sold} sold,"
                    f" but its orders have {expected_held} and {expected_sold}"
                )
                # The database rejects counters above the capacity.
                repair = None if is_oversold else audit_repair.recount_stock(event.id)
                yield Breach("I1", subject, problem, _REPAIR, repair)
            if is_oversold:
                problem = f"has {row.capacity} tickets, but its orders have {expected}"
                how_to_fix = "raise the capacity, or refund orders: flask refund"
                yield Breach("I1", subject, problem, how_to_fix)


def money_breaches(session: Session) -> Iterator[Breach]:
    """I2 by the rows: a paid order has been paid in full, and no money of any other is left."""
    for row in session.execute(_wrong_money()):
        order, subject = row.Order, f"order {row.Order.code}"
        if order.status != OrderStatus.PAID and row.left > 0:
            amount = _money(row.left, row.currency)
            problem = f"is {order.status}, and the shop still has {amount} of the buyer's money"
            is_refunded = order.status == OrderStatus.REFUNDED
            how_to_fix = f"flask refund {order.code}" if is_refunded else _REPAIR
            repair = audit_repair.refund_remainder(order.id)
            yield Breach("I2", subject, problem, how_to_fix, repair)
        if order.status == OrderStatus.PAID and not row.is_paid_in_full:
            total = _money(order.total, order.currency)
            problem = f"is paid, but no payment of {total} was received for it"
            yield Breach("I2", subject, problem, _CHECK_PAYMENT)
        elif order.status == OrderStatus.PAID and row.left <= 0:
            problem = "is paid, but all of its money was refunded or lost to a dispute"
            yield Breach(
                "I2", subject, problem, _REPAIR, audit_repair.close_refunded_order(order.id)
            )
        if row.refunded > row.received:
            problem = (
                f"{_money(row.refunded, row.currency)} were refunded"
                f" of {_money(row.received, row.currency)} that were received"
            )
            yield Breach("I2", subject, problem, _CHECK_PAYMENT)
    yield from _unknown_statuses(session)


def _wrong_money() -> Select[*tuple[Any, ...]]:
    """Orders whose money is not what their status says, with the sums to compare."""
    refunded = _sum_by_payment(Refund, Refund.status.not_in(FAILED_REFUNDS))
    lost = _sum_by_payment(Dispute, Dispute.status.in_(LOST_DISPUTES))
    received = func.coalesce(Payment.amount_received, 0)
    refunded_total = func.coalesce(refunded.c.total, 0)
    left = received - refunded_total - func.coalesce(lost.c.total, 0)
    is_paid_in_full = and_(
        Payment.id.is_not(None),
        Payment.amount_received == Order.total,
        Payment.received_currency == Order.currency,
    )
    is_paid = Order.status == OrderStatus.PAID
    failed_refund = (
        OperatorAlert.order_id == Order.id,
        OperatorAlert.kind.in_(("refund_failed", "refund_by_hand")),
    )
    # Stripe could not refund it, and a person has resolved the alert: it was paid back otherwise.
    is_refunded_by_hand = and_(
        exists().where(*failed_refund, OperatorAlert.resolved_at.is_not(None)),
        ~exists().where(*failed_refund, OperatorAlert.resolved_at.is_(None)),
    )
    # A lost one that is appealed: nobody can refund the money until that is decided.
    is_disputed = exists().where(
        Dispute.payment_id == Payment.id, Dispute.status.not_in(CLOSED_DISPUTES)
    )
    return (
        select(
            Order,
            is_paid_in_full.label("is_paid_in_full"),
            received.label("received"),
            refunded_total.label("refunded"),
            left.label("left"),
            func.coalesce(Payment.received_currency, Order.currency).label("currency"),
        )
        .outerjoin(
            Payment,
            and_(Payment.order_id == Order.id, Payment.status == PaymentIntentStatus.SUCCEEDED),
        )
        .outerjoin(refunded, refunded.c.payment_id == Payment.id)
        .outerjoin(lost, lost.c.payment_id == Payment.id)
        .where(
            or_(
                and_(is_paid, Order.total > 0, ~is_paid_in_full),
                and_(is_paid, Order.total > 0, left <= 0),
                and_(~is_paid, left > 0, ~is_refunded_by_hand, ~is_disputed),
                refunded_total > received,
            )
        )
        .order_by(Order.id)
    )


def _unknown_statuses(session: Session) -> Iterator[Breach]:
    """Statuses that Stripe has added since this version of the shop: nothing acts on them."""
    codes = select(Order.code).join(Payment, Payment.order_id == Order.id)
    queries = {
        "payment": codes.add_columns(Payment.payment_intent_id, Payment.status).where(
            Payment.status.not_in(list(PaymentIntentStatus))
        ),
        "refund": codes.add_columns(Refund.stripe_id, Refund.status)
        .join(Refund, Refund.payment_id == Payment.id)
        .where(Refund.status.not_in(list(RefundStatus))),
        "dispute": codes.add_columns(Dispute.stripe_id, Dispute.status)
        .join(Dispute, Dispute.payment_id == Payment.id)
        .where(Dispute.status.not_in(list(DisputeStatus))),
    }
    for name, query in queries.items():
        for code, stripe_id, status in session.execute(query):
            problem = f"{name} {stripe_id} has the status '{status}', which the shop does not know"
            how_to_fix = f"look at the {name} in Stripe's dashboard, and update the shop"
            yield Breach("I2", f"order {code}", problem, how_to_fix)


def _sum_by_payment(table: type[Refund] | type[Dispute], where: ColumnElement[bool]) -> Subquery:
    total = func.sum(table.amount).label("total")
    return select(table.payment_id, total).where(where).group_by(table.payment_id).subquery()


def ticket_breaches(session: Session, block_disputed: bool | None = None) -> Iterator[Breach]:
    """I3: each paid order has its tickets, no other order has a valid one, refunded ones are void.

    Tickets are blocked while a dispute is open, if `block_disputed` (the setting) says so; None
    skips the check that they are blocked then.
    """
    yield from _ticket_count_breaches(session)
    yield from _void_ticket_breaches(session)

    disputed = (
        select(Payment.order_id)
        .join(Dispute, Dispute.payment_id == Payment.id)
        .where(Dispute.status.not_in(CLOSED_DISPUTES))
    )
    with_tickets = select(Order.id, Order.code).join(Ticket, Ticket.order_id == Order.id).distinct()
    checks = [
        (
            with_tickets.where(Ticket.status == TicketStatus.BLOCKED, Order.id.not_in(disputed)),
            "has blocked tickets, but no dispute of it is open",
        )
    ]
    if block_disputed:
        # An inquiry ("warning_…") has taken no money, and blocks nothing.
        blocking = disputed.where(Dispute.status.not_in(INQUIRIES))
        checks.append(
            (
                with_tickets.where(Ticket.status == TicketStatus.VALID, Order.id.in_(blocking)),
                "is disputed, but its tickets are not blocked",
            )
        )
    for query, problem in checks:
        for order_id, code in session.execute(query):
            repair = audit_repair.block_or_unblock_tickets(order_id)
            yield Breach("I3", f"order {code}", problem, _REPAIR, repair)


def _ticket_count_breaches(session: Session) -> Iterator[Breach]:
    """Since it was paid an order has one ticket for each that was ordered, numbered from 1."""
    ordered = (
        select(
            OrderLine.order_id,
            OrderLine.ticket_type_id,
            func.sum(OrderLine.quantity).label("count"),
        )
        .group_by(OrderLine.order_id, OrderLine.ticket_type_id)
        .subquery()
    )
    issued = (
        select(Ticket.order_id, Ticket.ticket_type_id, func.count().label("count"))
        .group_by(Ticket.order_id, Ticket.ticket_type_id)
        .subquery()
    )
    issued_count = func.coalesce(issued.c.count, 0)
    has_tickets = exists().where(Ticket.order_id == Order.id)
    wrong_count = (
        select(Order.id, Order.code, ordered.c.count, issued_count, has_tickets)
        .join(ordered, ordered.c.order_id == Order.id)
        .outerjoin(
            issued,
            and_(
                issued.c.order_id == ordered.c.order_id,
                issued.c.ticket_type_id == ordered.c.ticket_type_id,
            ),
        )
        .where(Order.paid_at.is_not(None), issued_count != ordered.c.count)
    )
    for order_id, code, expected, count, has_some in session.execute(wrong_count):
        problem = f"has {count} tickets of a type of which {expected} were ordered"
        repair = None if has_some else audit_repair.issue_tickets(order_id)
        how_to_fix = _REPAIR if repair else "compare its tickets with its lines"
        yield Breach("I3", f"order {code}", problem, how_to_fix, repair)

    wrong_numbers = (
        select(Order.code)
        .join(Ticket, Ticket.order_id == Order.id)
        .group_by(Order.code)
        # Numbers are unique within an order: the highest is the count if none is missing.
        .having(func.max(Ticket.number) != func.count())
    )
    for code in session.scalars(wrong_numbers):
        problem = "has tickets that are not numbered from 1 without a gap"
        yield Breach("I3", f"order {code}", problem, "compare its tickets with its lines")

    is_ordered = exists().where(
        OrderLine.order_id == Ticket.order_id, OrderLine.ticket_type_id == Ticket.ticket_type_id
    )
    unpaid = (
        select(Order.code, func.count())
        .join(Ticket, Ticket.order_id == Order.id)
        .where(or_(Order.paid_at.is_(None), ~is_ordered))
        .group_by(Order.code)
    )
    for code, count in session.execute(unpaid):
        problem = f"has {count} tickets that were not paid for"
        yield Breach("I3", f"order {code}", problem, "void them: flask refund --tickets")


def _void_ticket_breaches(session: Session) -> Iterator[Breach]:
    """The tickets of a refunded order are void, and so are tickets that were refunded singly."""
    closed = (
        select(Order.id, Order.code, Order.status, func.count())
        .join(Ticket, Ticket.order_id == Order.id)
        .where(
            Order.paid_at.is_not(None),
            Order.status != OrderStatus.PAID,
            Ticket.status != TicketStatus.VOID,
        )
        .group_by(Order.id)
    )
    for order_id, code, status, count in session.execute(closed):
        problem = f"is {status}, but {count} of its tickets are not void"
        repair = audit_repair.void_all_tickets(order_id)
        yield Breach("I3", f"order {code}", problem, _REPAIR, repair)

    with_tickets = (
        select(Order.id, Order.code, Refund.tickets)
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(cast(Refund.tickets, String) != "[]", Order.status == OrderStatus.PAID)
        .execution_options(yield_per=_BATCH_SIZE)
    )
    for refunds in session.execute(with_tickets).partitions():
        query = select(Ticket.order_id, Ticket.number).where(
            Ticket.order_id.in_({order_id for order_id, _code, _numbers in refunds}),
            Ticket.status != TicketStatus.VOID,
        )
        not_void = {(order_id, number) for order_id, number in session.execute(query)}
        for order_id, code, numbers in refunds:
            wrong = [number for number in numbers if (order_id, number) in not_void]
            if wrong:
                problem = f"has refunded tickets that are not void: {', '.join(map(str, wrong))}"
                repair = audit_repair.void_tickets(order_id, wrong)
                yield Breach("I3", f"order {code}", problem, _REPAIR, repair)


def confirmation_breaches(session: Session) -> Iterator[Breach]:
    """I4: for each order that was paid there is one confirmation in the outbox, and no other."""
    prefix = "confirmation-"
    missing = select(Order.id, Order.code).where(
        Order.status == OrderStatus.PAID,
        # Where the personal data were erased, the row of the mail may be gone too.
        Order.email != "",
        ~exists().where(OutboxRow.key == literal(prefix) + Order.token),
    )
    for order_id, code in session.execute(missing):
        problem = "is paid, but no confirmation is sent"
        repair = audit_repair.send_confirmation(order_id)
        yield Breach("I4", f"order {code}", problem, _REPAIR, repair)
    # Compared by the token so that its index is used; by the key, each row would read all orders.
    token = func.substr(OutboxRow.key, len(prefix) + 1)
    is_of_paid_order = and_(
        OutboxRow.key.startswith(prefix, autoescape=True),
        exists().where(Order.token == token, Order.paid_at.is_not(None)),
    )
    wrong = select(OutboxRow.id).where(OutboxRow.kind == "confirmation", ~is_of_paid_order)
    for row_id in session.scalars(wrong):
        problem = "confirms an order that was never paid, or confirms it a second time"
        yield Breach("I4", f"outbox row {row_id}", problem, "inform the buyer, if it was sent")


def backlog_breaches(session: Session, now: datetime) -> Iterator[Breach]:
    """I7: every Stripe event is handled, nothing in the outbox is overdue, refunds are sent."""
    unhandled = or_(
        _is_overdue(session, InboxRow, now),
        and_(InboxRow.done_at.is_(None), InboxRow.last_error.is_not(None)),
        and_(InboxRow.outcome == UNHANDLED, InboxRow.type.in_(HANDLERS)),
    )
    for event in session.scalars(select(InboxRow).where(unhandled)):
        problem = f"({event.type}) is not handled: {_reason(event)}"
        how_to_fix = f"flask inbox replay {event.event_id}"
        repair = audit_repair.replay_event(event.event_id)
        yield Breach("I7", f"event {event.event_id}", problem, how_to_fix, repair)

    for row in session.scalars(select(OutboxRow).where(_is_overdue(session, OutboxRow, now))):
        problem = f"({row.kind}) is not done: {_reason(row)}"
        repair = audit_repair.retry_outbox_row(row.id)
        yield Breach("I7", f"outbox row {row.id}", problem, f"flask outbox retry {row.id}", repair)

    key = literal("refund-") + cast(Refund.id, String)
    unsent_refunds = (
        select(Refund.id, Order.code, Refund.amount, Refund.currency)
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(
            Refund.status == RefundStatus.REQUESTED,
            ~exists().where(OutboxRow.key == key, OutboxRow.done_at.is_(None)),
        )
    )
    for refund_id, code, amount, currency in session.execute(unsent_refunds):
        problem = f"a refund of {_money(amount, currency)} was requested, but nothing sends it"
        repair = audit_repair.send_requested_refund(refund_id)
        yield Breach("I7", f"order {code}", problem, _REPAIR, repair)


def _is_overdue(
    session: Session, table: type[InboxRow] | type[OutboxRow], now: datetime
) -> ColumnElement[bool]:
    """Whether a row of this mode and account waits for too long."""
    is_late = and_(table.due_at < now - _OVERDUE_AFTER, is_free(table, now))
    is_own = belongs_to(table.account, account_of(session))
    return and_(table.done_at.is_(None), is_own, or_(table.parked_at.is_not(None), is_late))


def _reason(row: QueuedRow) -> str:
    if row.done_at:
        return "it arrived before the shop handled its type"
    if row.parked_at:
        return f"parked after {row.attempts} attempts, {row.last_error}"
    return row.last_error or "overdue, and no job takes it: is flask jobs running?"


def _money(amount: int, currency: str) -> str:
    return format_money(amount, currency, "en")
