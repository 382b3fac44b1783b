"""A breach of what the shop promises, and the repairs that are safe.

A repair calls the functions that the shop itself calls, under the same locks, and checks again
before it changes anything: the shop goes on selling between audit and repair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.checkout.states import Trigger, lock_order
from tmt.core import outbox, queued_rows
from tmt.core.errors import DomainError
from tmt.gateway import inbox
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import PaymentIntent, RefundStatus
from tmt.operations.reconcile import sync_with_stripe
from tmt.operations.unknown_payments import alert_unknown, refund_unknown
from tmt.payments.balances import (
    close_if_fully_refunded,
    get_payment,
    get_refunds,
    remaining,
    void_and_restock,
)
from tmt.payments.disputes import apply_disputes
from tmt.payments.models import Refund
from tmt.payments.refunds import request_refund
from tmt.shop import Shop
from tmt.tickets.issue import get_tickets, issue, void
from tmt.tickets.models import Ticket, TicketStatus

Repair = Callable[[Shop, Gateway], None]


class NeedsManualRepair(DomainError):
    """The database does not show which repair is right; a person has to decide."""


@dataclass(frozen=True)
class Breach:
    """A broken promise: which one (I1 to I7), of what, the problem, and how to fix it.

    `repair` fixes it where that is safe; None where a person has to. `refund` is for money that no
    order has, and only for an organiser who asks for it.
    """

    invariant: str
    subject: str
    problem: str
    how_to_fix: str
    repair: Repair | None = field(default=None, repr=False, compare=False)
    refund: Repair | None = field(default=None, repr=False, compare=False)


def count_stock(
    session: Session, event_id: int | None = None
) -> tuple[dict[int, int], dict[int, int]]:
    """Held and sold tickets by ticket type, counted from the orders: of all events, or of one.

    A void ticket is for sale again, also when other tickets of its order are valid.
    """
    of_event = [] if event_id is None else [Order.event_id == event_id]

    def count_ordered(*statuses: OrderStatus) -> dict[int, int]:
        query = (
            select(OrderLine.ticket_type_id, func.sum(OrderLine.quantity))
            .join(Order, Order.id == OrderLine.order_id)
            .where(Order.status.in_(statuses), *of_event)
            .group_by(OrderLine.ticket_type_id)
        )
        return {type_id: int(count) for type_id, count in session.execute(query)}

    held = count_ordered(*(status for status in OrderStatus if status.holds_stock))
    sold = count_ordered(OrderStatus.PAID)
    void_tickets = (
        select(Ticket.ticket_type_id, func.count())
        .join(Order, Order.id == Ticket.order_id)
        .where(Order.status == OrderStatus.PAID, Ticket.status == TicketStatus.VOID, *of_event)
        .group_by(Ticket.ticket_type_id)
    )
    for type_id, count in session.execute(void_tickets):
        sold[type_id] = sold.get(type_id, 0) - count
    return held, sold


def recount_stock(event_id: int) -> Repair:
    """Sets the event's counters of held and sold tickets to what its orders say."""

    def unit(session: Session, _shop: Shop) -> None:
        # Whoever changes the event's stock locks its row first, so nobody does meanwhile.
        query = select(Event).where(Event.id == event_id).with_for_update()
        event = session.scalars(query.execution_options(populate_existing=True)).one()
        held, sold = count_stock(session, event_id)
        types = select(TicketType).where(TicketType.event_id == event_id).order_by(TicketType.id)
        locked = types.with_for_update().execution_options(populate_existing=True)
        for ticket_type in session.scalars(locked):
            ticket_type.held = held.get(ticket_type.id, 0)
            ticket_type.sold = sold.get(ticket_type.id, 0)
        event.held, event.sold = sum(held.values()), sum(sold.values())

    return _in_transaction(unit)


