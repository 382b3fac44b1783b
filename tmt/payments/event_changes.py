"""What a canceled or moved event means for its orders: refunds, mails, ended reservations.

The change is a row (`tmt/catalog/changes.py`). The jobs put a row for each order into the outbox,
a batch at a time, and each of these is done on its own, once, until it succeeds: a process that
dies, a Stripe that does not answer and an order that is disputed delay it and lose nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from tmt.catalog.changes import Appointment, cancellation, record_change
from tmt.catalog.models import ChangeKind, Event, EventChange, EventStatus
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import account_of_order, get_order, own_orders
from tmt.checkout.states import Trigger, lock_order
from tmt.core import outbox
from tmt.core.errors import DomainError, NotFound
from tmt.core.mail_transport import Attachment
from tmt.core.mailer import Mailer
from tmt.gateway.errors import GatewayError
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import DisputeStatus
from tmt.payments.balances import (
    close_if_fully_refunded,
    get_payment,
    get_refunds,
    is_disputed,
    net_paid,
)
from tmt.payments.expiry import end_hold
from tmt.payments.models import FAILED_REFUNDS, Dispute, Payment, Refund
from tmt.payments.refunds import EVENT_CANCELED, WaitsForDispute, request_refund
from tmt.payments.slips import method_without_refunds
from tmt.shop import Shop
from tmt.tickets.documents import calendar_file
from tmt.tickets.mails import mail_context
from tmt.tickets.models import Ticket, TicketStatus

log = structlog.get_logger(__name__)

# Orders of which one transaction writes the rows.
_BATCH = 200
_PAID = OrderStatus.PAID
_CONCERNED = [status for status in OrderStatus if not status.is_closed]


class NotCancelable(DomainError):
    """The event is a draft that nobody sees, or is canceled already and nobody had ordered."""


@dataclass(frozen=True)
class Consequences:
    """Who is concerned by a change of an event; amounts in minor units, by currency.

    `orders` counts by status those that have tickets or a reservation; `left` is what their buyers
    paid and have not got back, of which `disputed` orders wait for their dispute. `elsewhere` are
    orders of other modes and accounts, which none of the other numbers count: what concerns them
    waits for their keys.
    """

    orders: Counter[OrderStatus]
    tickets: int
    left: dict[str, int]
    disputed: int
    elsewhere: int

    @property
    def mails(self) -> int:
        return self.orders.total()


@dataclass(frozen=True)
class Progress:
    """How far a change has come: counts of orders and mails, refunds by status (count, amount).

    Rows of the outbox that were deleted with age count no more.
    """

    orders: int
    all_queued: bool
    handled: int
    waiting: int
    parked: int
    mails_sent: int
    mails_waiting: int
    refunds: dict[tuple[str, str], tuple[int, int]]


def consequences(session: Session, shop: Shop, event_id: int) -> Consequences:
    """Who would be concerned if the event were canceled or moved now."""
    by_status = _orders(shop, event_id, Order.status, func.count()).group_by(Order.status)
    tickets = select(func.count()).where(
        Ticket.event_id == event_id, Ticket.status != TicketStatus.VOID
    )
    payments = _payments(
        shop, event_id, Order.id, Payment.received_currency, Payment.amount_received
    )
    refunds = _payments(shop, event_id, Order.id, Refund.amount).where(
        Refund.payment_id == Payment.id, Refund.status.not_in(FAILED_REFUNDS)
    )
    disputes = _payments(shop, event_id, Order.id, Dispute)
    disputes = disputes.where(Dispute.payment_id == Payment.id)
    gone: Counter[int] = Counter()
    for order_id, amount in session.execute(refunds):
        gone[order_id] += amount
    disputed = set()
    for order_id, dispute in session.execute(disputes):
        amount, status, blocks = dispute.amount, dispute.status, dispute.blocks_refunds
        if status == DisputeStatus.LOST:
            gone[order_id] += amount
        elif blocks:
            disputed.add(order_id)
    left: Counter[str] = Counter()
    for order_id, currency, amount in session.execute(payments.where(Order.status == _PAID)):
        left[currency] += max(amount - gone[order_id], 0)
    orders: Counter[OrderStatus] = Counter()
    for status, number in session.execute(by_status):
        orders[status] = number
    return Consequences(
        orders,
        session.scalar(tickets) or 0,
        dict(left),
        len(disputed),
        (session.scalar(_all_orders(event_id, func.count())) or 0) - orders.total(),
    )


def _payments(shop: Shop, event_id: int, *columns: Any) -> Select[Any]:
    return _orders(shop, event_id, *columns).where(Payment.order_id == Order.id)


def _orders(shop: Shop, event_id: int, *columns: Any) -> Select[Any]:
    """Columns of the event's orders that have tickets or a reservation, of this account."""
    return _all_orders(event_id, *columns).where(own_orders(shop.db.account))


