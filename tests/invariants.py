"""What must be true of a shop (docs: I1 to I4, I7), counted without trusting the shop.

The verifier takes sums of the rows and of Stripe's own objects, and says each breach in words that
tell where to look. `check_stock`, `check_tickets` and `check_money` are what tests ask of a shop
that may still be at work; they ask the shop's own audit as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from tests.sandbox_store import objects_of
from tests.shopfront import Shopfront
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.core.database import Base, Database
from tmt.core.mailer import message_file
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.gateway.types import CLOSED_DISPUTES
from tmt.operations import audit_database
from tmt.operations.audit import Breach, audit
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket, TicketStatus

T = TypeVar("T", bound=Base)


def check_stock(db: Database) -> None:
    """I1: nothing is sold twice, and what is held and sold is what the orders say."""
    with db.reading() as session:
        _none(_descriptions(audit_database.stock_breaches(session)))
    _none(Verifier(db).stock())


def check_tickets(db: Database) -> None:
    """I3: a ticket for each paid one, numbered without gap, void when it was refunded."""
    with db.reading() as session:
        _none(_descriptions(audit_database.ticket_breaches(session)))
    _none(Verifier(db).tickets())


def check_money(front: Shopfront) -> None:
    """I2: what Stripe has of an order, less what went back, is what the shop keeps of it.

    I4: and for each paid order there is exactly one confirmation to send.
    """
    breaches = audit(front.shop, front.gateway)
    _none(_descriptions(b for b in breaches if b.invariant in ("I2", "I4")))
    verifier = Verifier(front.shop.db, front.stripe_store)
    _none([*verifier.money(), *verifier.confirmations()])


def _descriptions(breaches: Iterable[Breach]) -> list[str]:
    return [f"{b.invariant} {b.subject}: {b.problem}" for b in breaches]


def _none(breaches: Iterable[str]) -> None:
    assert list(breaches) == []


@dataclass(frozen=True)
class Verifier:
    """Looks at everything once, in the shop's database and in its sandbox's store.

    `lost` are PaymentIntents of orders that a restored backup lacks.
    """

    db: Database
    store: Path = Path()
    lost: frozenset[str] = frozenset()

    def at_rest(self, shop: Shop) -> Iterator[str]:
        """Every breach of I1 to I4 and I7 in a shop that has nothing left to do."""
        yield from self.stock()
        yield from self.money()
        yield from self.unknown_payments()
        yield from self.refunds_in_excess()
        yield from self.tickets()
        yield from self.confirmations()
        yield from self.unsent_confirmations(shop)
        yield from self.unfinished()

    def stock(self) -> Iterator[str]:
        """I1."""
        held: Counter[int] = Counter()
        for order in self.orders.values():
            if order.status in (OrderStatus.HELD, OrderStatus.PROCESSING):
                held += self._quantities[order.id]
        issued = (ticket for tickets in self._tickets.values() for ticket in tickets)
        sold = Counter(t.ticket_type_id for t in issued if t.status != TicketStatus.VOID)
        types = self._rows(TicketType)
        for event in self._rows(Event):
            own = [one for one in types if one.event_id == event.id]
            sums = sum(held[t.id] for t in own), sum(sold[t.id] for t in own)
            yield from compare_stock(f"event {event.slug}", event, *sums)
            for one in own:
                name = f"ticket type {one.name} of {event.slug}"
                yield from compare_stock(name, one, held[one.id], sold[one.id])

    def money(self) -> Iterator[str]:
        """I2, payment by payment and order by order."""
        at_stripe = self._left_at_stripe()
        lost: Counter[int] = Counter()
        for one in self._rows(Dispute):
            if one.status == "lost":
                lost[one.payment_id] += one.amount
        net: Counter[int] = Counter()
        untouched = set(self.orders)
        for payment in self._payments:
            refunds = [r for r in self._refunds[payment.order_id] if not r.status.is_failed]
            here = payment.amount_received - sum(r.amount for r in refunds) - lost[payment.id]
            there = at_stripe[payment.payment_intent_id or ""]
            net[payment.order_id] += there
            if refunds or lost[payment.id]:
                untouched.discard(payment.order_id)
            if here != there:
                code = self.orders[payment.order_id].code
                yield (
                    f"I2: {payment.payment_intent_id} of order {code} has {there} left at Stripe"
                    f" and {here} here (payment {payment.id}, {payment.status})"
                )
        for order in self.orders.values():
            left = net[order.id]
            if order.status != OrderStatus.PAID:
                if left and not self._has_failed_refund(order):
                    yield f"I2: order {order.code} is {order.status}: {left} of it is at Stripe"
            elif order.total and left <= 0:
                yield f"I2: order {order.code} is paid and nothing of its money is left at Stripe"
            elif left > order.total or (order.id in untouched and left != order.total):
                yield f"I2: order {order.code} over {order.total} has {left} left at Stripe"

    def refunds_in_excess(self) -> Iterator[str]:
        """I2: no ticket is refunded twice, and never was more asked for than there was left."""
        for payment in self._payments:
            gone, numbers = 0, Counter[int]()
            code = self.orders[payment.order_id].code
            for refund in self._refunds[payment.order_id]:
                if refund.idempotency_key and gone + refund.amount > payment.amount_received:
                    yield (
                        f"I2: refund {refund.id} of order {code} is over {refund.amount}, and"
                        f" {gone} of {payment.amount_received} had been refunded"
                    )
                if not refund.status.is_failed:
                    gone += refund.amount
                    numbers.update(refund.tickets)
            twice = [number for number, times in numbers.items() if times > 1]
            if twice:
                yield f"I2: the tickets {twice} of order {code} were refunded more than once"

    def lost_money(self) -> dict[str, int]:
        """What can be given back of each payment that a restored backup lost (minor units).

        Nothing of those that a bank would not take back.
        """
        refused = {
            refund["payment_intent"]
            for refund in objects_of(self.store, "refund")
            if refund["status"] == "failed"
        }
        known = {payment.payment_intent_id for payment in self._payments}
        left = self._left_at_stripe()
        return {one: left[one] for one in self.lost - known - refused if left[one] > 0}

    def _left_at_stripe(self) -> Counter[str]:
        """By PaymentIntent: what was paid, less what was refunded and lost in disputes."""
        at_stripe: Counter[str] = Counter()
        for charge in objects_of(self.store, "charge"):
            captured = charge["amount_captured"] if charge["paid"] else 0
            at_stripe[charge["payment_intent"]] += captured - charge["amount_refunded"]
        for dispute in objects_of(self.store, "dispute"):
            if dispute["status"] == "lost":
                at_stripe[dispute["payment_intent"]] -= dispute["amount"]
        return at_stripe

    def unknown_payments(self) -> Iterator[str]:
        """No order's PaymentIntent is unknown here, other than here, or can still be paid.

        Those that a restored backup lost are unknown, and the organiser has an alert of each.
        """
        known = {p.payment_intent_id: p for p in self._payments if p.payment_intent_id}
        alerts = {alert.key: alert.details["amount"] for alert in self._unknown_alerts()}
        for intent in objects_of(self.store, "payment_intent"):
            if "tmt_order" not in intent["metadata"]:
                continue
            payment, status = known.get(intent["id"]), intent["status"]
            if payment is None:
                if status not in ("succeeded", "processing"):
                    continue
                if intent["id"] not in self.lost:
                    yield f"I2: {intent['id']} is {status} and no order knows it"
                elif alerts.get(f"unknown_payment-{intent['id']}") != intent["amount_received"]:
                    yield f"I2: {intent['id']} was lost with the backup, and no alert says so"
                continue
            code = self.orders[payment.order_id].code
            if payment.status != status:
                yield f"I2: {intent['id']} of order {code} is {status}, here {payment.status}"
            if status not in ("succeeded", "canceled"):
                yield f"I2: {intent['id']} of order {code} has ended nowhere: {status}"

    def tickets(self) -> Iterator[str]:
        """I3."""
        payments = {payment.id: payment.order_id for payment in self._payments}
        disputes = self._rows(Dispute)
        disputed = {payments[d.payment_id] for d in disputes if d.status not in CLOSED_DISPUTES}
        for order in self.orders.values():
            issued = sorted(self._tickets[order.id], key=lambda ticket: ticket.number)
            numbers = [ticket.number for ticket in issued]
            bought = self._quantities[order.id] if order.paid_at else Counter()
            if numbers != list(range(1, bought.total() + 1)):
                yield f"I3: order {order.code} ({order.status}) has the tickets {numbers}"
            elif Counter(ticket.ticket_type_id for ticket in issued) != bought:
                yield f"I3: order {order.code} has tickets of other types than it bought"
            valid = {ticket.number for ticket in issued if ticket.status != TicketStatus.VOID}
            refunded = {number for r in self._refunds[order.id] for number in r.tickets}
            expected = set(numbers) - refunded if order.status == OrderStatus.PAID else set()
            if valid != expected:
                yield (
                    f"I3: order {order.code} ({order.status}): tickets {sorted(valid)} are valid"
                    f" and {sorted(expected)} should be"
                )
            if order.id not in disputed and TicketStatus.BLOCKED in {t.status for t in issued}:
                yield f"I3: order {order.code} has a blocked ticket and no open dispute"

    def confirmations(self) -> Iterator[str]:
        """I4."""
        rows = [row for row in self._rows(OutboxRow) if row.kind == "confirmation"]
        written = Counter(row.payload["order"] for row in rows)
        for order in self.orders.values():
            # Those of an order that was erased may have been purged.
            if written[order.id] != (1 if order.paid_at else 0) and (
                order.email or not order.paid_at
            ):
                yield f"I4: order {order.code} has {written[order.id]} confirmations to send"

    def unsent_confirmations(self, shop: Shop) -> Iterator[str]:
        """I4: an order that was refunded before its mail went out needs none."""
        settings = shop.settings
        for order in self.orders.values():
            key = f"confirmation-{order.token}"
            sent = message_file(settings.mail_folder, key, settings.base_url)
            if order.status == OrderStatus.PAID and not sent:
                yield f"I4: the confirmation of order {order.code} was not sent"

    def unfinished(self) -> Iterator[str]:
        """I7."""
        for order in self.orders.values():
            if order.status in (OrderStatus.HELD, OrderStatus.PROCESSING):
                yield f"I7: order {order.code} is still {order.status}"
        for event in self._rows(InboxRow):
            if event.done_at is None:
                yield f"I7: {event.event_id} ({event.type}) is {event.state}: {event.last_error}"
        outbox = self._rows(OutboxRow)
        for row in outbox:
            if row.done_at is None:
                yield f"I7: outbox {row.id} ({row.kind}) is {row.state}: {row.last_error}"
        alerts = {alert.key for alert in self._rows(OperatorAlert)}
        mailed = {row.key for row in outbox if row.kind == "operator_alert"}
        for key in sorted(alerts):
            if f"operator_alert-{key}"[:120] not in mailed:
                yield f"I7: the alert {key} was never to be mailed"
        for refunds in self._refunds.values():
            for refund in refunds:
                if not refund.status.is_failed and refund.status != "succeeded":
                    yield f"I7: refund {refund.id} is still {refund.status}"
                alert = {f"refund_failed-{refund.id}", f"refund_by_hand-{refund.id}"}
                if refund.status == "failed" and not alert & alerts:
                    yield f"I2: refund {refund.id} failed and nobody was alerted"

    def _unknown_alerts(self) -> list[OperatorAlert]:
        return [alert for alert in self._rows(OperatorAlert) if alert.kind == "unknown_payment"]

    def with_failed_refunds(self) -> list[str]:
        """The codes of the refunded orders whose money no bank took back."""
        return [order.code for order in self.orders.values() if self._has_failed_refund(order)]

    def _has_failed_refund(self, order: Order) -> bool:
        failed = any(r.status in ("failed", "canceled") for r in self._refunds[order.id])
        return order.status == OrderStatus.REFUNDED and failed

    @cached_property
    def orders(self) -> dict[int, Order]:
        return {order.id: order for order in self._rows(Order)}

    @cached_property
    def _payments(self) -> Sequence[Payment]:
        return self._rows(Payment)

    @cached_property
    def _refunds(self) -> dict[int, list[Refund]]:
        """By order."""
        order_of = {payment.id: payment.order_id for payment in self._payments}
        by_order: dict[int, list[Refund]] = defaultdict(list)
        for refund in self._rows(Refund):
            by_order[order_of[refund.payment_id]].append(refund)
        return by_order

    @cached_property
    def _tickets(self) -> dict[int, list[Ticket]]:
        """By order."""
        by_order: dict[int, list[Ticket]] = defaultdict(list)
        for ticket in self._rows(Ticket):
            by_order[ticket.order_id].append(ticket)
        return by_order

    @cached_property
    def _quantities(self) -> dict[int, Counter[int]]:
        """By order: how many tickets of which type."""
        by_order: dict[int, Counter[int]] = defaultdict(Counter)
        for line in self._rows(OrderLine):
            by_order[line.order_id][line.ticket_type_id] += line.quantity
        return by_order

    def _rows(self, kind: type[T]) -> Sequence[T]:
        with self.db.reading() as session:
            return session.scalars(select(kind)).all()


def compare_stock(name: str, row: Event | TicketType, held: int, sold: int) -> Iterator[str]:
    """I1 of one row: what it counts is what is held and sold, and there is room for it."""
    if (row.held, row.sold) != (held, sold):
        yield f"I1: {name} counts {row.held} held and {row.sold} sold; it is {held} and {sold}"
    if row.capacity is not None and row.held + row.sold > row.capacity:
        yield f"I1: {name} is oversold: {row.held} + {row.sold} of {row.capacity}"
