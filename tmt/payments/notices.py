"""What a person must see: written down with its reason, mailed to the organiser, kept till done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.orders import get_order
from tmt.core import outbox
from tmt.core.db import InsertOnce
from tmt.core.errors import NotFound
from tmt.core.letters import Letters
from tmt.payments.models import Notice
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# What each kind of notice says: (what happened, what to do). Amounts are in the details.
KINDS: dict[str, tuple[str, str]] = {
    "amount_mismatch": (
        "A payment's amount or currency did not match its order; it is being refunded in full.",
        "Find out who changed it: nothing in the shop does. The buyer has been notified.",
    ),
    "paid_twice": (
        "An order was paid twice; the second payment is being refunded, the tickets stay valid.",
        "Nothing, unless the refund fails.",
    ),
    "too_late": (
        "A payment arrived too late, when its tickets were gone; it is being refunded.",
        "Nothing, unless the refund fails. The buyer has been notified.",
    ),
    "no_event": (
        "A payment arrived for an event that is canceled or over; it is being refunded.",
        "Nothing, unless the refund fails. The buyer has been notified.",
    ),
    "refund_failed": (
        "A refund was not completed.",
        "Try again (flask refund), or refund the buyer another way and then: flask notices done.",
    ),
    "refunded_elsewhere": (
        "Part of a payment was refunded in Stripe's dashboard; the tickets are still valid.",
        "To void tickets as well: flask refund ORDER --tickets 1,2 --amount 0",
    ),
    "dispute_opened": (
        "A buyer has disputed a payment with their bank.",
        "Respond in Stripe's dashboard before the deadline. Until then nothing is refunded.",
    ),
    "dispute_won": ("A dispute was won; the tickets are valid.", "Nothing."),
    "dispute_lost": (
        "A dispute was lost: the buyer keeps the money, the tickets are void.",
        "Nothing.",
    ),
    "gone_at_stripe": (
        "Stripe does not know an order's payment: its tickets stay reserved and nobody can pay.",
        "Check that the keys belong to the account that the order was placed with.",
    ),
    "too_many_declines": (
        "Too many payment attempts were declined for one order, so it was closed.",
        "Look at the payment in Stripe's dashboard: someone may be testing stolen cards.",
    ),
}

_INSERT = InsertOnce(Notice, "key")


def notify(
    session: Session, kind: str, key: str, order: Order, now: datetime, **details: Any
) -> None:
    """Writes the notice down, once for each key; the jobs mail it to the organiser."""
    assert kind in KINDS, kind
    row = {
        "key": f"{kind}-{key}"[:120],
        "kind": kind,
        "order_id": order.id,
        "details": details,
        "created_at": now,
    }
    if _INSERT.run(session, row):
        outbox.put(session, "notice", f"notice-{row['key']}"[:120], {"key": row["key"]}, now)
        log.warning(f"notice.{kind}", order=order.code, **details)


def open_notices(session: Session) -> Sequence[Notice]:
    """What nobody has said to be done, oldest first."""
    return session.scalars(select(Notice).where(Notice.done_at.is_(None)).order_by(Notice.id)).all()


def finish(shop: Shop, notice_id: int) -> None:
    """Takes the notice off the list; `NotFound` if it is not on it."""

    def unit(session: Session) -> None:
        notice = session.get(Notice, notice_id)
        if notice is None or notice.done_at:
            raise NotFound(f"no open notice {notice_id}")
        notice.done_at = shop.clock.now()

    shop.db.transaction(unit)


def send_notice(shop: Shop, letters: Letters, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: mails a notice to the organiser, where the settings name one."""
    if not shop.settings.organiser_email:
        return
    with shop.db.reading() as session:
        notice = session.scalars(select(Notice).where(Notice.key == payload["key"])).one()
        order = get_order(session, notice.order_id)
    what, to_do = KINDS[notice.kind]
    context = {"order": order, "what": what, "to_do": to_do, "details": notice.details}
    letters.send("notice", key, shop.settings.organiser_email, "en", context)
