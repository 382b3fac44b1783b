"""The reconciler: asks Stripe about everything that is open, in case webhooks never arrived.

Every open payment, pending refund and undecided dispute is compared with Stripe, and so is, once,
every payment that a webhook alone has reported. The inbox gets the events that were never received.
What differs goes through the same functions as everything else that Stripe reports. A payment of
this shop that no order has, as after a restored backup, raises an alert.

 Lists are read first, a hundred objects a call; what they do
not show is retrieved one by one. Each item is on its own: a bad one is reported and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import structlog
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from tmt.billing.webhook_handlers import HANDLERS
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.checkout.states import Trigger
from tmt.core import cursors
from tmt.core.clock import from_unix
from tmt.core.database import name_for
from tmt.gateway import inbox
from tmt.gateway.errors import (
    AuthenticationFailed,
    GatewayError,
    InvalidState,
    PermissionDenied,
    StripeNotAsked,
    StripeNotFound,
    StripeUnreachable,
)
from tmt.gateway.inbox import InboxRow
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import (
    CLOSED_DISPUTES,
    PaymentIntent,
    PaymentIntentStatus,
    RefundStatus,
    StripeDispute,
    StripeRefund,
)
from tmt.operations.unknown_payments import alert_unknown, is_orphan, is_paid_for, without_order
from tmt.payments.alerts import alert_missing
from tmt.payments.disputes import sync_dispute
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.ownership import claim_of, get_identity
from tmt.payments.refunds import record_refund
from tmt.payments.sync import Outcome, sync_from_stripe, sync_payment_intent
from tmt.shop import Shop

log = structlog.get_logger(__name__)
T = TypeVar("T")

# How far Stripe's events have been read, by Stripe's clock; and when all of the lookback was last
# compared: a refund that has succeeded can fail weeks later, and a debit that no order has succeed.
_EVENTS_CURSOR, _FULL_RUN_CURSOR = "stripe_events", "full_reconcile"
_LOOKBACK, _FULL_RUN_INTERVAL = timedelta(days=35), timedelta(days=1)
# Events become visible a little later than their time says, and clocks differ.
_OVERLAP = timedelta(hours=1)
_EVENTS_RETENTION = timedelta(days=30)
_CANCELABLE = (
    PaymentIntentStatus.REQUIRES_PAYMENT_METHOD,
    PaymentIntentStatus.REQUIRES_CONFIRMATION,
    PaymentIntentStatus.REQUIRES_ACTION,
)
_FINAL = (PaymentIntentStatus.SUCCEEDED, PaymentIntentStatus.CANCELED)
# Any other status of a refund, also one that Stripe adds later, is asked about again.
_DECIDED_REFUNDS = (RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.CANCELED)
_NOTHING_DONE = (Outcome.UNCHANGED, Outcome.UNKNOWN_INTENT, Outcome.STALE)
# Stripe's lists come in pages of so many.
_PAGE_SIZE = 100
# After so many items in a row without an answer, Stripe is down.
_MAX_UNREACHABLE = 3


@dataclass
class Report:
    """What a run did; `failed` says of each item that could not be reconciled which and why.

    `checked` are open payments, refunds and disputes that were compared; `synced` payments and
    `recorded` refunds and disputes had changed; `events` had never been received; `unknown` were
    paid at Stripe for this shop and belong to no order. A run is not complete when Stripe stopped
    answering: the next one does the rest.
    """

    checked: int = 0
    synced: int = 0
    recorded: int = 0
    events: int = 0
    unknown: int = 0
    failed: list[str] = field(default_factory=list)
    complete: bool = True


def reconcile(shop: Shop, gateway: Gateway, since: datetime | None = None) -> Report:
    """Brings the shop into line with Stripe; for the jobs, and safe at any time.

    Lists are read from where the last complete run ended, or from `since`. Stripe keeps events for
    30 days. Never raises for what a single item or Stripe does.
    """
    with shop.db.reading() as session:
        first = first_payment_at(session, shop)
        identity = get_identity(session)
        events_read = cursors.read(session, name_for(shop.db.account, _EVENTS_CURSOR))
        last_full_run = cursors.read(session, name_for(shop.db.account, _FULL_RUN_CURSOR))
    run = _Run(shop, gateway, identity.shop_id)
    now = shop.clock.now()
    # What was paid before the first payment, or without any being left, may have been lost with
    # its row.
    first = min(first or identity.created_at, identity.created_at)
    earliest = max(first - _OVERLAP, now - _LOOKBACK)
    start = since or (max(events_read - _OVERLAP, earliest) if events_read else earliest)
    is_full_run = since is None and not (last_full_run and now - last_full_run < _FULL_RUN_INTERVAL)
    lists_start = earliest if is_full_run else start
    newest_event: datetime | None = None
    try:
        run.payments(lists_start)
        run.refunds(lists_start)
        run.disputes(lists_start)
        newest_event = run.events(max(start, now - _EVENTS_RETENTION))
    except _StripeDown:
        run.report.complete = False
        log.warning("reconcile.stripe_unreachable", failed=len(run.report.failed))
    if run.report.complete:

        def advance_cursors(session: Session) -> None:
            if newest_event:
                cursors.advance(session, name_for(shop.db.account, _EVENTS_CURSOR), newest_event)
            if is_full_run or since is not None:
                cursors.advance(session, name_for(shop.db.account, _FULL_RUN_CURSOR), now)

        shop.db.transaction(advance_cursors)
    log.info("reconcile.done", **(asdict(run.report) | {"failed": len(run.report.failed)}))
    return run.report


def sync_with_stripe(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Brings one PaymentIntent with its refunds and disputes into line; raises `GatewayError`."""
    sync_from_stripe(shop, gateway, payment_intent, Trigger.RECONCILER)
    for refund in gateway.list_refunds(payment_intent=payment_intent):
        record_refund(shop, refund, Trigger.RECONCILER)
    for dispute in gateway.list_disputes(payment_intent=payment_intent):
        sync_dispute(shop, gateway, dispute.id, Trigger.RECONCILER)


