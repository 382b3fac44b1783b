"""What the audit asks Stripe: I2, that the money there is the money here.

Stripe's lists of payments, refunds and disputes are read once, a hundred objects a call, and
compared with the rows. Only what differs, or was not shown, is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus
from tmt.core.money import format_money
from tmt.gateway import types
from tmt.gateway.errors import StripeNotFound, StripeUnreachable
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import DisputeStatus, PaymentIntent, RefundStatus
from tmt.operations import audit_repair
from tmt.operations.audit_repair import Breach
from tmt.operations.reconcile import in_batches, payment_in_metadata
from tmt.payments.models import COUNTED_REFUNDS, Dispute, Payment, Refund
from tmt.shop import Shop

_CLOCKS_DIFFER = timedelta(hours=1)
_CHUNK = 1000
# A PaymentIntent in one of these says something of money or of places; the others come and go
# while a buyer is at the pay page.
_TELLING = (
    types.PaymentIntentStatus.SUCCEEDED,
    types.PaymentIntentStatus.PROCESSING,
    types.PaymentIntentStatus.CANCELED,
)
_IN_STEP = "flask reconcile, or flask audit --repair"

Returned = types.StripeRefund | types.StripeDispute


@dataclass
class _Found:
    """What a reading of the lists found: PaymentIntents to look at, and such as nobody knows."""

    suspects: set[str] = field(default_factory=set)
    unknown: list[PaymentIntent] = field(default_factory=list)


def stripe_breaches(shop: Shop, gateway: Gateway) -> Iterator[Breach]:
    """Everything in which the shop and Stripe differ, with the keys in use.

    Raises `GatewayError` when Stripe does not say.
    """
    with shop.db.reading() as session:
        first = _first_payment(session, shop.settings.livemode)
    if first is None:
        return
    since, found = int((first.created_at - _CLOCKS_DIFFER).timestamp()), _Found()
    _payments(shop, gateway.list_payment_intents(since), found)
    _returned(shop, gateway.list_refunds(since=since), Refund, Refund.stripe_id, found)
    _returned(shop, gateway.list_disputes(since=since), Dispute, Dispute.stripe_id, found)
    for payment_intent in sorted(found.suspects):
        yield from _compared(shop, gateway, payment_intent)
    for intent in found.unknown:
        yield from _unknown(shop, intent)


def _first_payment(session: Session, livemode: bool) -> Payment | None:
    first = select(func.min(Payment.id)).join(Order, Order.id == Payment.order_id)
    return session.get(Payment, session.scalar(first.where(Order.livemode == livemode)) or 0)


def _payments(shop: Shop, listing: Iterable[PaymentIntent], found: _Found) -> None:
    seen = _Seen(shop, Payment, Payment.payment_intent_id)
    for batch in in_batches(listing):
        rows = seen.rows(intent.id for intent in batch)
        for intent in batch:
            row = rows.get(intent.id)
            if row is None:
                if intent.metadata.get("platform") == "TMT" and intent.metadata.get("order"):
                    found.unknown.append(intent)
            elif _differs(intent, row):
                found.suspects.add(intent.id)
    found.suspects.update(seen.not_shown())


def _differs(intent: PaymentIntent, row: Payment) -> bool:
    if intent.status != row.status:
        return intent.status in _TELLING or row.status in _TELLING
    received = intent.amount_received, intent.currency
    return row.status == types.PaymentIntentStatus.SUCCEEDED and received != (
        row.amount_received,
        row.received_currency,
    )


def _returned(
    shop: Shop,
    listing: Iterable[Returned],
    table: type[Refund] | type[Dispute],
    stripe_id: Any,
    found: _Found,
) -> None:
    """Refunds or disputes that differ from their rows, or that no row or no list has."""
    seen = _Seen(shop, table, stripe_id)
    for batch in in_batches(listing):
        rows = seen.rows(one.id for one in batch)
        other = {one.payment_intent for one in batch if _unlike(one, rows.get(one.id))}
        with shop.db.reading() as session:
            ours = session.scalars(
                select(Payment.payment_intent_id).where(Payment.payment_intent_id.in_(other))
            )
            found.suspects.update(pi for pi in ours if pi)
    found.suspects.update(seen.not_shown())


def _unlike(seen: Returned, row: Any) -> bool:
    return row is None or (seen.status, seen.amount) != (row.status, row.amount)


class _Seen:
    """The rows of one table, of the keys in use, and which of them a list has shown."""

    def __init__(self, shop: Shop, table: Any, stripe_id: Any) -> None:
        self._shop, self._table, self._stripe_id = shop, table, stripe_id
        with shop.db.reading() as session:
            # A byte for each row: as long as the list is read, nothing else is kept of them.
            self._shown = bytearray((session.scalar(select(func.max(table.id))) or 0) + 1)

    def rows(self, stripe_ids: Iterable[str]) -> dict[str, Any]:
        """The rows of these ids, which counts as shown."""
        query = select(self._table).where(self._stripe_id.in_(list(stripe_ids)))
        with self._shop.db.reading() as session:
            found = {getattr(row, self._stripe_id.key): row for row in session.scalars(query)}
        for row in found.values():
            if row.id < len(self._shown):
                self._shown[row.id] = 1
        return found

    def not_shown(self) -> Iterator[str]:
        """The PaymentIntents of rows that stood at the beginning and were not shown."""
        last = 0
        while last < len(self._shown) - 1:
            with self._shop.db.reading() as session:
                rows = session.execute(self._after(last).limit(_CHUNK)).all()
            yield from (pi for row_id, pi in rows if not self._is_shown(row_id))
            last = rows[-1][0] if rows else len(self._shown)

    def _is_shown(self, row_id: int) -> bool:
        return row_id >= len(self._shown) or self._shown[row_id] == 1

    def _after(self, last: int) -> Any:
        query = select(self._table.id, Payment.payment_intent_id)
        if self._table is not Payment:
            query = query.join(Payment, Payment.id == self._table.payment_id)
        return (
            query.join(Order, Order.id == Payment.order_id)
            .where(self._table.id > last, self._stripe_id.is_not(None))
            .where(Order.livemode == self._shop.settings.livemode)
            .order_by(self._table.id)
        )


@dataclass(frozen=True)
class _Here:
    """A payment's rows."""

    code: str
    payment: Payment
    refunds: dict[str, Refund]
    disputes: dict[str, Dispute]


