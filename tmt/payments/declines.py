"""The mail to a buyer whose payment was declined and who has left while the tickets still wait.

One for each order, ever. It waits in the outbox until nobody has been on the order's pages for some
minutes: each decline and each visit puts it off. Towards the end of the hold it waits less long,
and when there is no time left to use it, it is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from tmt.catalog.listing import is_upcoming
from tmt.checkout.holds import extensions_left
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import get_order, order_url
from tmt.core import outbox
from tmt.core.i18n import use_locale
from tmt.core.mailer import Mailer
from tmt.gateway.types import PaymentIntentStatus
from tmt.payments.balances import get_payment
from tmt.payments.methods import method_names
from tmt.shop import Shop
from tmt.tickets.mails import mail_context

# Who has done nothing for so long has left; the open page reports every minute.
_QUIET, _QUIET_AT_LEAST = timedelta(minutes=5), timedelta(minutes=2)
# What should be left of the hold for the mail to be read, and what must be.
_TIME_TO_READ, _TIME_TO_PAY = timedelta(minutes=4), timedelta(minutes=2)
# A visit within this time of the one before is not written down.
_VISIT_STEP = timedelta(seconds=30)


def put_decline_mail(session: Session, order: Order, methods: Sequence[str], now: datetime) -> None:
    """Puts the mail into the outbox, if the order has had none; `methods` are Stripe's names."""
    payload = {"order": order.id, "methods": list(methods)}
    outbox.put(session, "payment_declined", _key(order), payload, now, due=_due(order, now))


def put_off_decline_mail(session: Session, order: Order, now: datetime) -> None:
    """Has the mail wait anew, as the buyer is still at it; nothing happens if none waits."""
    outbox.put_off(session, _key(order), _due(order, now))


def note_visit(shop: Shop, order: Order) -> None:
    """The buyer is on one of the order's pages: the mail waits anew."""
    if order.status != OrderStatus.HELD:
        return
    now = shop.clock.now()
    with shop.db.reading() as session:
        due = outbox.due_at(session, _key(order))
    if due is not None and due < _due(order, now) - _VISIT_STEP:
        shop.db.transaction(lambda session: put_off_decline_mail(session, order, now))


def send_payment_declined(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """Where to pay, how, and until when; not if the order is no longer the buyer's to pay."""
    with shop.db.reading() as session:
        order = get_order(session, payload["order"])
        payment = get_payment(session, order.id)
    now = shop.clock.now()
    # Anything else means that they are paying after all.
    declined = payment and payment.status == PaymentIntentStatus.REQUIRES_PAYMENT_METHOD
    in_time = order.expires_at - now >= _TIME_TO_PAY and is_upcoming(order.event, now)
    ours = order.livemode == shop.settings.livemode
    if order.status != OrderStatus.HELD or not (declined and in_time and ours):
        return
    with use_locale(order.locale):
        names = method_names(payload["methods"])
    context = mail_context(shop, order) | {
        "pay_url": f"{order_url(shop.settings, order)}/pay",
        "methods": names,
        "more_time": extensions_left(shop, order) > 0,
    }
    mailer.send("payment_declined", key, order.email, order.locale, context)


def _key(order: Order) -> str:
    return f"payment_declined-{order.token}"


def _due(order: Order, now: datetime) -> datetime:
    last = max(order.expires_at - _TIME_TO_READ, now + _QUIET_AT_LEAST)
    return min(now + _QUIET, last)
