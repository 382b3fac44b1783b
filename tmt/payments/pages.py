"""What an order's pages tell of its money and its tickets, as data for the templates."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderTransition
from tmt.checkout.states import HELD, PROCESSING
from tmt.core.i18n import gettext as _
from tmt.payments.ledger import LOST, disputes_of, is_disputed, refunds_of
from tmt.payments.models import Refund
from tmt.tickets import qr
from tmt.tickets.issue import tickets_of
from tmt.tickets.models import BLOCKED, VALID, Ticket


def order_facts(session: Session, order: Order) -> dict[str, Any]:
    """The order's tickets, its refunds and whether a bank disputes it."""
    tickets = tickets_of(session, order.id)
    refunds = refunds_of(session, order.id)
    return {
        "tickets": [_ticket(ticket, order) for ticket in tickets],
        "valid_tickets": sum(ticket.status == VALID for ticket in tickets),
        "refunds": [_refund(refund) for refund in refunds if _is_of_money(refund)],
        "disputed": is_disputed(session, order.id),
        "blocked": any(ticket.status == BLOCKED for ticket in tickets),
        "dispute_lost": any(d.status == LOST for d in disputes_of(session, order.id)),
        "bank_refused": _bank_refused(session, order),
    }


def _bank_refused(session: Session, order: Order) -> bool:
    """Whether the order waited for a bank, which then did not pay."""
    query = select(OrderTransition.id).where(
        OrderTransition.order_id == order.id,
        OrderTransition.from_status == PROCESSING,
        OrderTransition.to_status == HELD,
    )
    return session.scalar(query.limit(1)) is not None


def _is_of_money(refund: Refund) -> bool:
    """Not so a refund over nothing, nor one that Stripe never had as the money was gone already."""
    never_made = refund.status in ("failed", "canceled") and refund.refund is None
    return refund.amount > 0 and not never_made


def _refund(refund: Refund) -> dict[str, Any]:
    texts = {
        "succeeded": _("sent to your bank"),
        "failed": _("failed; the organizer has been notified and will contact you"),
        "canceled": _("canceled"),
        "requires_action": _("needs your attention: check your email"),
    }
    return {
        "amount": refund.amount,
        "currency": refund.currency,
        "at": refund.created_at,
        "state": texts.get(refund.status, _("processing")),
        "bad": refund.status in ("failed", "canceled"),
    }


def _ticket(ticket: Ticket, order: Order) -> dict[str, Any]:
    label = _("Code for ticket %(number)s") % {"number": ticket.number}
    return {
        "number": ticket.number,
        "type_name": ticket.type_name,
        "holder": ticket.holder,
        "qr": Markup(qr.svg(ticket.code, label)),  # noqa: S704 - drawn here, its label escaped
        "code_text": qr.grouped(ticket.code),
        "test": not order.livemode,
        "void": ticket.status != VALID,
        "blocked": ticket.status == BLOCKED,
    }
