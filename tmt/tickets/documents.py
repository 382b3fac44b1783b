"""An order's tickets as a PDF and its event as a calendar entry."""

from __future__ import annotations

from collections.abc import Sequence

from tmt.catalog.models import EventStatus
from tmt.checkout.models import Order
from tmt.checkout.orders import order_url
from tmt.core.i18n import use_locale
from tmt.shop import Shop
from tmt.tickets.calendar import CalendarEntry, render_calendar
from tmt.tickets.models import Ticket, TicketStatus
from tmt.tickets.pdf import TicketPage, render_tickets


def tickets_pdf(shop: Shop, order: Order, tickets: Sequence[Ticket]) -> bytes:
    """A page for each valid ticket, in the order's language."""
    event = order.event
    pages = [
        TicketPage(
            event_title=event.title,
            type_name=ticket.type_name,
            holder=ticket.holder,
            starts_at=event.starts_at,
            ends_at=event.ends_at,
            time_zone=event.time_zone,
            venue=event.venue,
            address=event.address,
            city=event.city,
            order_code=order.code,
            code=ticket.code,
            number=ticket.number,
            count=len(tickets),
            price=ticket.price,
            currency=order.currency,
            shop_name=shop.settings.shop_name,
            test=not order.livemode,
        )
        for ticket in tickets
        if ticket.status == TicketStatus.VALID
    ]
    with use_locale(order.locale):
        return render_tickets(pages)


def calendar_entry(shop: Shop, order: Order) -> bytes:
    """The event for the buyer's calendar."""
    event = order.event
    place = ", ".join(part for part in (event.venue, event.address, event.city) if part)
    return render_calendar(
        CalendarEntry(
            uid=f"{order.code}@{event.slug}",
            title=event.title,
            description=event.description,
            location=place,
            starts_at=event.starts_at,
            ends_at=event.ends_at,
            time_zone=event.time_zone,
            url=order_url(shop.settings, order),
            updated_at=event.updated_at,
        ),
        canceled=event.status == EventStatus.CANCELED,
    )
