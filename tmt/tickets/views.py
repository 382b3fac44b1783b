"""The tickets as files, a customer's orders, and in sandbox mode the mail with the tickets."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import cast

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue

from tmt import web
from tmt.catalog.models import EventStatus
from tmt.checkout.models import Order
from tmt.checkout.orders import find_order, orders_of
from tmt.core.errors import NotFound
from tmt.customers.views import signed_in_customer, to_sign_in
from tmt.tickets.documents import calendar_file, tickets_pdf
from tmt.tickets.issue import get_tickets, orders_with_tickets
from tmt.tickets.mails import mail_file, order_status_text
from tmt.tickets.models import TicketStatus

tickets = Blueprint("tickets", __name__, url_prefix="/orders/<token>")
account = Blueprint("account", __name__)


@account.get("/account")
def overview() -> ResponseReturnValue:
    """The orders of who is signed in: what is still to come, and the rest."""
    customer = signed_in_customer()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    shop = web.shop()
    with shop.db.reading() as session:
        orders = orders_of(session, customer)
        with_tickets = orders_with_tickets(session, [order.id for order in orders])
    now = shop.clock.now()
    coming = [o for o in orders if o.event.ends_at > now and not o.status.is_closed]
    return render_template(
        "account/overview.html",
        customer=customer,
        coming=sorted(coming, key=lambda order: order.event.starts_at),
        earlier=[order for order in orders if order not in coming],
        with_tickets=with_tickets,
        status_text=order_status_text,
    )


@tickets.get("/tickets.pdf")
def pdf(token: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as session:
        order = _require_tickets(find_order(session, token))
        issued = get_tickets(session, order.id)
    is_valid = any(ticket.status == TicketStatus.VALID for ticket in issued)
    if not is_valid and order.event.status != EventStatus.CANCELED:
        raise NotFound("the order has no valid tickets")
    # Drawing takes long: who asks again and again waits.
    hit = web.limits().hit
    hit(shop.settings.confirms_per_address, "pdf-address", web.client_address())
    hit(shop.settings.confirms_per_order, "pdf-order", order.code)
    return _file(tickets_pdf(shop, order, issued), "application/pdf", f"tickets-{order.code}.pdf")


@tickets.get("/calendar.ics")
def calendar(token: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as session:
        order = _require_tickets(find_order(session, token))
    content, mime_type = calendar_file(shop, order)
    return _file(content, mime_type, f"{order.code}.ics")


@tickets.get("/mail")
def mail(token: str) -> ResponseReturnValue:
    """The order's mail as it was written to the mail folder, for developers."""
    shop = web.shop()
    with shop.db.reading() as session:
        order = find_order(session, token)
    path = mail_file(shop, order)
    if path is None:
        raise NotFound("no mail of this order in the mail folder")
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = message.get_body(("html",))
    response = Response(body.get_content() if body else "", mimetype="text/html")
    # A mail has inline styles and no scripts.
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups"
    )
    return response


def _require_tickets(order: Order) -> Order:
    """An order that was paid once: files of a refunded one update what its buyer saved."""
    if order.paid_at is None:
        raise NotFound("the order has no tickets")
    return order


def _file(content: bytes, mime_type: str, name: str) -> ResponseReturnValue:
    response = Response(content, content_type=mime_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return cast(ResponseReturnValue, response)
