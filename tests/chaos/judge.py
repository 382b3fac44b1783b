"""The verdict on a shop at rest, against its Stripe, in words that say where to look.

It trusts nothing that the shop computes: sums are taken of the rows and of Stripe's own objects.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from tests.chaos.sandbox import objects_of
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.core.database import Base
from tmt.core.mailer import message_file
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import COUNTED_REFUNDS, Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket, TicketStatus

T = TypeVar("T", bound=Base)


@dataclass(frozen=True)
class Judge:
    """Looks at everything once, in the shop's database and in its Stripe's store."""

    shop: Shop
    store: Path

    def breaches(self) -> Iterator[str]:
        """Every breach of I1 to I4 and I7."""
        yield from self._stock()
        yield from self._money()
        yield from self._orphans()
        yield from self._tickets()
        yield from self._mails()
        yield from self._undone()

    def bounced(self) -> list[str]:
        """The codes of the orders that were given back, and whose money the bank did not take."""
        return [order.code for order in self._orders.values() if self._has_bounced(order)]

    @cached_property
    def _orders(self) -> dict[int, Order]:
        return {order.id: order for order in self._rows(Order)}

    @cached_property
    def _payments(self) -> Sequence[Payment]:
        return self._rows(Payment)

    @cached_property
    def _refunds(self) -> dict[int, list[Refund]]:
        """By order."""
        order_of = {payment.id: payment.order_id for payment in self._payments}
        found: dict[int, list[Refund]] = defaultdict(list)
        for refund in self._rows(Refund):
            found[order_of[refund.payment_id]].append(refund)
        return found

    @cached_property
    def _issued(self) -> dict[int, list[Ticket]]:
        """By order."""
        found: dict[int, list[Ticket]] = defaultdict(list)
        for ticket in self._rows(Ticket):
            found[ticket.order_id].append(ticket)
        return found

    @cached_property
    def _places(self) -> dict[int, Counter[int]]:
        """By order: how many places of which ticket type."""
        found: dict[int, Counter[int]] = defaultdict(Counter)
        for line in self._rows(OrderLine):
            found[line.order_id][line.ticket_type_id] += line.quantity
        return found

    def _stock(self) -> Iterator[str]:
        held: Counter[int] = Counter()
        for order in self._orders.values():
            if order.status in (OrderStatus.HELD, OrderStatus.PROCESSING):
                held += self._places[order.id]
        taken = [
            t for issued in self._issued.values() for t in issued if t.status != TicketStatus.VOID
        ]
        sold = Counter(ticket.ticket_type_id for ticket in taken)
        types = self._rows(TicketType)
        for event in self._rows(Event):
            own = [kind for kind in types if kind.event_id == event.id]
            sums = sum(held[t.id] for t in own), sum(sold[t.id] for t in own)
            yield from compare_stock(f"event {event.slug}", event, *sums)
            for kind in own:
                name = f"ticket type {kind.name} of {event.slug}"
                yield from compare_stock(name, kind, held[kind.id], sold[kind.id])

    def _money(self) -> Iterator[str]:
        """I2, order by order, and payment by payment."""
        charges: Counter[str] = Counter()
        for charge in objects_of(self.store, "charge"):
            captured = charge["amount_captured"] if charge["paid"] else 0
            charges[charge["payment_intent"]] += captured - charge["amount_refunded"]
        for dispute in objects_of(self.store, "dispute"):
            if dispute["status"] == "lost":
                charges[dispute["payment_intent"]] -= dispute["amount"]
        lost = [d for d in self._rows(Dispute) if d.status == "lost"]
        net: Counter[int] = Counter()
        for payment in self._payments:
            here = payment.amount_received
            mine = [r for r in self._refunds[payment.order_id] if r.payment_id == payment.id]
            here -= sum(r.amount for r in mine if r.status in COUNTED_REFUNDS)
            here -= sum(d.amount for d in lost if d.payment_id == payment.id)
            there = charges[payment.payment_intent_id or ""]
            net[payment.order_id] += there
            if here != there:
                code = self._orders[payment.order_id].code
                yield (
                    f"I2: {payment.payment_intent_id} of order {code} has {there} left at Stripe and"
                    f" {here} here (payment {payment.id}, {payment.status})"
                )
        for order in self._orders.values():
            yield from self._against_status(order, net[order.id])

    def _has_bounced(self, order: Order) -> bool:
        failed = any(r.status in ("failed", "canceled") for r in self._refunds[order.id])
        return order.status == OrderStatus.REFUNDED and failed

    def _against_status(self, order: Order, net: int) -> Iterator[str]:
        if order.status == OrderStatus.PAID:
            if order.total and net <= 0:
                yield f"I2: order {order.code} is paid and nothing of its money is left at Stripe"
            if net > order.total:
                yield f"I2: order {order.code} over {order.total} has {net} left at Stripe"
        elif net and not self._has_bounced(order):
            yield f"I2: order {order.code} is {order.status} and {net} of its money is at Stripe"

    def _orphans(self) -> Iterator[str]:
        """No order's payment at Stripe is unknown here, other than here, or can still be made."""
        known = {p.payment_intent_id: p for p in self._payments if p.payment_intent_id}
        for intent in objects_of(self.store, "payment_intent"):
            if "order" not in intent["metadata"]:
                continue
            payment, status = known.get(intent["id"]), intent["status"]
            if payment is None and status in ("succeeded", "processing"):
                yield f"I2: {intent['id']} is {status} and no order knows it"
            if payment and payment.status != status:
                code = self._orders[payment.order_id].code
                yield f"I2: {intent['id']} of order {code} is {status}, here {payment.status}"
            if payment and status not in ("succeeded", "canceled"):
                code = self._orders[payment.order_id].code
                yield f"I2: {intent['id']} of order {code} has ended nowhere: {status}"

    def _tickets(self) -> Iterator[str]:
        """I3."""
        for order in self._orders.values():
            issued = sorted(self._issued[order.id], key=lambda ticket: ticket.number)
            numbers, places = [t.number for t in issued], sum(self._places[order.id].values())
            if numbers != list(range(1, (places if order.paid_at else 0) + 1)):
                yield f"I3: order {order.code} ({order.status}) has the tickets {numbers}"
            valid = {t.number for t in issued if t.status != TicketStatus.VOID}
            gone = {number for r in self._refunds[order.id] for number in r.tickets}
            expected = set(numbers) - gone if order.status == OrderStatus.PAID else set()
            if valid != expected:
                yield (
                    f"I3: order {order.code} ({order.status}): tickets {sorted(valid)} are valid"
                    f" and {sorted(expected)} should be"
                )
            if any(ticket.status == TicketStatus.BLOCKED for ticket in issued):
                yield f"I3: order {order.code} has a blocked ticket and no open dispute"

    def _mails(self) -> Iterator[str]:
        """I4."""
        rows = [row for row in self._rows(OutboxRow) if row.kind == "confirmation"]
        settings, written = self.shop.settings, Counter(row.payload["order"] for row in rows)
        for order in self._orders.values():
            expected = 1 if order.paid_at else 0
            if written[order.id] != expected:
                yield f"I4: order {order.code} has {written[order.id]} confirmations to send"
            key = f"confirmation-{order.token}"
            sent = message_file(settings.mail_folder, key, settings.base_url)
            # An order that has gone back before its mail went out needs none.
            if order.status == OrderStatus.PAID and not sent:
                yield f"I4: the confirmation of order {order.code} was not sent"

    def _undone(self) -> Iterator[str]:
        """I7."""
        for order in self._orders.values():
            if order.status in (OrderStatus.HELD, OrderStatus.PROCESSING):
                yield f"I7: order {order.code} is still {order.status}"
        for event in self._rows(InboxRow):
            if event.done_at is None:
                yield f"I7: {event.event_id} ({event.type}) is {event.state}: {event.last_error}"
        for row in self._rows(OutboxRow):
            if row.done_at is None:
                yield f"I7: outbox {row.id} ({row.kind}) is {row.state}: {row.last_error}"
        told = {notice.key for notice in self._rows(OperatorAlert)}
        mails = {row.key for row in self._rows(OutboxRow) if row.kind == "notice"}
        for key in sorted(told):
            if f"notice-{key}"[:120] not in mails:
                yield f"I7: the notice {key} was never to be mailed"
        for refunds in self._refunds.values():
            for refund in refunds:
                if refund.status in COUNTED_REFUNDS and refund.status != "succeeded":
                    yield f"I7: refund {refund.id} is still {refund.status}"
                if refund.status == "failed" and f"refund_failed-{refund.id}" not in told:
                    yield f"I2: refund {refund.id} failed and nobody was told"

    def _rows(self, kind: type[T]) -> Sequence[T]:
        with self.shop.db.reading() as session:
            return session.scalars(select(kind)).all()


def counted(shop: Shop, store: Path) -> dict[str, int]:
    """What a trial has seen, for its report."""
    kinds: dict[str, type[Base]] = {
        "orders": Order, "payments": Payment, "refunds": Refund, "disputes": Dispute,
        "tickets": Ticket, "events of Stripe's": InboxRow, "notices": OperatorAlert,
    }  # fmt: skip
    with shop.db.reading() as session:
        found = {name: len(session.scalars(select(kind)).all()) for name, kind in kinds.items()}
        for status in session.scalars(select(Order.status)):
            found[f"orders {status}"] = found.get(f"orders {status}", 0) + 1
    charges = objects_of(store, "charge")
    return found | {"charges at Stripe": sum(charge["paid"] for charge in charges)}


def compare_stock(name: str, row: Event | TicketType, held: int, sold: int) -> Iterator[str]:
    """I1 of one row: what it counts is what is held and sold, and there is room for it."""
    if (row.held, row.sold) != (held, sold):
        yield f"I1: {name} counts {row.held} held and {row.sold} sold; it is {held} and {sold}"
    if row.capacity is not None and row.held + row.sold > row.capacity:
        yield f"I1: {name} is oversold: {row.held} + {row.sold} of {row.capacity}"
