"""The part of the audit that needs Stripe: I2, that the money at Stripe is the money in the rows.

Stripe's lists of payments, refunds and disputes are read once, a hundred objects a call, and
compared with the rows. Only what differs, or is not in the lists, is retrieved one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.core.clock import from_unix
from tmt.core.money import format_money
from tmt.gateway.errors import StripeNotFound, StripeUnreachable, UnreadableAnswer
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import (
    LOST_DISPUTES,
    PaymentIntent,
    PaymentIntentStatus,
    StripeDispute,
    StripeRefund,
)
from tmt.operations import audit_repair
from tmt.operations.audit_repair import Breach
from tmt.operations.reconcile import first_payment_at, in_batches
from tmt.operations.unknown_payments import is_paid_for, left_at_stripe, without_order
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.ownership import claim_of, get_identity
from tmt.shop import Shop

_CLOCK_TOLERANCE = timedelta(hours=1)
# Statuses that concern money or stock; the others change while a buyer is at the pay page.
_COMPARED_STATUSES = (
    PaymentIntentStatus.SUCCEEDED,
    PaymentIntentStatus.PROCESSING,
    PaymentIntentStatus.CANCELED,
)
_SYNC = "flask reconcile, or flask audit --repair"

Listed = PaymentIntent | StripeRefund | StripeDispute
ListedTable = type[Payment] | type[Refund] | type[Dispute]


def stripe_breaches(shop: Shop, gateway: Gateway) -> Iterator[Breach]:
    """Everything in which the shop and its Stripe account differ, in the mode of its keys.

    Raises `GatewayError` when Stripe does not answer.
    """
    with shop.db.reading() as session:
        identity = get_identity(session)
        # Without any payment too: they may have been lost.
        first = first_payment_at(session, shop) or identity.created_at
    since = int((min(first, identity.created_at) - _CLOCK_TOLERANCE).timestamp())
    differing: set[str] = set()
    without_row: list[PaymentIntent] = []
    lists: tuple[tuple[ListedTable, Iterable[Listed]], ...] = (
        (Payment, gateway.list_payment_intents(since)),
        (Refund, gateway.list_refunds(since=since)),
        (Dispute, gateway.list_disputes(since=since)),
    )
    for table, items in lists:
        differing |= _differing_payments(shop, table, items, without_row)
    for payment_intent in sorted(differing):
        yield from _compare(shop, gateway, payment_intent)
    for intent in without_row:
        try:
            yield from _check_without_row(shop, gateway, intent, identity.shop_id)
        except UnreadableAnswer as error:
            how_to_fix = "flask alerts says what of Stripe's this version of TMT cannot read"
            yield Breach("I2", intent.id, f"cannot be compared: {error}", how_to_fix)


def _differing_payments(
    shop: Shop, table: ListedTable, items: Iterable[Listed], without_row: list[PaymentIntent]
) -> set[str]:
    """The shop's PaymentIntents of which Stripe's list and the rows of the table differ.

    Listed PaymentIntents that the shop created, but has no row of, are added to `without_row`.
    """
    rows_with_intent = select(table.id, Payment.payment_intent_id)
    stripe_id: Any
    if issubclass(table, Payment):
        stripe_id = table.payment_intent_id
    else:
        stripe_id = table.stripe_id
        rows_with_intent = rows_with_intent.join(Payment, Payment.id == table.payment_id)
    with shop.db.reading() as session:
        newest = session.scalar(select(func.max(table.id))) or 0
    differing: set[str] = set()
    listed: set[int] = set()
    for batch in in_batches(items):
        candidates: set[str | None] = set()
        with shop.db.reading() as session:
            query = select(table).where(stripe_id.in_([item.id for item in batch]))
            rows: dict[str, Any] = {getattr(r, stripe_id.key): r for r in session.scalars(query)}
            listed.update(row.id for row in rows.values())
            for item in batch:
                row = rows.get(item.id)
                if isinstance(item, PaymentIntent):
                    if row is None and claim_of(item):
                        without_row.append(item)
                    elif row is not None and _payment_differs(item, row):
                        candidates.add(item.id)
                elif row is None or (item.status, item.amount) != (row.status, row.amount):
                    candidates.add(item.payment_intent)
            # Other systems may use the same account: only the shop's own payments count.
            own = select(Payment.payment_intent_id).where(Payment.payment_intent_id.in_(candidates))
            differing.update(str(payment_intent) for payment_intent in session.scalars(own))
    # Rows that were written since the list was begun may not be in it.
    query_unlisted = (
        rows_with_intent.join(Order, Order.id == Payment.order_id)
        .where(table.id <= newest, stripe_id.is_not(None))
        .where(own_orders(shop.db.account))
        .execution_options(yield_per=1000)
    )
    with shop.db.reading() as session:
        for row_id, payment_intent in session.execute(query_unlisted):
            if row_id not in listed:
                differing.add(str(payment_intent))
    return differing


def _payment_differs(intent: PaymentIntent, row: Payment) -> bool:
    if intent.status != row.status:
        return any(
            status in _COMPARED_STATUSES or not status.is_known
            for status in (intent.status, row.status)
        )
    return row.status == PaymentIntentStatus.SUCCEEDED and (
        (intent.amount_received, intent.currency) != (row.amount_received, row.received_currency)
    )


def _compare(shop: Shop, gateway: Gateway, payment_intent: str) -> Iterator[Breach]:
    """Compares one PaymentIntent, its refunds and its disputes with their rows."""
    of_payment = select(Payment).where(Payment.payment_intent_id == payment_intent)
    with shop.db.reading() as session:
        order_id = session.scalars(of_payment).one().order_id
        subject = f"order {session.get_one(Order, order_id).code}"
    try:
        intent = gateway.retrieve_payment_intent(payment_intent)
        refunds = list(gateway.list_refunds(payment_intent=payment_intent))
        disputes = list(gateway.list_disputes(payment_intent=payment_intent))
    except StripeUnreachable:
        raise
    except Exception as error:  # noqa: BLE001 - one unreadable object must not hide the others
        problem = f"{payment_intent} cannot be read: {type(error).__name__}: {error}"
        if isinstance(error, StripeNotFound):
            problem = f"{payment_intent} does not exist at Stripe"
        how_to_fix = "check that the keys belong to the account that the order was placed with"
        yield Breach("I2", subject, problem, how_to_fix)
        return
    # Read after Stripe's objects: an event that arrives in between must not look like a breach.
    with shop.db.reading() as session:
        row = session.scalars(of_payment).one()
        of_stripe = select(Refund).where(Refund.stripe_id.is_not(None))
        refund_rows = session.scalars(of_stripe.where(Refund.payment_id == row.id)).all()
        dispute_rows = session.scalars(select(Dispute).where(Dispute.payment_id == row.id)).all()

    problems = []
    if intent.status == PaymentIntentStatus.SUCCEEDED or _payment_differs(intent, row):
        if intent.status != row.status:
            problems.append(f"is {intent.status} at Stripe and {row.status} in the shop")
        currency = row.received_currency or row.currency
        received = row.amount_received if row.status == PaymentIntentStatus.SUCCEEDED else 0
        at_stripe = _balance(intent.amount_received, refunds, disputes)
        in_shop = _balance(received, refund_rows, dispute_rows)
        if (at_stripe, intent.currency) != (in_shop, currency):
            stripe_amount = format_money(at_stripe, intent.currency, "en")
            shop_amount = format_money(in_shop, currency, "en")
            problems.append(
                f"its balance is {stripe_amount} at Stripe and {shop_amount} in the shop"
            )
    problems += _differences("refund", refunds, refund_rows)
    problems += _differences("dispute", disputes, dispute_rows)
    if problems:
        problem = f"{payment_intent}: {'; '.join(problems)}"
        yield Breach("I2", subject, problem, _SYNC, audit_repair.sync_payment(payment_intent))


def _balance(received: int, refunds: Iterable[Any], disputes: Iterable[Any]) -> int:
    """What was received less what was refunded or lost; all of it, or all rows, from one side."""
    refunded = sum(refund.amount for refund in refunds if not refund.status.is_failed)
    lost = sum(dispute.amount for dispute in disputes if dispute.status in LOST_DISPUTES)
    return int(received - refunded - lost)


def _differences(name: str, objects: Iterable[Any], rows: Iterable[Any]) -> Iterator[str]:
    """How Stripe's refunds or disputes of a payment differ from their rows."""
    by_id = {item.id: item for item in objects}
    rows_by_id = {row.stripe_id: row for row in rows}
    for stripe_id in sorted(by_id.keys() | rows_by_id.keys()):
        item, row = by_id.get(stripe_id), rows_by_id.get(stripe_id)
        if item is None or row is None:
            owner = "in the shop" if item is None else "at Stripe"
            yield f"{name} {stripe_id} exists only {owner}"
        elif item.status != row.status:
            yield f"{name} {stripe_id} is {item.status} at Stripe and {row.status} in the shop"
        elif name == "dispute" and item.is_charge_refundable != row.is_charge_refundable:
            yield f"{name} {stripe_id} differs in whether its payment can be refunded"
        elif item.amount != row.amount:
            stripe_amount = format_money(item.amount, item.currency, "en")
            shop_amount = format_money(row.amount, row.currency, "en")
            amounts = f"of {stripe_amount} at Stripe and of {shop_amount} in the shop"
            yield f"{name} {stripe_id} is {amounts}"


