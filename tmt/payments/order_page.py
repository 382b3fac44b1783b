"""What an order's page shows besides the order itself: tickets, money, refunds, disputes, news."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog.changes import news_of
from tmt.catalog.models import EventStatus
from tmt.checkout.models import Order, OrderStatus, OrderTransition
from tmt.core.i18n import gettext as _
from tmt.gateway.types import DisputeStatus, RefundStatus
from tmt.payments.balances import get_disputes, get_payment, get_refunds, net_paid, remaining
from tmt.payments.models import Refund
from tmt.payments.slips import method_without_refunds
from tmt.tickets import qr
from tmt.tickets.issue import get_tickets
from tmt.tickets.models import Ticket, TicketStatus


def order_context(session: Session, order: Order, now: datetime) -> dict[str, Any]:
    """What the order's page shows of its tickets, its refunds and its disputes."""
    tickets = get_tickets(session, order.id)
    disputes = get_disputes(session, order.id)
    money = _money_context(session, order)
    by_hand = method_without_refunds(get_payment(session, order.id))
    # The order waited for a bank, which then did not pay.
    bank_refused = select(OrderTransition.id).where(
        OrderTransition.order_id == order.id,
        OrderTransition.from_status == OrderStatus.PROCESSING,
        OrderTransition.to_status == OrderStatus.HELD,
    )
    return {
        "tickets": [_ticket_context(ticket, order, now) for ticket in tickets],
        "valid_tickets": sum(ticket.status == TicketStatus.VALID for ticket in tickets),
        "refunds": [
            _refund_context(refund)
            for refund in get_refunds(session, order.id)
            # Without those over nothing, and those that Stripe never had and nobody waits for.
            if refund.amount > 0
            and (refund.stripe_id or not refund.status.is_failed or net_paid(session, order) > 0)
        ],
        "disputed": any(not dispute.status.is_closed for dispute in disputes),
        "blocked": any(ticket.status == TicketStatus.BLOCKED for ticket in tickets),
        "dispute_lost": any(dispute.status == DisputeStatus.LOST for dispute in disputes),
        "news": news_of(session, order.event, order.created_at),
        "money": money,
        "by_hand": by_hand,
        # The order is closed, and what was paid for it has not gone back.
        "refund_failed": order.status == OrderStatus.REFUNDED
        and money is not None
        and (money["left"] > 0 or by_hand is not None),
        "bank_refused": session.scalar(bank_refused.limit(1)) is not None,
    }


def _money_context(session: Session, order: Order) -> dict[str, Any] | None:
    """What was paid, what of it went back or is going back, and what is left; None for nothing."""
    payment = get_payment(session, order.id)
    if payment is None or not payment.amount_received:
        return None
    back = sum(r.amount for r in get_refunds(session, order.id) if not r.status.is_failed)
    return {
        "currency": payment.received_currency,
        "paid": payment.amount_received,
        "back": back,
        "left": remaining(session, payment),
    }


def _refund_context(refund: Refund) -> dict[str, Any]:
    texts = {
        RefundStatus.SUCCEEDED: _("sent to your bank"),
        RefundStatus.FAILED: _("failed; the organizer has been notified and will contact you"),
        RefundStatus.CANCELED: _("canceled"),
        RefundStatus.REQUIRES_ACTION: _("needs your attention: check your email"),
    }
    return {
        "amount": refund.amount,
        "currency": refund.currency,
        "at": refund.created_at,
        "tickets": ", ".join(map(str, refund.tickets)),
        "state": texts.get(refund.status, _("processing")),
        "bad": refund.status.is_failed,
    }


def _ticket_context(ticket: Ticket, order: Order, now: datetime) -> dict[str, Any]:
    canceled = order.event.status == EventStatus.CANCELED
    label = _("Code for ticket %(number)s") % {"number": ticket.number}
    return {
        "number": ticket.number,
        "type_name": ticket.type_name,
        "holder": ticket.holder,
        "qr": Markup(qr.svg(ticket.code, label)),  # noqa: S704 - drawn here, its label escaped
        "code_text": qr.grouped(ticket.code),
        "test": not order.livemode,
        "void": ticket.status != TicketStatus.VALID or canceled,
        "canceled": canceled,
        "over": order.event.ends_at <= now,
        "blocked": ticket.status == TicketStatus.BLOCKED,
    }