def _all_orders(event_id: int, *columns: Any) -> Select[Any]:
    return select(*columns).where(Order.event_id == event_id, Order.status.in_(_CONCERNED))


def cancel_event(shop: Shop, slug: str, message: str = "") -> EventChange:
    """Cancels the event: nothing more is sold, and the jobs refund and inform its buyers.

    An event that was canceled before this was possible can be canceled again for that; a second
    time it changes nothing. Raises `NotFound` or `NotCancelable`.
    """

    def unit(session: Session) -> EventChange:
        event = session.scalar(select(Event).where(Event.slug == slug).with_for_update())
        if event is None:
            raise NotFound(f"no event '{slug[:80]}'")
        existing = cancellation(session, event.id)
        if existing:
            return existing
        is_ordered = session.scalar(_all_orders(event.id, Order.id).limit(1))
        if event.status != EventStatus.PUBLISHED and not is_ordered:
            raise NotCancelable(f"event '{slug}' is {event.status}, and nobody has ordered tickets")
        now = shop.clock.now()
        before = Appointment.of(event)
        if event.status != EventStatus.CANCELED:
            event.status, event.updated_at = EventStatus.CANCELED, now
            event.sequence += 1
        return record_change(
            session, event, ChangeKind.CANCELED, now, before=before, message=message
        )

    change = shop.db.transaction(unit)
    shop.jobs.trigger("outbox")
    log.info("event.canceled", event_id=change.event_id, change=change.id)
    return change