def first_payment_at(session: Session, shop: Shop) -> datetime | None:
    """When the first payment of this account was created: nothing older at Stripe is the shop's."""
    query = select(func.min(Payment.id)).join(Order, Order.id == Payment.order_id)
    first = session.scalar(query.where(own_orders(shop.db.account)))
    return session.get_one(Payment, first).created_at if first else None


def in_batches(items: Iterable[T], size: int = _PAGE_SIZE) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class _StripeDown(Exception):
    """Stripe has not answered several times in a row, or rejects the keys."""


@dataclass(frozen=True)
class _OpenPayment:
    """A payment that Stripe may have changed, as its row has it, and its order."""

    payment_intent: str
    id: int
    status: str
    error_code: str | None
    payment_method_id: str | None
    next_action: str | None
    version: int
    created_at: datetime
    verified_at: datetime | None
    order_id: int
    order_code: str
    order_status: OrderStatus

    @property
    def label(self) -> str:
        """What names it in reports and logs."""
        return f"order {self.order_code}, {self.payment_intent}"

    @property
    def is_unverified(self) -> bool:
        """Whether a webhook alone has said that it is paid."""
        return self.status == PaymentIntentStatus.SUCCEEDED and self.verified_at is None


class _Run:
    """One run, with its report."""

    def __init__(self, shop: Shop, gateway: Gateway, shop_id: str) -> None:
        self.shop, self.gateway, self._shop_id = shop, gateway, shop_id
        self.report = Report()
        self._unreachable = 0

    def payments(self, start: datetime) -> None:
        """Syncs open payments; what no order has is canceled or, if it was paid, reported."""
        settings = self.shop.settings
        with self.shop.db.reading() as session:
            waiting = _open_payments(session, self.shop.db.account)
        # A PaymentIntent whose order ended before its id was stored is no older than a hold.
        longest_hold = timedelta(minutes=settings.hold_minutes * (1 + settings.hold_extensions))
        orphans_since = start - longest_hold
        since = min([orphans_since, *(row.created_at - _OVERLAP for row in waiting.values())])
        intents = self.gateway.list_payment_intents(int(since.timestamp()))
        paid: list[PaymentIntent] = []
        for number, intent in enumerate(self._read("the list of payments", intents)):
            is_old = intent.created < int(orphans_since.timestamp())
            if is_old and number // _PAGE_SIZE > len(waiting):
                break  # Retrieving the rest one by one takes fewer calls.
            if row := waiting.pop(intent.id, None):
                self._each(row.label, self._sync, row, intent)
            elif claim_of(intent) and not intent.status.is_final:
                self._each(intent.id, self._cancel_orphan, intent)
            elif is_paid_for(intent, self._shop_id):
                paid.append(intent)
        for row in waiting.values():
            self._each(row.label, self._retrieve_and_sync, row)
        for batch in in_batches(paid):
            self._each("payments without an order", self._alert_unknown, batch)

    def refunds(self, start: datetime) -> None:
        """Records refunds that are new or differ from their rows."""
        self._compare(
            "refunds",
            Refund,
            Refund.status.not_in(_DECIDED_REFUNDS),
            self.gateway.list_refunds(since=int(start.timestamp())),
            self.gateway.retrieve_refund,
            lambda refund: record_refund(self.shop, refund, Trigger.RECONCILER),
        )

    def disputes(self, start: datetime) -> None:
        """Records disputes that are new or differ from their rows."""
        self._compare(
            "disputes",
            Dispute,
            Dispute.status.not_in(CLOSED_DISPUTES),
            self.gateway.list_disputes(since=int(start.timestamp())),
            self.gateway.retrieve_dispute,
            # Read again: by now the list may say what it was, and no status of it is the last one.
            lambda dispute: sync_dispute(self.shop, self.gateway, dispute.id, Trigger.RECONCILER),
        )

    def events(self, start: datetime) -> datetime | None:
        """Stores events that were never received; how far they are read now, if none failed."""
        newest: datetime | None = None
        failed_before = len(self.report.failed)
        events = self.gateway.list_events(int(start.timestamp()), sorted(HANDLERS))
        for batch in in_batches(self._read("the list of events", events)):
            newest = newest or from_unix(batch[0].created)
            stored = select(InboxRow.event_id).where(InboxRow.event_id.in_([e.id for e in batch]))
            with self.shop.db.reading() as session:
                known_ids = set(session.scalars(stored))
            for event in batch:
                if event.id not in known_ids:
                    self._each(event.id, self._receive, event)
        if self.report.events:
            self.shop.jobs.trigger("inbox")
        return newest if failed_before == len(self.report.failed) else None

    def _compare(
        self,
        name: str,
        table: type[Refund] | type[Dispute],
        undecided: Any,
        listed: Iterator[Any],
        retrieve: Callable[[str], Any],
        record: Callable[[Any], bool],
    ) -> None:
        """Compares a list of Stripe's with its rows, and retrieves undecided ones it lacks."""
        with self.shop.db.reading() as session:
            waiting = _undecided(session, table, undecided, self.shop.db.account)

        def record_counted(item: StripeRefund | StripeDispute) -> None:
            self.report.recorded += record(item)

        def retrieve_and_record(stripe_id: str, state: tuple[Any, ...]) -> None:
            item = retrieve(stripe_id)
            self.report.checked += 1
            if _state(item) != state:
                record_counted(item)

        for batch in in_batches(self._read(f"the list of {name}", listed)):
            intents = {item.payment_intent for item in batch if item.payment_intent}
            our_intents = select(Payment.payment_intent_id).where(
                Payment.payment_intent_id.in_(intents)
            )
            rows = select(table).where(table.stripe_id.in_([item.id for item in batch]))
            with self.shop.db.reading() as session:
                ours = set(session.scalars(our_intents))
                stored_rows: Iterator[Any] = iter(session.scalars(rows))
                states = {row.stripe_id: _state(row) for row in stored_rows}
            for item in batch:
                self.report.checked += waiting.pop(item.id, None) is not None
                if item.payment_intent in ours and states.get(item.id) != _state(item):
                    self._each(item.id, record_counted, item)
        for stripe_id, state in waiting.items():
            self._each(stripe_id, retrieve_and_record, stripe_id, state)

    def _sync(self, row: _OpenPayment, intent: PaymentIntent) -> None:
        self.report.checked += 1
        if row.order_status.is_abandoned and intent.status in _CANCELABLE:
            # Its hold was ended without its keys, while the shop ran with others.
            intent = self._cancel(intent.id)
        action = intent.next_action.type if intent.next_action else None
        at_stripe = (intent.status, intent.error_code, intent.payment_method, action)
        stored = (row.status, row.error_code, row.payment_method_id, row.next_action)
        if at_stripe != stored or row.is_unverified:
            read = replace(intent, version=row.version)
            outcome = sync_payment_intent(self.shop, read, Trigger.RECONCILER)
            self.report.synced += outcome not in _NOTHING_DONE

    def _cancel(self, payment_intent: str) -> PaymentIntent:
        try:
            return self.gateway.cancel_payment_intent(payment_intent)
        except InvalidState:
            # It was paid at this very moment.
            return self.gateway.retrieve_payment_intent(payment_intent)

    def _retrieve_and_sync(self, row: _OpenPayment) -> None:
        def alert(session: Session) -> None:
            order, now = session.get_one(Order, row.order_id), self.shop.clock.now()
            payment = session.get_one(Payment, row.id)
            kind = "payment_not_confirmed" if row.is_unverified else "missing_at_stripe"
            alert_missing(session, order, payment, now, kind)

        try:
            intent = self.gateway.retrieve_payment_intent(row.payment_intent)
        except StripeNotFound:
            self.shop.db.transaction(alert)
            raise
        self._sync(row, intent)

    def _cancel_orphan(self, intent: PaymentIntent) -> None:
        """Cancels an orphan; nobody has its client secret, so nobody can be paying it."""
        with self.shop.db.reading() as session:
            orphan = is_orphan(session, intent, self._shop_id)
        if orphan:
            # It may have ended since the list was read: the next run sees how.
            with suppress(InvalidState):
                self.gateway.cancel_payment_intent(intent.id)
                log.warning("reconcile.orphan_canceled", payment_intent=intent.id)

    def _alert_unknown(self, intents: list[PaymentIntent]) -> None:
        """Raises an alert for each of these payments that no order has."""
        with self.shop.db.reading() as session:
            unknown = without_order(session, intents)
        if unknown:
            self.report.unknown += len(unknown)
            alert_unknown(self.shop, unknown)

    def _receive(self, event: Any) -> None:
        self.report.events += inbox.receive(self.shop, event)

    def _each(self, label: str, act: Callable[..., None], *args: Any) -> None:
        """Runs `act(*args)` for one item; a failure is reported and stops no other item."""
        try:
            act(*args)
        except Exception as error:  # noqa: BLE001 - one bad item must not stop the others
            self._report_failure(label, error)
        else:
            self._unreachable = 0

    def _read(self, label: str, items: Iterator[T]) -> Iterator[T]:
        """The items of a list of Stripe's, as far as it can be read."""
        try:
            yield from items
        except Exception as error:  # noqa: BLE001 - open rows can still be retrieved one by one
            self.report.complete = False
            self._report_failure(label, error)

    def _report_failure(self, label: str, error: Exception) -> None:
        name = type(error).__name__
        self.report.failed.append(f"{label}: {name}: {error}")
        if isinstance(error, StripeNotAsked):
            raise _StripeDown
        unexpected = None if isinstance(error, GatewayError) else error
        log.error("reconcile.failed", item=label, error=name, exc_info=unexpected)
        self._unreachable = self._unreachable + 1 if isinstance(error, StripeUnreachable) else 0
        keys_refused = isinstance(error, AuthenticationFailed) and not isinstance(
            error, PermissionDenied
        )
        if keys_refused or self._unreachable == _MAX_UNREACHABLE:
            raise _StripeDown


