"""The mails with tickets and links to orders, as outbox handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmt.catalog.models import EventStatus
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import get_order, order_url
from tmt.core.errors import RetryLater
from tmt.core.i18n import gettext as _
from tmt.core.i18n import use_locale
from tmt.core.mail_transport import Attachment
from tmt.core.mailer import Mailer, message_file
from tmt.shop import Shop
from tmt.tickets.documents import calendar_file, tickets_pdf
from tmt.tickets.issue import get_tickets
from tmt.tickets.models import TicketStatus


class TicketsBlocked(RetryLater):
    """The order is disputed: its tickets are sent once they are valid again."""


def send_confirmation(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """The confirmation of a paid order, in its language, with all its tickets.

    None is sent when all of it is refunded already, or the event was canceled meanwhile. Raises
    `TicketsBlocked`, `MailRefused`, `MailUnavailable`.
    """
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        tickets = get_tickets(session, order.id)
    statuses = {ticket.status for ticket in tickets if not ticket.is_void}
    if not statuses or order.event.status == EventStatus.CANCELED:
        return
    if TicketStatus.BLOCKED in statuses:
        raise TicketsBlocked(f"the tickets of order {order.code} are blocked by a dispute")
    attachments = [
        Attachment(
            f"tickets-{order.code}.pdf", tickets_pdf(shop, order, tickets), "application/pdf"
        ),
        Attachment(f"{order.code}.ics", *calendar_file(shop, order)),
    ]
    context = mail_context(shop, order) | {"tickets": tickets, "test": not order.livemode}
    mailer.send("confirmation", key, order.email, order.locale, context, attachments)


def send_found_orders(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """Links to the orders of an e-mail address; no mail if there are none."""
    with shop.db.reading() as session:
        orders = [get_order(session, order_id) for order_id in payload["orders"]]
    if not orders:
        return
    with use_locale(payload["locale"]):
        rows = [
            {
                "code": order.code,
                "event_title": order.event.title,
                "starts_at": order.event.starts_at,
                "time_zone": order.event.time_zone,
                "status_text": order_status_text(order),
                "url": order_url(shop.settings, order),
            }
            for order in orders
        ]
    mailer.send("find_orders", key, orders[0].email, payload["locale"], {"orders": rows})


def order_status_text(order: Order) -> str:
    """What people read about where the order stands; of a paid one, that its event is canceled."""
    is_off = order.status == OrderStatus.PAID and order.event.status == EventStatus.CANCELED
    return _("Event canceled") if is_off else status_text(order.status)


def mail_file(shop: Shop, order: Order) -> Path | None:
    """The file of the confirmation, or of the mail that asks to confirm the address.

    Only where mails are written to a folder instead of being sent.
    """
    if not shop.settings.sandbox:
        return None
    kind = "confirm_email" if order.status == OrderStatus.HELD else "confirmation"
    return message_file(shop.settings.mail_folder, f"{kind}-{order.token}", shop.settings.base_url)


def status_text(status: OrderStatus) -> str:
    """The order's status in a word or two for people."""
    texts = {
        OrderStatus.HELD: _("awaiting payment"),
        OrderStatus.PROCESSING: _("payment processing"),
        OrderStatus.PAID: _("paid"),
        OrderStatus.EXPIRED: _("expired"),
        OrderStatus.CANCELED: _("canceled"),
        OrderStatus.REFUNDED: _("refunded"),
    }
    return texts[status]


def mail_context(shop: Shop, order: Order) -> dict[str, Any]:
    """The context that all templates of mails about an order use."""
    return {
        "order": order,
        "event": order.event,
        "order_url": order_url(shop.settings, order),
    }