def _compared(shop: Shop, gateway: Gateway, payment_intent: str) -> Iterator[Breach]:
    """One PaymentIntent with all that belongs to it, there and here."""
    try:
        intent = gateway.retrieve_payment_intent(payment_intent)
        refunds = list(gateway.list_refunds(payment_intent=payment_intent))
        disputes = list(gateway.list_disputes(payment_intent=payment_intent))
    except StripeUnreachable:
        raise
    except Exception as error:  # noqa: BLE001 - one bad object must not hide the others
        yield _unreadable(shop, payment_intent, error)
        return
    with shop.db.reading() as session:
        here = _here(session, payment_intent)
    differing = [
        *_money_differs(intent, refunds, disputes, here),
        *_pairs_differ("refund", refunds, here.refunds),
        *_pairs_differ("dispute", disputes, here.disputes),
    ]
    if differing:
        what = f"{payment_intent}: {'; '.join(differing)}"
        repair = audit_repair.ask_again(payment_intent)
        yield Breach("I2", f"order {here.code}", what, _IN_STEP, repair)


def _unreadable(shop: Shop, payment_intent: str, error: Exception) -> Breach:
    with shop.db.reading() as session:
        code = _here(session, payment_intent).code
    if isinstance(error, StripeNotFound):
        what = f"{payment_intent} is unknown at Stripe"
    else:
        what = f"{payment_intent} cannot be read: {type(error).__name__}: {error}"
    mend = "check that the keys belong to the account that the order was placed with"
    return Breach("I2", f"order {code}", what, mend)


