"""Operator alerts: what a person must see, stored with its reason and mailed to the organiser."""

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
from tmt.core.database import InsertIfAbsent
from tmt.core.errors import NotFound
from tmt.core.mailer import Mailer
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import OperatorAlert, Payment
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# What each kind of alert says: (what happened, what to do). Amounts are in the details.
KINDS: dict[str, tuple[str, str]] = {
    "amount_mismatch": (
        "A payment's amount or currency did not match its order; it is being refunded in full.",
        "Find out who changed it: nothing in the shop does. The buyer has been notified.",
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
        "Try again (flask refund), or refund the buyer another way and then: flask alerts resolve.",
    ),
    "refund_by_hand": (
        "Money has to go back to a buyer, and Stripe refunds no payments of the method used.",
        (
            "Ask the buyer where to send the amount below, pay it back yourself, and then: flask"
            " alerts resolve. The buyer has been informed that you will get in touch."
        ),
    ),
    "external_refund": (
        "Part of a payment was refunded in Stripe's dashboard; the tickets are still valid.",
        "To void tickets as well: flask refund ORDER --tickets 1,2 --amount 0",
    ),
    "dispute_opened": (
        "A buyer has disputed a payment with their bank.",
        "Respond in Stripe's dashboard before the deadline. Until then nothing is refunded.",
    ),
    "dispute_won": (
        "A dispute was won: the shop keeps the money, the tickets are valid.",
        "Nothing.",
    ),
    "dispute_lost": (
        "A dispute was lost: the buyer keeps the money, the tickets are void.",
        "Nothing.",
    ),
    "missing_at_stripe": (
        "Stripe does not know an order's payment: its tickets stay reserved and nobody can pay.",
        "Check that the keys belong to the account that the order was placed with.",
    ),
    "too_many_declines": (
        "Too many payment attempts were declined for one order, so it was closed.",
        "Look at the payment in Stripe's dashboard: someone may be testing stolen cards.",
    ),
    "dispute_reopened": (
        "A dispute that was decided is open again, by an appeal of yours or of the buyer's bank.",
        "Look at it in Stripe's dashboard. Until it is decided nothing is refunded.",
    ),
    "dispute_won_late": (
        "A dispute that was lost before is won, but its tickets cannot be made valid again.",
        "The shop has the money: refund the buyer (flask refund ORDER), or agree on other tickets.",
    ),
    "refund_withdrawn": (
        "A refund was not sent, because the buyer's bank has decided a dispute for the buyer.",
        (
            "Compare what the buyer was promised with what the bank took. If something is still"
            " due: flask refund ORDER --amount, or pay it another way."
        ),
    ),
    "refund_not_sent": (
        "Stripe does not know the payment that is to be refunded; the refund is tried again.",
        "Check that the keys belong to the account that the order was paid on.",
    ),
    "unknown_payment": (
        "Stripe has a payment of this shop that the database does not know: its order was lost.",
        (
            "Find the buyer in Stripe's dashboard. flask audit --repair --refund-unknown refunds"
            " it; if you settled it otherwise: flask alerts resolve."
        ),
    ),
    "payment_not_confirmed": (
        "A webhook reported a payment that Stripe itself does not confirm; its order is paid here.",
        (
            "Look at the payment in Stripe's dashboard. If it is not there, roll the webhook's"
            " secret and make the tickets void: flask refund ORDER --tickets 1,2 --amount 0"
        ),
    ),
    "stripe_keys_refused": (
        "Stripe rejects the shop's API keys: nobody can pay, and nothing is refunded.",
        (
            "Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY to keys that are not revoked, and run"
            " flask doctor."
        ),
    ),
    "stripe_not_permitted": (
        "Stripe does not permit a call that the shop needs: its key is restricted.",
        "Give the key this right in Stripe's dashboard: Developers, API keys.",
    ),
    "stripe_request_refused": (
        "Stripe refuses a request of the shop: whoever needs it cannot pay.",
        "Stripe's reason is below. flask doctor looks at the account and its payment methods.",
    ),
    "stripe_unreadable": (
        "An answer of Stripe's could not be read.",
        "Update the shop, and look at Stripe's dashboard for what may be missing here.",
    ),
    "work_given_up": (
        "An email, a refund or an event of Stripe's can never succeed, or failed for two weeks.",
        "Mend what flask outbox list --open or flask inbox list --open names, and retry.",
    ),
    "unknown_status": (
        "Stripe reports a status that this version of the shop does not know.",
        "Look at the payment in Stripe's dashboard, and update the shop.",
    ),
    "unknown_action": (
        "Stripe asks a buyer for something that this version of the shop does not know.",
        "Update the shop. To free the tickets, cancel the payment in Stripe's dashboard.",
    ),
}