def progress(session: Session, change: EventChange) -> Progress:
    """How far the change has come."""

    def count(prefix: str) -> Counter[str]:
        rows = session.execute(
            select(
                outbox.OutboxRow.done_at.is_not(None), outbox.OutboxRow.parked_at.is_not(None)
            ).where(outbox.OutboxRow.key.startswith(prefix, autoescape=True))
        )
        return Counter(
            "done" if done else "parked" if parked else "waiting" for done, parked in rows
        )

    orders = count(f"event-change-{change.id}-order-")
    mails = count(f"event-mail-{change.id}-order-")
    refunds = session.execute(
        select(Refund.status, Refund.currency, func.count(), func.sum(Refund.amount))
        .join(Payment, Payment.id == Refund.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(Order.event_id == change.event_id, Refund.reason == EVENT_CANCELED)
        .group_by(Refund.status, Refund.currency)
    )
    return Progress(
        orders=change.orders,
        all_queued=change.queued_at is not None,
        handled=orders["done"],
        waiting=orders["waiting"],
        parked=orders["parked"] + mails["parked"],
        mails_sent=mails["done"],
        mails_waiting=mails["waiting"],
        refunds={
            (str(s), currency): (number, int(total)) for s, currency, number, total in refunds
        },
    )


def queue_orders(shop: Shop, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: puts rows for the next orders into the outbox, and one to go on with.

    How far it has come is stored with the change, so it may run any number of times.
    """

    def unit(session: Session) -> None:
        now = shop.clock.now()
        query = select(EventChange).where(EventChange.id == payload["change"]).with_for_update()
        change = session.scalars(query).one()
        if change.queued_at:
            return
        concerned = _all_orders(change.event_id, Order).where(Order.id > change.last_order)
        orders = session.scalars(concerned.order_by(Order.id).limit(_BATCH)).all()
        own = _orders(shop, change.event_id, Order.id).where(Order.id > change.last_order)
        own_ids = set(session.scalars(own.order_by(Order.id).limit(_BATCH)))
        for order in orders:
            row = {"change": change.id, "order": order.id}
            # Others are handled by processes with the keys that they were placed with.
            needs_keys = order.total or order.livemode != shop.settings.livemode
            is_own = order.id in own_ids or not needs_keys
            account = None if is_own else account_of_order(order)
            if change.kind == ChangeKind.CANCELED:
                key = f"event-change-{change.id}-order-{order.id}"
                outbox.put(session, "event_order", key, row, now, account=account)
            elif change.with_mail:
                _put_mail(session, row, now, account)
        if len(orders) < _BATCH:
            change.queued_at = now
        if orders:
            change.orders += len(orders)
            change.last_order = orders[-1].id
        if not change.queued_at:
            key = f"event-change-{change.id}-{change.last_order}"
            outbox.put(session, "event_change", key, payload, now)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def cancel_order(shop: Shop, gateway: Gateway, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: what the cancellation of its event means for one order.

    A reservation ends, what was paid is refunded, the tickets become void, and the buyer gets a
    mail. A payment that is on its way is left alone: it is refunded when it arrives (`sync.py`).
    Raises `WaitsForDispute`, with the mail sent, while the payment is disputed, and `GatewayError`.
    """
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.event.status != EventStatus.CANCELED:
        return
    failure: GatewayError | None = None
    if order.status.holds_stock:
        try:
            end_hold(shop, gateway, order.id, Trigger.EVENT)
        except GatewayError as error:
            # The buyer hears of it all the same; the hold ends with the next try.
            failure = error

    def unit(session: Session) -> bool:
        order = lock_order(session, payload["order"])
        change = session.get_one(EventChange, payload["change"])
        # A payment that came in just now has been refunded by `sync.py`, with a mail that says so.
        is_informed = order.status == OrderStatus.REFUNDED
        waits = order.status == OrderStatus.PAID and is_disputed(session, order.id)
        if order.status == OrderStatus.PAID and not waits:
            _refund_all(session, shop, order)
        if change.with_mail and not is_informed:
            _put_mail(session, payload, shop.clock.now())
        return waits

    waits = shop.db.transaction(unit)
    shop.jobs.trigger("outbox")
    if failure:
        raise failure
    if waits:
        raise WaitsForDispute(f"order {order.code} is disputed: it is refunded afterwards")


def _refund_all(session: Session, shop: Shop, order: Order) -> None:
    """Refunds what is left of a paid order, and closes it; a free one is closed."""
    now, payment, left = shop.clock.now(), get_payment(session, order.id), net_paid(session, order)
    if payment and left:
        request_refund(session, payment, left, EVENT_CANCELED, now)
        log.info("refund.requested", order=order.code, amount=left, reason=EVENT_CANCELED)
    close_if_fully_refunded(session, order, Trigger.EVENT, now)


def _put_mail(
    session: Session, payload: dict[str, Any], now: datetime, account: str | None = None
) -> None:
    key = f"event-mail-{payload['change']}-order-{payload['order']}"
    outbox.put(session, "event_mail", key, payload, now, account=account)


def send_event_mail(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: tells a buyer that the event is canceled, or held elsewhere or later.

    None is sent of a move that a later change has made obsolete, or to whoever has no ticket any
    more. The calendar file updates the entry that the buyer's calendar has.
    """
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        change = session.get_one(EventChange, payload["change"])
        newest = select(func.max(EventChange.id)).where(EventChange.event_id == order.event_id)
        is_newest = session.scalar(newest) == change.id
        by_hand = method_without_refunds(get_payment(session, order.id))
        refunds = [r for r in get_refunds(session, order.id) if by_hand or not r.status.is_failed]
        disputed = is_disputed(session, order.id)
    is_canceled = change.kind == ChangeKind.CANCELED
    if not is_canceled and (not is_newest or order.status.is_closed):
        return
    context = mail_context(shop, order) | {
        "before": Appointment.read(change.before),
        "message": change.message,
        "refunded": sum(r.amount for r in refunds if r.reason == EVENT_CANCELED),
        "by_hand": by_hand,
        "disputed": disputed,
    }
    attachments = []
    if order.paid_at:
        attachments = [Attachment(f"{order.code}.ics", *calendar_file(shop, order))]
    template = "event_canceled" if is_canceled else "event_moved"
    mailer.send(template, key, order.email, order.locale, context, attachments)
