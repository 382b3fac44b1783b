"""The reconciler: asks Stripe about everything that is open, in case webhooks never arrived.

Every open payment, pending refund and undecided dispute is compared with Stripe, and the inbox
gets the events that were never received. What differs goes through the same functions as
everything else that Stripe reports. Lists are read first, a hundred objects a call; what they do
not show is retrieved one by one. Each item is on its own: a bad one is reported and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.checkout.states import Trigger
from tmt.core import cursors
from tmt.core.clock import from_unix
from tmt.gateway import inbox
from tmt.gateway.errors import GatewayError, StripeNotFound, StripeUnreachable
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
from tmt.payments.alerts import raise_alert
from tmt.payments.disputes import record_dispute
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.refunds import record_refund
from tmt.payments.sync import Outcome, sync_payment_intent
from tmt.payments.webhook_handlers import HANDLERS
from tmt.shop import Shop

log = structlog.get_logger(__name__)
T = TypeVar("T")

# How far Stripe's events have been read, by Stripe's clock; and when refunds and disputes of the
# whole lookback were last compared, as one that has succeeded can fail weeks later.
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
# Stripe's lists come in pages of so many.
_PAGE_SIZE = 100
# After so many items in a row without an answer, Stripe is down.
_MAX_UNREACHABLE = 3


@dataclass
class Report:
    """What a run did; `failed` says of each item that could not be reconciled which and why.

    `checked` are open payments, refunds and disputes that were compared; `synced` payments and
    `recorded` refunds and disputes had changed; `events` had never been received. A run is not
    complete when Stripe stopped answering: the next one does the rest.
    """

    checked: int = 0
    synced: int = 0
    recorded: int = 0
    events: int = 0
    failed: list[str] = field(default_factory=list)
    complete: bool = True


def reconcile(shop: Shop, gateway: Gateway, since: datetime | None = None) -> Report:
    """Brings the shop into line with Stripe; for the jobs, and safe at any time.

    Lists are read from where the last complete run ended, or from `since`. Stripe keeps events for
    30 days. Never raises for what a single item or Stripe does.
    """
    run = _Run(shop, gateway)
    with shop.db.reading() as session:
        first = first_payment_at(session, shop)
        events_read = cursors.read(session, _cursor(shop, _EVENTS_CURSOR))
        last_full_run = cursors.read(session, _cursor(shop, _FULL_RUN_CURSOR))
    if first is None:
        return run.report
    now = shop.clock.now()
    earliest = max(first - _OVERLAP, now - _LOOKBACK)
    start = since or (max(events_read - _OVERLAP, earliest) if events_read else earliest)
    is_full_run = since is None and not (last_full_run and now - last_full_run < _FULL_RUN_INTERVAL)
    refunds_start = earliest if is_full_run else start
    newest_event: datetime | None = None
    try:
        run.payments(start)
        run.refunds(refunds_start)
        run.disputes(refunds_start)
        newest_event = run.events(max(start, now - _EVENTS_RETENTION))
    except _StripeDown:
        run.report.complete = False
        log.warning("reconcile.stripe_unreachable", failed=len(run.report.failed))
    if run.report.complete:

        def advance_cursors(session: Session) -> None:
            if newest_event:
                cursors.advance(session, _cursor(shop, _EVENTS_CURSOR), newest_event)
            if is_full_run or since is not None:
                cursors.advance(session, _cursor(shop, _FULL_RUN_CURSOR), now)

        shop.db.transaction(advance_cursors)
    log.info("reconcile.done", **(asdict(run.report) | {"failed": len(run.report.failed)}))
    return run.report


def sync_with_stripe(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Brings one PaymentIntent with its refunds and disputes into line; raises `GatewayError`."""
    intent = gateway.retrieve_payment_intent(payment_intent)
    sync_payment_intent(shop, intent, Trigger.RECONCILER)
    for refund in gateway.list_refunds(payment_intent=payment_intent):
        record_refund(shop, refund, Trigger.RECONCILER)
    for dispute in gateway.list_disputes(payment_intent=payment_intent):
        record_dispute(shop, dispute, Trigger.RECONCILER)


def is_orphan(session: Session, intent: PaymentIntent) -> bool:
    """Whether it was created for an order that has ended without storing its id."""
    query = (
        select(Payment.id)
        .join(Order, Order.id == Payment.order_id)
        .where(Order.code == intent.metadata.get("order"), Order.status != OrderStatus.HELD)
        .where(Payment.id == payment_in_metadata(intent))
        .where(Payment.payment_intent_id.is_(None))
    )
    return session.scalar(query) is not None


def _cursor(shop: Shop, name: str) -> str:
    """The cursor's name, of which each Stripe account and mode that shares a database has one."""
    mode, _, stripe_account = shop.db.account.partition(":")
    return f"{name}/{mode[0]}/{stripe_account[-16:]}" if stripe_account else name


def payment_in_metadata(intent: PaymentIntent) -> int:
    """The id of the payment that its metadata names; 0 if it names none."""
    number = intent.metadata.get("payment", "")
    return int(number) if number.isdecimal() and len(number) < 18 else 0


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
    """Stripe has not answered several times in a row."""


@dataclass(frozen=True)
class _OpenPayment:
    """A payment that Stripe may have changed, as its row has it, and its order."""

    payment_intent: str
    id: int
    status: str
    error_code: str | None
    created_at: datetime
    order_id: int
    order_code: str
    order_status: OrderStatus

    @property
    def label(self) -> str:
        """What names it in reports and logs."""
        return f"order {self.order_code}, {self.payment_intent}"


