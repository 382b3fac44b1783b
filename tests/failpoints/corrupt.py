"""Damage that no code of the shop does: what the audit is there to find."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from tests.failpoints.crash_env import CrashEnv
from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderStatus
from tmt.core.outbox import OutboxRow
from tmt.payments.models import Refund
from tmt.payments.refunds import issue_refund
from tmt.tickets.models import Ticket, TicketStatus


def corrupt(env: CrashEnv, refunded: Order, *paid: Order) -> None:
    """One order that was refunded is paid again; each of the five paid ones loses something."""
    ticketless, blocked, unconfirmed, forgotten, unsent = paid
    lost = issue_refund(env.shop, forgotten.code)
    stuck = issue_refund(env.shop, unsent.code)
    changes: list[Any] = [
        update(Event).values(held=Event.held + 3),
        update(Order).where(Order.id == refunded.id).values(status=OrderStatus.PAID),
        delete(Ticket).where(Ticket.order_id == ticketless.id),
        update(Ticket).where(Ticket.order_id == blocked.id).values(status=TicketStatus.BLOCKED),
        delete(OutboxRow).where(OutboxRow.key == f"confirmation-{unconfirmed.token}"),
        delete(OutboxRow).where(OutboxRow.key.in_([f"refund-{lost.id}", f"refund-{stuck.id}"])),
        delete(Refund).where(Refund.id == lost.id),
    ]

    def unit(session: Session) -> None:
        for statement in changes:
            session.execute(statement)

    env.shop.db.transaction(unit)
