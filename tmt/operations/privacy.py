"""What is stored about people: for how long, how it is exported, and how it is erased.

What an order says about money, tickets and times is for good; who placed it is not. Names and
addresses are blanked, by age or because the person asks for it, and the order stays. Nothing is
blanked of an order that is still open, disputed or being refunded, or whose event is not over. A
customer's row is deleted once no order is theirs any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import ColumnElement, delete, exists, func, inspect, or_, select, update
from sqlalchemy.orm import Session

from tmt.api.idempotency_keys import purge_expired_keys
from tmt.billing.models import Invoice, Membership, StripeCustomer
from tmt.catalog.models import Event
from tmt.checkout.buyer_limits import purge_order_keys
from tmt.checkout.models import Order, OrderLine, OrderStatus, OrderTransition
from tmt.checkout.states import lock_order
from tmt.core.database import Base
from tmt.core.email_address import email_key
from tmt.core.limits import Limits
from tmt.core.outbox import OutboxRow
from tmt.customers.accounts import delete_customer, find_by_email, purge_ended
from tmt.customers.models import Company, Customer, CustomerLink, CustomerSession, EmailChange
from tmt.gateway.inbox import InboxRow
from tmt.gateway.types import CLOSED_DISPUTES, RefundStatus
from tmt.payments.card_testing import purge_declines
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.shop import Shop
from tmt.tickets.models import Ticket

log = structlog.get_logger(__name__)

_BATCH = 200
_UNDECIDED_REFUNDS = (RefundStatus.REQUESTED, RefundStatus.PENDING, RefundStatus.REQUIRES_ACTION)
# Whoever has these can use the tickets: an export that goes astray must not admit anybody.
_SECRETS = {
    Order: {"token", "checkout_token"},
    Ticket: {"code"},
    Payment: {"idempotency_key", "params_hash"},
    Refund: {"idempotency_key", "params_hash"},
    Membership: {"idempotency_key", "params_hash"},
    StripeCustomer: {"idempotency_key", "params_hash"},
    OutboxRow: {"key"},
    CustomerSession: {"token_hash"},
    CustomerLink: {"token_hash"},
}


def purge(shop: Shop, limits: Limits) -> None:
    """A job: deletes and blanks what is older than the settings keep it."""
    purge_expired_keys(shop)
    purge_declines(shop)
    purge_order_keys(shop)
    purge_ended(shop)
    limits.purge_expired()
    settings, now = shop.settings, shop.clock.now()
    counts = {}
    if settings.keep_events:
        old = now - timedelta(days=settings.keep_events)
        counts["events"] = _delete(shop, InboxRow, InboxRow.done_at < old)
    if settings.keep_outbox:
        old = now - timedelta(days=settings.keep_outbox)
        # The audit compares these with the orders that were paid.
        token = func.substr(OutboxRow.key, len("confirmation-") + 1)
        is_compared = exists().where(Order.token == token, Order.email != "")
        is_purged = or_(OutboxRow.kind != "confirmation", ~is_compared)
        counts["outbox"] = _delete(shop, OutboxRow, (OutboxRow.done_at < old) & is_purged)
    if settings.keep_history:
        old = now - timedelta(days=settings.keep_history)
        is_open = exists().where(Order.id == OrderTransition.order_id, ~_may_be_blanked(now))
        counts["history"] = _delete(shop, OrderTransition, (OrderTransition.at < old) & ~is_open)
    if settings.keep_personal_data:
        old = now - timedelta(days=settings.keep_personal_data)
        counts["orders"] = _blank_old_orders(shop, old)
        counts["customers"] = _delete_unused_customers(shop, old)
        _delete_old_mail_files(shop.settings.mail_folder, settings.keep_personal_data)
    if any(counts.values()):
        log.info("retention.purged", **counts)


def export(shop: Shop, email: str) -> dict[str, Any]:
    """All that is stored about an e-mail address, as JSON values.

    Without the keys that open orders and admit to events.
    """
    with shop.db.reading() as session:
        matching = _orders_of(session, email)
        orders = [_export_order(session, order) for order in matching]
        customer = find_by_email(session, email)
        account = _export_customer(session, customer) if customer else None
    return {
        "email": email,
        "exported_at": shop.clock.now().isoformat(),
        "customer": account,
        "orders": orders,
        "mail_files": [
            {
                "file": path.name,
                "date": str(mail["Date"] or ""),
                "subject": str(mail["Subject"] or ""),
                "text": _text_of(mail, matching),
            }
            for path, mail in _mails_to(shop.settings.mail_folder, email)
        ],
    }


def other_data(shop: Shop, email: str) -> list[str]:
    """What is stored about the address beside its orders, in words."""
    with shop.db.reading() as session:
        has_account = find_by_email(session, email) is not None
    has_mails = any(_mails_to(shop.settings.mail_folder, email))
    texts = {"the customer's account": has_account, "mails in the mail folder": has_mails}
    return [text for text, is_stored in texts.items() if is_stored]


def erasable(shop: Shop, email: str) -> tuple[list[str], dict[str, str]]:
    """The codes of the address's orders that can be blanked, and the others with the reason."""
    codes, others = [], {}
    with shop.db.reading() as session:
        for order in _orders_of(session, email):
            if reason := _obstacle(session, order, shop.clock.now()):
                others[order.code] = reason
            else:
                codes.append(order.code)
    return codes, others