class _Run:
    """One run, with its report."""

    def __init__(self, shop: Shop, gateway: Gateway) -> None:
        self.shop, self.gateway = shop, gateway
        self.report = Report()
        self._unreachable = 0

    def payments(self, start: datetime) -> None:
        """Syncs open payments, and cancels PaymentIntents that no order has stored."""
        settings = self.shop.settings
        with self.shop.db.reading() as session:
            waiting = _open_payments(session, self.shop)
        # A PaymentIntent whose order ended before its id was stored is no older than a hold.
        longest_hold = timedelta(minutes=settings.hold_minutes * (1 + settings.hold_extensions))
        orphans_since = start - longest_hold
        since = min([orphans_since, *(row.created_at - _OVERLAP for row in waiting.values())])
        intents = self.gateway.list_payment_intents(int(since.timestamp()))
        for number, intent in enumerate(self._read("the list of payments", intents)):
            is_old = intent.created < int(orphans_since.timestamp())
            if is_old and number // _PAGE_SIZE > len(waiting):
                break  # Retrieving the rest one by one takes fewer calls.
            if row := waiting.pop(intent.id, None):
                self._each(row.label, self._sync, row, intent)
            elif not intent.status.is_final and intent.metadata.get("platform") == "TMT":
                self._each(intent.id, self._cancel_orphan, intent)
        for row in waiting.values():
            self._each(row.label, self._retrieve_and_sync, row)

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
            lambda dispute: record_dispute(self.shop, dispute, Trigger.RECONCILER),
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
            waiting = _statuses(session, table, undecided, self.shop)

        def record_counted(item: StripeRefund | StripeDispute) -> None:
            self.report.recorded += record(item)

        def retrieve_and_record(stripe_id: str, status: str) -> None:
            item = retrieve(stripe_id)
            self.report.checked += 1
            if item.status != status:
                record_counted(item)

        for batch in in_batches(self._read(f"the list of {name}", listed)):
            intents = {item.payment_intent for item in batch if item.payment_intent}
            our_intents = select(Payment.payment_intent_id).where(
                Payment.payment_intent_id.in_(intents)
            )
            rows = select(table.stripe_id, table.status).where(
                table.stripe_id.in_([item.id for item in batch])
            )
            with self.shop.db.reading() as session:
                ours = set(session.scalars(our_intents))
                statuses = {row[0]: row[1] for row in session.execute(rows)}
            for item in batch:
                self.report.checked += waiting.pop(item.id, None) is not None
                if item.payment_intent in ours and statuses.get(item.id) != item.status:
                    self._each(item.id, record_counted, item)
        for stripe_id, status in waiting.items():
            self._each(stripe_id, retrieve_and_record, stripe_id, status)

    def _sync(self, row: _OpenPayment, intent: PaymentIntent) -> None:
        self.report.checked += 1
        if row.order_status.is_abandoned and intent.status in _CANCELABLE:
            # Its hold was ended without its keys, while the shop ran with others.
            intent = self.gateway.cancel_payment_intent(intent.id)
        if (intent.status, intent.error_code) != (row.status, row.error_code):
            outcome = sync_payment_intent(self.shop, intent, Trigger.RECONCILER)
            self.report.synced += outcome not in (Outcome.UNCHANGED, Outcome.UNKNOWN_INTENT)

    def _retrieve_and_sync(self, row: _OpenPayment) -> None:
        def alert(session: Session) -> None:
            order, now = session.get_one(Order, row.order_id), self.shop.clock.now()
            details = {"payment_intent": row.payment_intent}
            raise_alert(session, "missing_at_stripe", str(row.id), order, now, **details)

        try:
            intent = self.gateway.retrieve_payment_intent(row.payment_intent)
        except StripeNotFound:
            self.shop.db.transaction(alert)
            raise
        self._sync(row, intent)

    def _cancel_orphan(self, intent: PaymentIntent) -> None:
        """Cancels an orphan; nobody has its client secret, so nobody can be paying it."""
        with self.shop.db.reading() as session:
            orphan = is_orphan(session, intent)
        if orphan:
            self.gateway.cancel_payment_intent(intent.id)
            log.warning("reconcile.orphan_canceled", payment_intent=intent.id)

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
        unexpected = None if isinstance(error, GatewayError) else error
        log.error("reconcile.failed", item=label, error=name, exc_info=unexpected)
        self._unreachable = self._unreachable + 1 if isinstance(error, StripeUnreachable) else 0
        if self._unreachable == _MAX_UNREACHABLE:
            raise _StripeDown


def _open_payments(session: Session, shop: Shop) -> dict[str, _OpenPayment]:
    """The open payments of this mode and account, by PaymentIntent."""
    query = (
        select(
            Payment.payment_intent_id,
            Payment.id,
            Payment.status,
            Payment.error_code,
            Payment.created_at,
            Payment.order_id,
            Order.code,
            Order.status,
        )
        .join(Order, Order.id == Payment.order_id)
        .where(Payment.payment_intent_id.is_not(None), Payment.status.not_in(_FINAL))
        .where(own_orders(shop.db.account))
        .order_by(Payment.id)
    )
    return {str(row[0]): _OpenPayment(str(row[0]), *row[1:]) for row in session.execute(query)}


def _statuses(
    session: Session, table: type[Refund] | type[Dispute], undecided: Any, shop: Shop
) -> dict[str, str]:
    """The statuses of undecided rows of this mode and account, by Stripe's id."""
    query = (
        select(table.stripe_id, table.status)
        .join(Payment, Payment.id == table.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(undecided, table.stripe_id.is_not(None))
        .where(own_orders(shop.db.account))
    )
    return {str(row[0]): row[1] for row in session.execute(query)}