def issue_tickets(order_id: int) -> Repair:
    """Issues the tickets of a paid order that has none at all."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if order.status != OrderStatus.PAID:
            raise NeedsManualRepair(f"the order is {order.status}")
        if get_tickets(session, order_id):
            raise NeedsManualRepair("the order has some tickets")
        issue(session, order, shop.clock.now())

    return _in_transaction(unit)


def void_all_tickets(order_id: int) -> Repair:
    """Makes the tickets of a refunded order void; they were restocked with the refund."""

    def unit(session: Session, _shop: Shop) -> None:
        if lock_order(session, order_id).status == OrderStatus.REFUNDED:
            void(session, order_id, None)

    return _in_transaction(unit)


def void_tickets(order_id: int, numbers: Sequence[int]) -> Repair:
    """Makes these refunded tickets void and restocks them."""

    def unit(session: Session, _shop: Shop) -> None:
        order = lock_order(session, order_id)
        if order.status == OrderStatus.PAID:
            void_and_restock(session, order, numbers)

    return _in_transaction(unit)


def block_or_unblock_tickets(order_id: int) -> Repair:
    """Blocks or unblocks the order's tickets, as its disputes require."""

    def unit(session: Session, shop: Shop) -> None:
        apply_disputes(session, shop, lock_order(session, order_id))

    return _in_transaction(unit)


def send_confirmation(order_id: int) -> Repair:
    """Puts the confirmation of a paid order into the outbox."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if order.status == OrderStatus.PAID:
            key, payload = f"confirmation-{order.token}", {"order": order.id}
            outbox.put(session, "confirmation", key, payload, shop.clock.now())

    return _in_transaction(unit)


def close_refunded_order(order_id: int) -> Repair:
    """Closes a paid order whose money is all gone."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        close_if_fully_refunded(session, order, Trigger.RECONCILER, shop.clock.now())

    return _in_transaction(unit)


def refund_remainder(order_id: int) -> Repair:
    """Refunds the money that is left of a closed order, unless a refund of it has failed before."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if any(refund.status.is_failed for refund in get_refunds(session, order_id)):
            raise NeedsManualRepair("a refund of it has failed before")
        if not order.status.is_closed:
            raise NeedsManualRepair(f"the order is {order.status}")
        payment = get_payment(session, order_id)
        left = remaining(session, payment) if payment else 0
        if payment and left:
            request_refund(session, payment, left, "unused_payment", shop.clock.now())

    return _in_transaction(unit)


def send_requested_refund(refund_id: int) -> Repair:
    """Has the outbox send a requested refund that no open row of it would send."""

    def unit(session: Session, shop: Shop) -> None:
        refund = session.get_one(Refund, refund_id, with_for_update=True)
        if refund.status != RefundStatus.REQUESTED:
            return
        key, now = f"refund-{refund_id}", shop.clock.now()
        outbox.put(session, "refund", key, {"refund": refund_id}, now)
        row = session.scalars(select(outbox.OutboxRow).filter_by(key=key)).one()
        queued_rows.reopen(session, outbox.OutboxRow, row.id, now)

    return _in_transaction(unit)


def retry_outbox_row(row_id: int) -> Repair:
    """Tries a row of the outbox again."""
    return lambda shop, _gateway: outbox.retry(shop.db, shop.clock, row_id)


def replay_event(event_id: str) -> Repair:
    """Has a stored Stripe event handled again."""
    return lambda shop, _gateway: inbox.replay(shop, event_id)


def sync_payment(payment_intent: str) -> Repair:
    """Syncs a PaymentIntent, its refunds and its disputes with Stripe."""
    return lambda shop, gateway: sync_with_stripe(shop, gateway, payment_intent)


def cancel_payment_intent(payment_intent: str) -> Repair:
    """Cancels a PaymentIntent that is stored on no order."""

    def repair(_shop: Shop, gateway: Gateway) -> None:
        gateway.cancel_payment_intent(payment_intent)

    return repair


def report_unknown_payment(intent: PaymentIntent) -> Repair:
    """Raises the alert about a payment that no order has."""
    return lambda shop, _gateway: alert_unknown(shop, [intent])


def refund_unknown_payment(intent: PaymentIntent) -> Repair:
    """Refunds what is left of a payment that no order has."""
    return lambda _shop, gateway: refund_unknown(gateway, intent)


def _in_transaction(unit: Callable[[Session, Shop], None]) -> Repair:
    return lambda shop, _gateway: shop.db.transaction(lambda session: unit(session, shop))