def _open_payments(session: Session, account: str) -> dict[str, _OpenPayment]:
    """The open payments of this mode and account, and those that a webhook alone reported as paid.

    By PaymentIntent.
    """
    query = (
        select(
            Payment.payment_intent_id,
            Payment.id,
            Payment.status,
            Payment.error_code,
            Payment.payment_method_id,
            Payment.next_action,
            Payment.version,
            Payment.created_at,
            Payment.verified_at,
            Payment.order_id,
            Order.code,
            Order.status,
        )
        .join(Order, Order.id == Payment.order_id)
        .where(
            Payment.payment_intent_id.is_not(None),
            or_(
                Payment.status.not_in(_FINAL),
                and_(
                    Payment.status == PaymentIntentStatus.SUCCEEDED, Payment.verified_at.is_(None)
                ),
            ),
        )
        .where(own_orders(account))
        .order_by(Payment.id)
    )
    rows: Iterator[tuple[Any, ...]] = map(tuple, session.execute(query))
    return {str(row[0]): _OpenPayment(*row) for row in rows}


def _undecided(
    session: Session, table: type[Refund] | type[Dispute], undecided: Any, account: str
) -> dict[str, tuple[Any, ...]]:
    """The states of undecided rows of this mode and account, by Stripe's id."""
    query = (
        select(table)
        .join(Payment, Payment.id == table.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(undecided, table.stripe_id.is_not(None), own_orders(account))
    )
    rows: Iterator[Any] = iter(session.scalars(query))
    return {str(row.stripe_id): _state(row) for row in rows}


def _state(item: Any) -> tuple[Any, ...]:
    """What can change of a refund or a dispute, be it Stripe's or its row."""
    if isinstance(item, Refund | StripeRefund):
        return (item.status,)
    return item.status, item.amount, item.is_charge_refundable
