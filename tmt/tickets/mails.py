"""The mails a buyer gets, as outbox handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmt.checkout import states
from tmt.checkout.links import order_url
from tmt.checkout.models import Order
from tmt.checkout.orders import get_order
from tmt.core.errors import NotYet
from tmt.core.i18n import gettext as _
from tmt.core.i18n import use_locale
from tmt.core.letters import Letters, sent_file
from tmt.core.mail import Attachment
from tmt.shop import Shop
from tmt.tickets.documents import calendar_of, pdf_of
from tmt.tickets.issue import tickets_of
from tmt.tickets.models import BLOCKED, VOID


class TicketsBlocked(NotYet):
    """A dispute over the order is undecided: its tickets are sent if they become valid again."""


def send_confirmation(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """The confirmation of a paid order, in its language, with all its tickets.

    There is none when all of it has gone back already. Raises `TicketsBlocked`, `MailRefused`,
    `MailUnavailable`.
    """
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        tickets = tickets_of(session, order.id)
    standing = {ticket.status for ticket in tickets} - {VOID}
    if not standing:
        return
    if BLOCKED in standing:
        raise TicketsBlocked(f"the tickets of order {order.code} are blocked by a dispute")
    attachments = [
        Attachment(f"tickets-{order.code}.pdf", pdf_of(shop, order, tickets), "application/pdf"),
        Attachment(f"{order.code}.ics", calendar_of(shop, order), "text/calendar"),
    ]
    context = context_of(shop, order) | {"tickets": tickets, "test": not order.livemode}
    letters.send("confirmation", key, order.email, order.locale, context, attachments)


def send_found_orders(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """The links of somebody's orders; no mail at all when there are none."""
    with shop.db.reading() as session:
        found = [get_order(session, order_id) for order_id in payload["orders"]]
    if not found:
        return
    with use_locale(payload["locale"]):
        rows = [
            {
                "code": order.code,
                "event_title": order.event.title,
                "starts_at": order.event.starts_at,
                "time_zone": order.event.time_zone,
                "status_text": status_text(order.status),
                "url": order_url(shop.settings, order),
            }
            for order in found
        ]
    letters.send("find_orders", key, found[0].email, payload["locale"], {"orders": rows})


def sent_mail(shop: Shop, order: Order) -> Path | None:
    """The confirmation's file, where mails are written to a folder instead of being sent."""
    if not shop.settings.sandbox:
        return None
    key = f"confirmation-{order.token}"
    return sent_file(shop.settings.mail_folder, key, shop.settings.base_url)


def status_text(status: str) -> str:
    """The order's status in a word or two for people."""
    texts = {
        states.HELD: _("awaiting payment"),
        states.PROCESSING: _("payment processing"),
        states.PAID: _("paid"),
        states.EXPIRED: _("expired"),
        states.CANCELED: _("canceled"),
        states.REFUNDED: _("refunded"),
    }
    return texts[status]


def context_of(shop: Shop, order: Order) -> dict[str, Any]:
    """What every mail about an order can name."""
    return {
        "order": order,
        "event": order.event,
        "order_url": order_url(shop.settings, order),
    }