def _check_without_row(
    shop: Shop, gateway: Gateway, intent: PaymentIntent, shop_id: str
) -> Iterator[Breach]:
    """A PaymentIntent that was created for an order of the shop's and is stored on none."""
    claim = claim_of(intent)
    if claim is None or claim.shop_id not in (None, shop_id):
        return
    query = (
        select(Order.code, Order.status, Payment.payment_intent_id)
        .join(Payment, Payment.order_id == Order.id)
        .where(Order.code == claim.order_code)
        .where(Payment.id == claim.payment_id)
    )
    with shop.db.reading() as session:
        is_unsettled = bool(without_order(session, [intent]))
        order = session.execute(query).first()
    if not is_unsettled or intent.status == PaymentIntentStatus.CANCELED:
        return
    if is_paid_for(intent, shop_id):
        yield from _unknown_payment(gateway, intent, claim.order_code, has_order=order is not None)
        return
    if order is None:
        return
    problem = f"{intent.id} was created for it, is {intent.status} at Stripe and not in the shop"
    subject = f"order {order.code}"
    if intent.status in _COMPARED_STATUSES or not intent.status.is_known:
        yield Breach("I2", subject, problem, "refund or cancel it in Stripe's dashboard")
    elif order.status != OrderStatus.HELD or order.payment_intent_id:
        # The pay page finds that of a held order by the key that it was created with.
        repair = audit_repair.cancel_payment_intent(intent.id)
        yield Breach("I2", subject, problem, _SYNC, repair)


def _unknown_payment(
    gateway: Gateway, intent: PaymentIntent, order_code: str, *, has_order: bool
) -> Iterator[Breach]:
    """A payment of this shop that no order has, unless its money has gone back."""
    left = left_at_stripe(gateway, intent)
    if not left:
        return
    money = format_money(left, intent.currency, "en")
    when = f"{from_unix(intent.created):%Y-%m-%d %H:%M} UTC"
    if has_order:
        subject = f"order {order_code}"
        problem = f"{intent.id} was created for it, is succeeded at Stripe and not in the shop"
    else:
        subject = intent.id
        problem = f"was paid for order {order_code}, which the database does not know"
    problem += f" ({money}, {when})"
    how_to_fix = (
        "flask audit --repair writes an alert; with --refund-unknown it refunds the money;"
        " settled otherwise: flask alerts resolve"
    )
    repair = audit_repair.report_unknown_payment(intent)
    refund = audit_repair.refund_unknown_payment(intent)
    yield Breach("I2", subject, problem, how_to_fix, repair, refund)
