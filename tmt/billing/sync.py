"""Sync: what Stripe says of a subscription or an invoice, applied to the rows.

Answers overtake each other, so a row is applied only if nothing else changed it since Stripe was
asked, which its `version` shows; otherwise Stripe is asked again. Events, the pay page, the return
page and the jobs all end here, in any order and any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.billing.models import Invoice, Membership, PlanPrice
from tmt.core import outbox
from tmt.core.clock import from_unix
from tmt.core.database import account_of
from tmt.core.errors import DomainError
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import (
    InvoiceStatus,
    StripeInvoice,
    StripeSubscription,
)
from tmt.payments.ownership import SHOP, get_identity
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# The entry of a subscription's metadata that names the membership's row.
MEMBERSHIP = "tmt_membership"
_READS = 4

InTransaction = Callable[[Session], None]


class NotStoredYet(DomainError):
    """Stripe was faster than our own transaction; the event is handled at its next try."""


class Overtaken(DomainError):
    """What Stripe said was overtaken by other news each time; it is handled at its next try."""


def sync_subscription(
    shop: Shop,
    gateway: Gateway,
    subscription_id: str,
    in_transaction: InTransaction | None = None,
) -> StripeSubscription:
    """Applies the subscription as Stripe has it now, with its latest invoice.

    One that is not the shop's changes nothing. Raises `GatewayError` or `Overtaken`.
    """
    for _ in range(_READS):
        with shop.db.reading() as session:
            version = _version(session, subscription_id)
        subscription = gateway.billing.retrieve_subscription(subscription_id)

        def unit(session: Session, read: StripeSubscription, version: int | None) -> bool:
            membership = _lock(session, read)
            if membership is not None:
                if membership.subscription_id is not None and membership.version != version:
                    return False
                _apply(session, shop, membership, read)
            if in_transaction:
                in_transaction(session)
            return True

        if shop.db.transaction(partial(unit, read=subscription, version=version)):
            return subscription
    raise Overtaken(f"subscription {subscription_id}")


def sync_invoice(
    shop: Shop, gateway: Gateway, invoice_id: str, in_transaction: InTransaction | None = None
) -> None:
    """Applies the invoice as Stripe has it now, if it is of a membership.

    Raises `GatewayError`, `NotStoredYet` or `Overtaken`.
    """
    query = select(Invoice.version).where(Invoice.invoice_id == invoice_id)
    for _ in range(_READS):
        with shop.db.reading() as session:
            version = session.scalar(query)
        invoice = gateway.billing.retrieve_invoice(invoice_id)

        def unit(session: Session, read: StripeInvoice, version: int | None) -> bool:
            of_subscription = Membership.subscription_id == read.subscription
            locked = select(Membership).where(of_subscription).with_for_update()
            membership = session.scalar(locked) if read.subscription else None
            if membership is not None:
                if session.scalar(query) != version:
                    return False
                _apply_invoice(session, shop, membership, read)
            elif _is_expected(session, read):
                raise NotStoredYet(f"the subscription {read.subscription} is not stored yet")
            if in_transaction:
                in_transaction(session)
            return True

        if shop.db.transaction(partial(unit, read=invoice, version=version)):
            return
    raise Overtaken(f"invoice {invoice_id}")


def is_stored(shop: Shop, object_id: str) -> bool:
    """Whether a subscription or an invoice of this id is the shop's."""
    with shop.db.reading() as session:
        is_known = select(Invoice.id).where(Invoice.invoice_id == object_id)
        return _version(session, object_id) is not None or session.scalar(is_known) is not None


def _version(session: Session, subscription_id: str) -> int | None:
    query = select(Membership.version).where(Membership.subscription_id == subscription_id)
    return session.scalar(query)


def _lock(session: Session, subscription: StripeSubscription) -> Membership | None:
    """The subscription's membership, locked; None if it is not the shop's.

    One whose id is not stored yet is found by what the shop wrote into its metadata.
    """
    by_id = select(Membership).where(Membership.subscription_id == subscription.id)
    if membership := session.scalar(by_id.with_for_update()):
        return membership
    membership = _named(session, subscription.metadata)
    if membership is None:
        return None
    session.refresh(membership, with_for_update=True)
    if membership.subscription_id is not None:
        # Another transaction may have stored it since it was looked for.
        return membership if membership.subscription_id == subscription.id else None
    return membership


