"""Free tickets for a confirmed e-mail address: held until the link in a mail is used."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

from sqlalchemy.orm import Session

from tmt.catalog.listing import is_upcoming
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import find_order, get_order, order_url
from tmt.checkout.states import Trigger, lock_order
from tmt.core.errors import NotFound
from tmt.core.ids import keyed_hash
from tmt.core.mailer import Mailer
from tmt.payments.sync import fulfill
from tmt.shop import Shop
from tmt.tickets.mails import mail_context


def send_confirm_email(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: the mail with the link, while the order waits for it."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
    if order.status != OrderStatus.HELD:
        return
    link = f"{order_url(shop.settings, order)}/confirm/{link_key(shop, order)}"
    context = mail_context(shop, order) | {"confirm_url": link}
    mailer.send("confirm_email", key, order.email, order.locale, context)


def find_to_confirm(session: Session, shop: Shop, token: str, key: str) -> Order:
    """The order that such a link is about; raises `NotFound`."""
    order = find_order(session, token)
    if order.total or not compare_digest(key.encode(), link_key(shop, order).encode()):
        raise NotFound("no order of this link")
    return order


def confirm(shop: Shop, order: Order) -> None:
    """Issues the tickets, if the order still waits for it. Safe to repeat."""

    def unit(session: Session) -> None:
        locked, now = lock_order(session, order.id), shop.clock.now()
        if locked.status == OrderStatus.HELD and is_upcoming(locked.event, now):
            fulfill(session, locked, Trigger.FREE, now)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def link_key(shop: Shop, order: Order) -> str:
    """The secret in the link: who placed the order knows its token, and must not know this."""
    return keyed_hash(shop.settings.secret_key, f"confirm {order.code} {order.email}")