_INSERT = InsertIfAbsent(OperatorAlert, "key")


def raise_alert(
    session: Session, kind: str, key: str, order: Order | None, now: datetime, **details: Any
) -> None:
    """Stores the alert, once for each kind and key; the jobs mail it to the organiser.

    `order` is None when it is about the shop as a whole.
    """
    if _store(session, kind, key, order, now, details):
        alert_key = _alert_key(kind, key)
        outbox_key = f"operator_alert-{alert_key}"[:120]
        outbox.put(session, "operator_alert", outbox_key, {"key": alert_key}, now)


def alert_missing(
    session: Session, order: Order, payment: Payment, now: datetime, kind: str = "missing_at_stripe"
) -> None:
    """The alert that Stripe has no PaymentIntent of the payment's id, once for each payment."""
    details = {"payment_intent": payment.payment_intent_id}
    raise_alert(session, kind, str(payment.id), order, now, **details)


def raise_parked(shop: Shop, session: Session, row: OutboxRow | InboxRow) -> None:
    """The alert about a row that is not tried again, once a day for each kind of work.

    That an alert could not be mailed is in the list of alerts and in the log alone.
    """
    now = shop.clock.now()
    work = row.kind if isinstance(row, OutboxRow) else row.type
    order_id = row.payload.get("order") if isinstance(row, OutboxRow) else None
    order = session.get(Order, order_id) if order_id else None
    details = {"work": work, "first_row": row.id, "error": row.last_error}
    key = f"{row.log_prefix}-{work}-{now:%Y-%m-%d}"
    if work == "operator_alert":
        _store(session, "work_given_up", key, None, now, details)
    else:
        raise_alert(session, "work_given_up", key, order, now, **details)


def _store(
    session: Session,
    kind: str,
    key: str,
    order: Order | None,
    now: datetime,
    details: dict[str, Any],
) -> bool:
    """Stores the alert; whether it is new."""
    if kind not in KINDS:
        raise ValueError(f"no kind of alert: {kind}")
    row = {
        "key": _alert_key(kind, key),
        "kind": kind,
        "order_id": order.id if order else None,
        "details": details,
        "created_at": now,
    }
    is_new = _INSERT.run(session, row)
    if is_new:
        log.warning(f"alert.{kind}", order=order.code if order else None, **details)
    return is_new


def _alert_key(kind: str, key: str) -> str:
    return f"{kind}-{key}"[:120]


def open_alerts(session: Session) -> Sequence[OperatorAlert]:
    """Alerts that nobody has marked as resolved, oldest first."""
    query = select(OperatorAlert).where(OperatorAlert.resolved_at.is_(None))
    return session.scalars(query.order_by(OperatorAlert.id)).all()


def resolve(shop: Shop, alert_id: int) -> None:
    """Marks the alert as resolved; raises `NotFound` if there is no open one of this id."""

    def unit(session: Session) -> None:
        alert = session.get(OperatorAlert, alert_id)
        if alert is None or alert.resolved_at:
            raise NotFound(f"no open alert {alert_id}")
        alert.resolved_at = shop.clock.now()

    shop.db.transaction(unit)


def send_alert(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: mails an alert to the organiser, where the settings name one."""
    if not shop.settings.organiser_email:
        return
    with shop.db.reading() as session:
        query = select(OperatorAlert).where(OperatorAlert.key == payload["key"])
        alert = session.scalars(query).one()
        order = get_order(session, alert.order_id) if alert.order_id else None
    what, to_do = KINDS[alert.kind]
    context = {"order": order, "what": what, "to_do": to_do, "details": alert.details}
    mailer.send("operator_alert", key, shop.settings.organiser_email, "en", context)
