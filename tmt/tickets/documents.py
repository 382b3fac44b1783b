"""An order's tickets as a PDF and its event as a calendar entry."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parseaddr

from tmt.catalog.changes import news_of
from tmt.catalog.models import EventStatus
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import order_url
from tmt.core.i18n import gettext as _
from tmt.core.i18n import use_locale
from tmt.shop import Shop
from tmt.tickets.calendar import CalendarEntry, method, render_calendar
from tmt.tickets.models import Ticket, TicketStatus
from tmt.tickets.pdf import TicketPage, render_tickets


def tickets_pdf(shop: Shop, order: Order, tickets: Sequence[Ticket]) -> bytes:
    """A page for each valid ticket, in the order's language; of a canceled event for each one.

    A page says that the event is canceled, and then has no code, or was moved since it was ordered.
    """
    event = order.event
    canceled = event.status == EventStatus.CANCELED
    with shop.db.reading() as session:
        moved = news_of(session, event, order.created_at).moved_from
    with use_locale(order.locale):
        notice = _("Event canceled") if canceled else _("New date or place") if moved else ""
        pages = [
            TicketPage(
                event_title=event.title,
                type_name=ticket.type_name,
                holder=ticket.holder,
                starts_at=event.starts_at,
                ends_at=event.ends_at,
                time_zone=event.time_zone,
                venue=event.venue or (_("Online") if event.online else ""),
                address=event.address,
                city=event.city,
                order_code=order.code,
                code="" if canceled else ticket.code,
                number=ticket.number,
                count=len(tickets),
                price=ticket.price,
                currency=order.currency,
                shop_name=shop.settings.shop_name,
                test=not order.livemode,
                notice=notice,
            )
            for ticket in tickets
            if canceled or ticket.status == TicketStatus.VALID
        ]
        return render_tickets(pages)


def calendar_file(shop: Shop, order: Order) -> tuple[bytes, str]:
    """The event for the buyer's calendar, and the file's MIME type.

    It updates the entry of an earlier file: canceled with its event, or with the order's refund.
    """
    event = order.event
    place = ", ".join(part for part in (event.venue, event.address, event.city) if part)
    given_back = order.status == OrderStatus.REFUNDED and event.status != EventStatus.CANCELED
    entry = CalendarEntry(
        uid=f"{order.code}@{event.slug}",
        title=event.title,
        description=event.description,
        location=place,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        time_zone=event.time_zone,
        url=order_url(shop.settings, order),
        updated_at=max(event.updated_at, order.ended_at or event.updated_at),
        sequence=event.sequence + given_back,
        canceled=given_back or event.status == EventStatus.CANCELED,
        organizer=parseaddr(shop.settings.mail_sender)[1],
        organizer_name=shop.settings.shop_name,
    )
    return render_calendar(entry), f"text/calendar; method={method(entry)}"