def erase(shop: Shop, email: str) -> list[str]:
    """Blanks what can be blanked of the address's orders, and deletes its account and mail files.

    An account of which an order stays as it is stays too. Returns the codes of the orders that were
    blanked. Done again after a crash, it deletes what was left.
    """

    def unit(session: Session) -> list[str]:
        ids = [order.id for order in _orders_of(session, email)]
        codes = [code for order_id in ids if (code := _blank(session, order_id, shop))]
        if customer := find_by_email(session, email):
            session.flush()
            _delete_unused(session, [customer.id])
        return codes

    codes = shop.db.erase(unit)
    _codes, others = erasable(shop, email)
    if not others:
        for path, _mail in list(_mails_to(shop.settings.mail_folder, email)):
            path.unlink(missing_ok=True)
    log.info("privacy.erased", orders=len(codes))
    return codes


def _delete(shop: Shop, table: type[Any], condition: ColumnElement[bool]) -> int:
    """Deletes the rows, a batch in a transaction, so that nobody waits for long."""

    def unit(session: Session) -> int:
        ids = session.scalars(select(table.id).where(condition).order_by(table.id).limit(_BATCH))
        batch = ids.all()
        if batch:
            session.execute(delete(table).where(table.id.in_(batch)))
        return len(batch)

    total = 0
    while True:
        count = shop.db.transaction(unit)
        total += count
        if count < _BATCH:
            return total


def _blank_old_orders(shop: Shop, old: datetime) -> int:
    """Blanks the orders of events that ended before `old`; how many."""
    query = (
        select(Order.id)
        .where(Order.email != "", Order.event_id.in_(select(Event.id).where(Event.ends_at < old)))
        .where(_may_be_blanked(shop.clock.now()))
        .order_by(Order.id)
        .limit(_BATCH)
    )
    total = 0
    while True:
        with shop.db.reading() as session:
            ids = session.scalars(query).all()
        if not ids:
            return total

        def unit(session: Session, ids: Sequence[int] = ids) -> int:
            return sum(_blank(session, order_id, shop) is not None for order_id in ids)

        count = shop.db.erase(unit)
        total += count
        if not count:
            return total


def _delete_unused_customers(shop: Shop, old: datetime) -> int:
    """Deletes customers who have nothing and have not signed in since `old`; how many."""
    query = (
        select(Customer.id)
        .where(func.coalesce(Customer.signed_in_at, Customer.created_at) < old)
        .where(~exists().where(Order.customer_id == Customer.id))
        .where(~exists().where(Membership.customer_id == Customer.id))
        .where(~exists().where(Invoice.customer_id == Customer.id))
        .order_by(Customer.id)
        .limit(_BATCH)
    )

    def unit(session: Session) -> int:
        return _delete_unused(session, session.scalars(query).all())

    total = 0
    while count := shop.db.erase(unit):
        total += count
    return total


def _delete_unused(session: Session, customer_ids: Sequence[int]) -> int:
    """Deletes those of these customers who have no order, membership or invoice; how many."""
    # Once their rows are locked nothing can be added, and what was added before is seen.
    locked = select(Customer.id).where(Customer.id.in_(customer_ids)).with_for_update()
    unused = set(session.scalars(locked))
    for table in (Order, Membership, Invoice):
        owners = select(table.customer_id).where(table.customer_id.in_(unused)).distinct()
        unused -= set(session.scalars(owners))
    for customer_id in unused:
        delete_customer(session, customer_id)
    return len(unused)


def _may_be_blanked(now: datetime) -> ColumnElement[bool]:
    """Whether an order is over in every respect, as `_obstacle` says it of one."""
    disputed = select(Payment.order_id).join(Dispute, Dispute.payment_id == Payment.id)
    refunding = select(Payment.order_id).join(Refund, Refund.payment_id == Payment.id)
    return (
        Order.status.not_in((OrderStatus.HELD, OrderStatus.PROCESSING))
        & Order.event_id.in_(select(Event.id).where(Event.ends_at < now))
        & Order.id.not_in(disputed.where(Dispute.status.not_in(CLOSED_DISPUTES)))
        & Order.id.not_in(refunding.where(Refund.status.in_(_UNDECIDED_REFUNDS)))
    )