def _here(session: Session, payment_intent: str) -> _Here:
    payment = session.scalars(
        select(Payment).where(Payment.payment_intent_id == payment_intent)
    ).one()
    refunds = session.scalars(select(Refund).where(Refund.payment_id == payment.id))
    disputes = session.scalars(select(Dispute).where(Dispute.payment_id == payment.id))
    return _Here(
        session.get_one(Order, payment.order_id).code,
        payment,
        {row.stripe_id: row for row in refunds if row.stripe_id},
        {row.stripe_id: row for row in disputes},
    )


def _money_differs(
    intent: PaymentIntent,
    refunds: list[types.StripeRefund],
    disputes: list[types.StripeDispute],
    here: _Here,
) -> Iterator[str]:
    row = here.payment
    if not _differs(intent, row) and intent.status != types.PaymentIntentStatus.SUCCEEDED:
        return
    if intent.status != row.status:
        yield f"is {intent.status} at Stripe and {row.status} here"
    there = _left(intent.amount_received, refunds, disputes)
    received = row.amount_received if row.status == types.PaymentIntentStatus.SUCCEEDED else 0
    ours = _left(received, here.refunds.values(), here.disputes.values())
    if there != ours:
        left, said = (format_money(n, intent.currency, "en") for n in (there, ours))
        yield f"{left} of it are left at Stripe and {said} here"
    elif intent.currency != row.currency:
        yield f"is in {intent.currency} at Stripe and in {row.currency} here"


def _left(received: int, refunds: Iterable[Any], disputes: Iterable[Any]) -> int:
    """What came less what went back; refunds that Stripe was not asked for yet do not count."""
    gone = [
        r.amount
        for r in refunds
        if r.status in COUNTED_REFUNDS and r.status != RefundStatus.REQUESTED
    ]
    gone += [d.amount for d in disputes if d.status == DisputeStatus.LOST]
    return received - int(sum(gone))


def _pairs_differ(name: str, there: Iterable[Returned], here: dict[str, Any]) -> Iterator[str]:
    known = {seen.id: seen for seen in there}
    for stripe_id in sorted(known.keys() | here.keys()):
        seen, row = known.get(stripe_id), here.get(stripe_id)
        if seen is None or row is None:
            where = "here" if seen is None else "at Stripe"
            yield f"{name} {stripe_id} is only known {where}"
        elif seen.status != row.status:
            yield f"{name} {stripe_id} is {seen.status} at Stripe and {row.status} here"
        elif seen.amount != row.amount:
            yield f"{name} {stripe_id} is over {seen.amount} at Stripe and {row.amount} here"


def _unknown(shop: Shop, intent: PaymentIntent) -> Iterator[Breach]:
    """A PaymentIntent that was made for a payment of the shop's, and that no row has."""
    with shop.db.reading() as session:
        known = session.scalar(select(Payment.id).where(Payment.payment_intent_id == intent.id))
        found = session.execute(_made_for(intent)).first()
    if known or found is None or intent.status == types.PaymentIntentStatus.CANCELED:
        return
    code, status, stored = found
    what = f"{intent.id} was made for it, is {intent.status} at Stripe and unknown here"
    if intent.status in _TELLING:
        yield Breach("I2", f"order {code}", what, "refund it in Stripe's dashboard")
    elif status != OrderStatus.HELD or stored:
        # A held order's is found by the pay page, by the key that it was made with.
        yield Breach("I2", f"order {code}", what, _IN_STEP, audit_repair.cancel(intent.id))


def _made_for(intent: PaymentIntent) -> Any:
    """Code and status of the order, and the PaymentIntent that is stored, if any."""
    return (
        select(Order.code, Order.status, Payment.payment_intent_id)
        .join(Payment, Payment.order_id == Order.id)
        .where(Order.code == intent.metadata["order"])
        .where(Payment.id == payment_in_metadata(intent))
    )
