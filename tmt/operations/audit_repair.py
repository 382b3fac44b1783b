"""A breach of what the shop promises, and the repairs that are safe.

Each repair goes through the doors that the shop itself goes through, under the same locks, and
looks again before it does anything: between finding and mending, the shop goes on selling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.checkout.states import Trigger, lock_order
from tmt.core import outbox, queued_rows
from tmt.core.errors import DomainError
from tmt.gateway import inbox
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import RefundStatus
from tmt.operations.reconcile import sync_with_stripe
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


class NeedsAPerson(DomainError):
    """What is wrong cannot be mended without knowing more."""


@dataclass(frozen=True)
class Breach:
    """Something that is not as promised: which promise, about what, and what would mend it.

    `repair` mends it where that is safe; None where a person has to.
    """

    invariant: str
    subject: str
    what: str
    mend: str
    repair: Repair | None = field(default=None, repr=False, compare=False)


def recount_stock(event_id: int) -> Repair:
    """Counts held and sold places of the event again, as the orders have them."""

    def unit(session: Session) -> None:
        # Whoever changes the event's stock locks its row first, so that nobody does meanwhile.
        query = select(Event).where(Event.id == event_id).with_for_update()
        event = session.scalars(query.execution_options(populate_existing=True)).one()
        held, sold = places(session, event_id)
        types = select(TicketType).where(TicketType.event_id == event_id)
        fresh = types.order_by(TicketType.id).execution_options(populate_existing=True)
        for ticket_type in session.scalars(fresh.with_for_update()):
            ticket_type.held = held.get(ticket_type.id, 0)
            ticket_type.sold = sold.get(ticket_type.id, 0)
        event.held, event.sold = sum(held.values()), sum(sold.values())

    return _in_transaction(unit)


def places(session: Session, event_id: int | None = None) -> tuple[dict[int, int], dict[int, int]]:
    """Held and sold places by ticket type, as the orders have them: of all events, or of one.

    A ticket that is void has given its place back, also when the others of its order stand.
    """
    of = [] if event_id is None else [Order.event_id == event_id]
    held = _places(session, Order.status.in_((OrderStatus.HELD, OrderStatus.PROCESSING)), *of)
    sold = _places(session, Order.status == OrderStatus.PAID, *of)
    voided = (
        select(Ticket.ticket_type_id, func.count())
        .join(Order, Order.id == Ticket.order_id)
        .where(Order.status == OrderStatus.PAID, Ticket.status == TicketStatus.VOID, *of)
        .group_by(Ticket.ticket_type_id)
    )
    for type_id, count in session.execute(voided):
        sold[type_id] = sold.get(type_id, 0) - count
    return held, sold


def _places(session: Session, *where: ColumnElement[bool]) -> dict[int, int]:
    query = (
        select(OrderLine.ticket_type_id, func.sum(OrderLine.quantity))
        .join(Order, Order.id == OrderLine.order_id)
        .where(*where)
        .group_by(OrderLine.ticket_type_id)
    )
    return {type_id: int(count) for type_id, count in session.execute(query)}


def void_all(order_id: int) -> Repair:
    """Makes the tickets of a refunded order void; its places were given back with the money."""

    def unit(session: Session) -> None:
        if lock_order(session, order_id).status == OrderStatus.REFUNDED:
            void(session, order_id, None)

    return _in_transaction(unit)


def void_named(order_id: int, numbers: Sequence[int]) -> Repair:
    """Makes these tickets void and frees their places, as was decided with their refund."""

    def unit(session: Session) -> None:
        order = lock_order(session, order_id)
        if order.status == OrderStatus.PAID:
            void_and_restock(session, order, numbers)

    return _in_transaction(unit)


def issue_missing(order_id: int) -> Repair:
    """Issues the tickets of a paid order that has none at all."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if order.status != OrderStatus.PAID or get_tickets(session, order_id):
            raise NeedsAPerson("it has some tickets")
        issue(session, order, shop.clock.now())

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def align_disputes(order_id: int) -> Repair:
    """Blocks the order's tickets or makes them valid, as its disputes have it."""

    def unit(session: Session, shop: Shop) -> None:
        apply_disputes(session, shop, lock_order(session, order_id))

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def put_confirmation(order_id: int) -> Repair:
    """Has the confirmation of a paid order sent."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if order.status == OrderStatus.PAID:
            key, payload = f"confirmation-{order.token}", {"order": order.id}
            outbox.put(session, "confirmation", key, payload, shop.clock.now())

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def end_empty(order_id: int) -> Repair:
    """Ends a paid order of which all the money has gone back."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        close_if_fully_refunded(session, order, Trigger.RECONCILER, shop.clock.now())

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def owe_rest(order_id: int) -> Repair:
    """Gives back what was kept for an order that is not paid, unless that has failed before."""

    def unit(session: Session, shop: Shop) -> None:
        order = lock_order(session, order_id)
        if any(refund.status.is_failed for refund in get_refunds(session, order_id)):
            raise NeedsAPerson("a refund of it has failed before")
        if order.status in (OrderStatus.HELD, OrderStatus.PROCESSING, OrderStatus.PAID):
            raise NeedsAPerson(f"the order is {order.status}")
        payment = get_payment(session, order_id)
        left = remaining(session, payment) if payment else 0
        if payment and left:
            request_refund(session, payment, left, "unused_payment", shop.clock.now())

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def send_again(refund_id: int) -> Repair:
    """Has a refund sent that was decided and that nobody would send any more."""

    def unit(session: Session, shop: Shop) -> None:
        refund = session.get_one(Refund, refund_id, with_for_update=True)
        if refund.status != RefundStatus.REQUESTED:
            return
        key, now = f"refund-{refund_id}", shop.clock.now()
        outbox.put(session, "refund", key, {"refund": refund_id}, now)
        standing = session.scalars(select(outbox.OutboxRow).filter_by(key=key)).one()
        queued_rows.reopen(session, outbox.OutboxRow, standing.id, now)

    return lambda shop, _gateway: shop.db.transaction(lambda s: unit(s, shop))


def retry_row(row_id: int) -> Repair:
    """Tries a row of the outbox again."""
    return lambda shop, _gateway: outbox.retry(shop.db, shop.clock, row_id)


def replay(event_id: str) -> Repair:
    """Has a stored event handled again."""
    return lambda shop, _gateway: inbox.replay(shop, event_id)


def ask_again(payment_intent: str) -> Repair:
    """Brings a PaymentIntent, its refunds and its disputes into line with Stripe."""
    return lambda shop, gateway: sync_with_stripe(shop, gateway, payment_intent)


def cancel(payment_intent: str) -> Repair:
    """Cancels a PaymentIntent that no order has."""

    def repair(_shop: Shop, gateway: Gateway) -> None:
        gateway.cancel_payment_intent(payment_intent)

    return repair


def _in_transaction(unit: Callable[[Session], None]) -> Repair:
    return lambda shop, _gateway: shop.db.transaction(unit)