def _obstacle(session: Session, order: Order, now: datetime) -> str:
    """Why nothing of the order can be blanked yet; empty if it can."""
    if order.status.holds_stock:
        return "it is not finished"
    if order.event.ends_at >= now:
        return f"its event is on {order.event.starts_at:%Y-%m-%d}"
    if session.scalar(select(Order.id).where(Order.id == order.id, _may_be_blanked(now))) is None:
        return "it is disputed, or being refunded"
    return ""


def _blank(session: Session, order_id: int, shop: Shop) -> str | None:
    """Blanks names and addresses of the order; its code, or None if it must not be blanked."""
    order = lock_order(session, order_id)
    if _obstacle(session, order, shop.clock.now()):
        return None
    order.name = order.email = order.email_key = ""
    order.customer_id = None
    session.execute(update(Payment).where(Payment.order_id == order.id).values(slip_url=None))
    session.execute(update(OrderLine).where(OrderLine.order_id == order.id).values(holders=[]))
    session.execute(update(Ticket).where(Ticket.order_id == order.id).values(holder=""))
    return order.code


def _orders_of(session: Session, email: str) -> Sequence[Order]:
    """The orders with this address, and all others of its customer, by id."""
    condition = Order.email_key == email_key(email)
    if customer := find_by_email(session, email):
        condition = or_(condition, Order.customer_id == customer.id)
    return session.scalars(select(Order).where(condition).order_by(Order.id)).all()


def _export_customer(session: Session, customer: Customer) -> dict[str, Any]:
    tables = {
        "companies": Company,
        "sessions": CustomerSession,
        "links": CustomerLink,
        "email_changes": EmailChange,
        "stripe_customers": StripeCustomer,
        "memberships": Membership,
        "invoices": Invoice,
    }
    related: dict[str, Any] = {
        name: session.scalars(select(table).filter_by(customer_id=customer.id)).all()
        for name, table in tables.items()
    }
    return _columns(customer) | {
        name: [_columns(row) for row in rows] for name, rows in related.items()
    }


def _export_order(session: Session, order: Order) -> dict[str, Any]:
    payments = session.scalars(select(Payment).where(Payment.order_id == order.id)).all()
    payment_ids = [payment.id for payment in payments]
    refunds = session.scalars(select(Refund).where(Refund.payment_id.in_(payment_ids))).all()
    objects = [payment.payment_intent_id for payment in payments if payment.payment_intent_id]
    objects += [refund.stripe_id for refund in refunds if refund.stripe_id]
    refund_ids = {refund.id for refund in refunds}
    outbox = [
        row
        for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id))
        if row.payload.get("order") == order.id
        or row.payload.get("refund") in refund_ids
        or order.id in row.payload.get("orders", ())
    ]
    related: dict[str, Sequence[Base]] = {
        "lines": order.lines,
        "tickets": session.scalars(select(Ticket).filter_by(order_id=order.id)).all(),
        "payments": payments,
        "refunds": refunds,
        "disputes": session.scalars(
            select(Dispute).where(Dispute.payment_id.in_(payment_ids))
        ).all(),
        "history": session.scalars(select(OrderTransition).filter_by(order_id=order.id)).all(),
        "alerts": session.scalars(select(OperatorAlert).filter_by(order_id=order.id)).all(),
        "mails_and_refunds_to_send": outbox,
        "stripe_events": session.scalars(
            select(InboxRow).where(InboxRow.object_id.in_(objects))
        ).all(),
    }
    return {
        **_columns(order),
        "event": order.event.title,
        "event_starts_at": order.event.starts_at.isoformat(),
        **{name: [_columns(row) for row in rows] for name, rows in related.items()},
    }


def _columns(row: Base) -> dict[str, Any]:
    hidden = _SECRETS.get(type(row), set())
    values = {
        column.key: getattr(row, column.key)
        for column in inspect(type(row)).column_attrs
        if column.key not in hidden
    }
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _mails_to(folder: Path, email: str) -> Iterator[tuple[Path, EmailMessage]]:
    """The mails in the folder that went to this address; not all shops have such a folder."""
    key = email_key(email)
    for path in sorted(folder.glob("*.eml")):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        to = mail["To"]
        if to and any(email_key(address.addr_spec) == key for address in to.addresses):
            yield path, mail


def _text_of(mail: EmailMessage, orders: Sequence[Order]) -> str:
    """The text of the mail, without the keys in the links to these orders."""
    body = mail.get_body(("plain",))
    text = str(body.get_content()) if body else ""
    for order in orders:
        text = text.replace(order.token, "[token]")
    return text


def _delete_old_mail_files(folder: Path, days: int) -> None:
    oldest = time.time() - timedelta(days=days).total_seconds()
    for path in folder.glob("*.eml"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