def _named(session: Session, metadata: Mapping[str, str]) -> Membership | None:
    """The membership that metadata of this shop's name, for the account in use."""
    number = metadata.get(MEMBERSHIP, "")
    if not number.isdecimal() or len(number) > 9:
        return None
    if metadata.get(SHOP) != get_identity(session).shop_id:
        return None
    membership = session.get(Membership, int(number))
    is_own = membership is not None and membership.account == account_of(session)
    return membership if is_own else None


def _apply(
    session: Session, shop: Shop, membership: Membership, subscription: StripeSubscription
) -> None:
    before = membership.status
    membership.subscription_id, membership.status = subscription.id, subscription.status
    membership.period_start = _moment(subscription.period_start)
    membership.period_end = _moment(subscription.period_end)
    membership.cancel_at_period_end = subscription.cancel_at_period_end
    membership.cancel_at = _moment(subscription.cancel_at)
    membership.ended_at = _moment(subscription.ended_at)
    if session.is_modified(membership):
        membership.version += 1
    if subscription.price and subscription.price != membership.plan_price.price_id:
        _change_price(session, membership, subscription.price)
    if subscription.latest_invoice:
        _apply_invoice(session, shop, membership, subscription.latest_invoice)
    if membership.status != before:
        log.info("membership.changed", membership=membership.id, status=str(membership.status))


def _change_price(session: Session, membership: Membership, price_id: str) -> None:
    """The price was changed at Stripe, to another one of a plan of the same family."""
    query = select(PlanPrice).where(PlanPrice.price_id == price_id).order_by(PlanPrice.id.desc())
    price = session.scalars(query.limit(1)).first()
    if price and price.plan.family == membership.plan_price.plan.family:
        membership.plan_price = price


def _apply_invoice(
    session: Session, shop: Shop, membership: Membership, read: StripeInvoice
) -> None:
    """Writes the invoice of the membership, which is locked, and what is paid for by it."""
    row = session.scalar(select(Invoice).where(Invoice.invoice_id == read.id).with_for_update())
    if row is None:
        row = Invoice(invoice_id=read.id, customer_id=membership.customer_id, version=0)
        row.membership_id, row.created_at = membership.id, from_unix(read.created)
        row.account, row.livemode = membership.account, membership.livemode
        session.add(row)
    for name in (
        "status",
        "number",
        "billing_reason",
        "collection_method",
        "currency",
        "total",
        "amount_due",
        "amount_paid",
        "amount_remaining",
        "attempt_count",
    ):
        setattr(row, name, getattr(read, name))
    row.payment_intent_id = read.payment_intent or row.payment_intent_id
    row.period_end, row.due_at = _moment(read.period_end), _moment(read.due_date)
    row.next_attempt_at = _moment(read.next_payment_attempt)
    row.finalized_at, row.paid_at = _moment(read.finalized_at), _moment(read.paid_at)
    if session.is_modified(row):
        # What was read of the subscription before has an older invoice in it.
        row.version, membership.version = row.version + 1, membership.version + 1
    session.flush()
    is_paid = Invoice.membership_id == membership.id, Invoice.status == InvoiceStatus.PAID
    membership.paid_through = session.scalar(select(func.max(Invoice.period_end)).where(*is_paid))
    if (
        read.status == InvoiceStatus.VOID
        and read.billing_reason == "subscription_create"
        and not membership.status.is_over
    ):
        # A bank debit of the first invoice failed: Stripe voids the invoice and goes on.
        key, payload = f"end_membership-{membership.id}", {"membership": membership.id}
        outbox.put(session, "end_membership", key, payload, shop.clock.now())


def _is_expected(session: Session, invoice: StripeInvoice) -> bool:
    """Whether the invoice is of a membership whose subscription is about to be stored."""
    membership = _named(session, invoice.subscription_metadata)
    return membership is not None and membership.subscription_id is None


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else from_unix(seconds)
