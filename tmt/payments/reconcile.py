"""Asking Stripe about all that is open, for the webhooks and answers that never came.

Every open payment, pending refund and undecided dispute is asked about, and the inbox gets the
events that never arrived. What differs from its row goes through the same doors as everything
else that Stripe says. Lists are asked first, a hundred objects a call; what they do not show is
asked for one by one. Each item is on its own: a bad one is counted and named, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import HELD, Cause
from tmt.core import marks
from tmt.core.clock import from_unix
from tmt.gateway import contract, inbox
from tmt.gateway.contract import Event, Gateway, Gone, PaymentIntent
from tmt.gateway.inbox import StripeEvent
from tmt.payments.disputes import book_dispute
from tmt.payments.handlers import HANDLERS
from tmt.payments.models import DISPUTE_OVER, Dispute, Payment, Refund
from tmt.payments.notices import notify
from tmt.payments.reconcile_run import PAGE, Report, Run, StripeSilent, batches
from tmt.payments.refunds import book_refund
from tmt.payments.settle import Outcome, settle
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# How far Stripe's events have been read, by Stripe's clock; and when refunds and disputes of all
# this time were last looked through, as one that has succeeded can fail for weeks.
_READ, _LOOKED_BACK = "events_read", "reconciled_far_back"
_FAR_BACK, _LOOK_BACK_EVERY = timedelta(days=35), timedelta(days=1)
# Events become visible a little later than they are dated, and clocks differ.
_OVERLAP = timedelta(hours=1)
_EVENTS_KEPT = timedelta(days=30)
_FINAL = (contract.SUCCEEDED, contract.CANCELED)


def reconcile(shop: Shop, gateway: Gateway, since: datetime | None = None) -> Report:
    """Brings the shop into line with Stripe; for the jobs, and safe at any time.

    Lists are read from where the last complete run left off, or from `since`. Stripe keeps
    events for 30 days. Never raises for what a single item or Stripe does.
    """
    run = Run(shop, gateway)
    first = run.read(_first_payment, shop.settings.livemode)
    if first is None:
        return run.report
    now = shop.clock.now()
    starts, far_back = _starts(run, since, max(first - _OVERLAP, now - _FAR_BACK))
    read: datetime | None = None
    try:
        _payments(run, starts)
        _returned(run, _refunds_of(gateway), far_back or starts)
        _returned(run, _disputes_of(gateway), far_back or starts)
        read = _events(run, max(starts, now - _EVENTS_KEPT))
    except StripeSilent:
        run.report.complete = False
        log.warning("reconcile.stripe_silent", failed=len(run.report.failed))
    if run.report.complete:
        shop.db.transaction(lambda s: _keep_marks(s, read, now if far_back else None))
    told = vars(run.report) | {"failed": len(run.report.failed)}
    log.info("reconcile.done", **told)
    return run.report


def ask_about(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Brings one PaymentIntent with its refunds and disputes into line; raises `GatewayError`."""
    settle(shop, gateway.retrieve_payment_intent(payment_intent), Cause.RECONCILER)
    for refund in gateway.list_refunds(payment_intent=payment_intent):
        book_refund(shop, refund, Cause.RECONCILER)
    for dispute in gateway.list_disputes(payment_intent=payment_intent):
        book_dispute(shop, dispute, Cause.RECONCILER)


def _starts(
    run: Run, since: datetime | None, earliest: datetime
) -> tuple[datetime, datetime | None]:
    """From when lists are read, and from when refunds and disputes are in a run that looks far."""
    if since is not None:
        return since, since
    with run.shop.db.reading() as session:
        read, looked = marks.read(session, _READ), marks.read(session, _LOOKED_BACK)
    recently = looked and run.shop.clock.now() - looked < _LOOK_BACK_EVERY
    starts = max(read - _OVERLAP, earliest) if read else earliest
    return starts, None if recently else earliest


def _keep_marks(session: Session, read: datetime | None, looked_back: datetime | None) -> None:
    if read:
        marks.set_mark(session, _READ, read)
    if looked_back:
        marks.set_mark(session, _LOOKED_BACK, looked_back)


def _first_payment(session: Session, livemode: bool) -> datetime | None:
    """When the first payment with the keys in use began: nothing older can be the shop's."""
    query = select(func.min(Payment.id)).join(Order, Order.id == Payment.order_id)
    first = session.scalar(query.where(Order.livemode == livemode))
    return session.get_one(Payment, first).created_at if first else None


# Payments


@dataclass(frozen=True)
class _Open:
    """A payment that Stripe may have moved on, as its row has it, and its order."""

    payment_intent: str
    id: int
    status: str
    error_code: str | None
    created_at: datetime
    order_id: int
    code: str


def _payments(run: Run, starts: datetime) -> None:
    waiting = run.read(_open_payments, run.shop.settings.livemode)
    # A PaymentIntent whose order ended before its id was stored is as old as a hold can be.
    settings = run.shop.settings
    longest = timedelta(minutes=settings.hold_minutes * (1 + settings.hold_extensions))
    looked = min([starts - longest, *(row.created_at - _OVERLAP for row in waiting.values())])
    newest = int((starts - longest).timestamp())
    listing = run.gateway.list_payment_intents(int(looked.timestamp()))
    for number, intent in enumerate(run.listed("the list of payments", listing)):
        if number // PAGE > len(waiting) and intent.created < newest:
            break  # What is left is found with fewer calls one by one.
        row = waiting.pop(intent.id, None)
        if row:
            run.each(_name(row), _settle, row, intent)
        elif intent.status not in _FINAL and intent.metadata.get("platform") == "TMT":
            run.each(intent.id, _close_forgotten, intent)
    for row in waiting.values():
        run.each(_name(row), _ask, row)


def _open_payments(session: Session, livemode: bool) -> dict[str, _Open]:
    """The open payments of the keys in use, by PaymentIntent."""
    columns: list[Any] = [getattr(Payment, f.name) for f in fields(_Open) if f.name != "code"]
    query = (
        select(*columns, Order.code)
        .join(Order, Order.id == Payment.order_id)
        .where(Payment.payment_intent.is_not(None), Payment.status.not_in(_FINAL))
        .where(Order.livemode == livemode)
        .order_by(Payment.id)
    )
    return {row[0]: _Open(*tuple(row)) for row in session.execute(query)}


def _name(row: _Open) -> str:
    return f"order {row.code}, {row.payment_intent}"


def _ask(run: Run, row: _Open) -> None:
    try:
        intent = run.gateway.retrieve_payment_intent(row.payment_intent)
    except Gone:
        run.shop.db.transaction(lambda s: _tell_gone(s, run, row))
        raise
    _settle(run, row, intent)


def _settle(run: Run, row: _Open, intent: PaymentIntent) -> None:
    run.report.asked += 1
    if (intent.status, intent.error_code) == (row.status, row.error_code):
        return
    outcome = settle(run.shop, intent, Cause.RECONCILER)
    run.report.settled += outcome not in (Outcome.UNCHANGED, Outcome.NOT_OURS)


def _tell_gone(session: Session, run: Run, row: _Open) -> None:
    order, now = session.get_one(Order, row.order_id), run.shop.clock.now()
    notify(session, "gone_at_stripe", str(row.id), order, now, payment_intent=row.payment_intent)


def _close_forgotten(run: Run, intent: PaymentIntent) -> None:
    """Cancels a PaymentIntent whose order ended before its id was stored; nobody has its secret."""
    if run.read(is_forgotten, intent):
        run.gateway.cancel_payment_intent(intent.id)
        log.warning("reconcile.forgotten_canceled", payment_intent=intent.id)


def is_forgotten(session: Session, intent: PaymentIntent) -> bool:
    """Whether it was made for an order that has ended without storing its id."""
    query = (
        select(Payment.id)
        .join(Order, Order.id == Payment.order_id)
        .where(Order.code == intent.metadata.get("order"), Order.status != HELD)
        .where(Payment.id == named_payment(intent))
        .where(Payment.payment_intent.is_(None))
    )
    return session.scalar(query) is not None


def named_payment(intent: PaymentIntent) -> int:
    """The id of the payment that it says it was made for; 0 if it says nothing of the kind."""
    number = intent.metadata.get("payment", "")
    return int(number) if number.isdecimal() and len(number) < 18 else 0


# Refunds and disputes


class _Seen(Protocol):
    """What refunds and disputes have in common as Stripe tells them."""

    @property
    def id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def payment_intent(self) -> str | None: ...


@dataclass(frozen=True)
class _Kind:
    """Refunds or disputes: their rows, and what is done with them."""

    name: str
    table: type[Refund] | type[Dispute]
    stripe_id: Any
    waits: Any
    listing: Callable[[int], Iterator[_Seen]]
    retrieve: Callable[[str], _Seen]
    book: Callable[..., bool]


def _refunds_of(gateway: Gateway) -> _Kind:
    return _Kind(
        "refunds",
        Refund,
        Refund.refund,
        Refund.status.in_(("pending", "requires_action")),
        lambda since: gateway.list_refunds(since=since),
        gateway.retrieve_refund,
        book_refund,
    )


def _disputes_of(gateway: Gateway) -> _Kind:
    return _Kind(
        "disputes",
        Dispute,
        Dispute.dispute,
        Dispute.status.not_in(DISPUTE_OVER),
        lambda since: gateway.list_disputes(since=since),
        gateway.retrieve_dispute,
        book_dispute,
    )


def _returned(run: Run, kind: _Kind, starts: datetime) -> None:
    """Books refunds or disputes that are new or other than their rows say."""
    waiting = run.read(_waiting, run.shop.settings.livemode, kind)
    listing = kind.listing(int(starts.timestamp()))
    for batch in batches(run.listed(f"the list of {kind.name}", listing)):
        ours, standing = run.read(_standing, kind, batch)
        for seen in batch:
            run.report.asked += waiting.pop(seen.id, None) is not None
            if seen.payment_intent in ours and standing.get(seen.id) != seen.status:
                run.each(seen.id, _book, kind, seen)
    for stripe_id, status in waiting.items():
        run.each(stripe_id, _ask_returned, kind, stripe_id, status)


def _waiting(session: Session, livemode: bool, kind: _Kind) -> dict[str, str]:
    """The undecided ones, with their status as the rows have it, by Stripe's id."""
    query = (
        select(kind.stripe_id, kind.table.status)
        .join(Payment, Payment.id == kind.table.payment_id)
        .join(Order, Order.id == Payment.order_id)
        .where(kind.waits, kind.stripe_id.is_not(None))
        .where(Order.livemode == livemode)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def _standing(
    session: Session, kind: _Kind, batch: list[_Seen]
) -> tuple[set[str | None], dict[str, str]]:
    """Which of the batch's PaymentIntents are the shop's, and the statuses that its rows have."""
    intents = {seen.payment_intent for seen in batch if seen.payment_intent}
    known = select(Payment.payment_intent).where(Payment.payment_intent.in_(intents))
    ours = set(session.scalars(known))
    query = select(kind.stripe_id, kind.table.status)
    rows = session.execute(query.where(kind.stripe_id.in_([seen.id for seen in batch])))
    return ours, {row[0]: row[1] for row in rows}


def _ask_returned(run: Run, kind: _Kind, stripe_id: str, status: str) -> None:
    seen = kind.retrieve(stripe_id)
    run.report.asked += 1
    if seen.status != status:
        _book(run, kind, seen)


def _book(run: Run, kind: _Kind, seen: _Seen) -> None:
    run.report.booked += kind.book(run.shop, seen, Cause.RECONCILER)


# Events


def _events(run: Run, starts: datetime) -> datetime | None:
    """Stores the events that never arrived; how far they are read now, if nothing was missed."""
    newest: datetime | None = None
    failed = len(run.report.failed)
    listing = run.gateway.list_events(int(starts.timestamp()), sorted(HANDLERS))
    for batch in batches(run.listed("the list of events", listing)):
        newest = newest or from_unix(batch[0].created)
        known = run.read(_stored, batch)
        for event in batch:
            if event.id not in known:
                run.each(event.id, _receive, event)
    if run.report.events:
        run.shop.jobs.nudge("inbox")
    return newest if failed == len(run.report.failed) else None


def _stored(session: Session, batch: list[Event]) -> set[str]:
    query = select(StripeEvent.event_id)
    return set(session.scalars(query.where(StripeEvent.event_id.in_([e.id for e in batch]))))


def _receive(run: Run, event: Event) -> None:
    run.report.events += inbox.receive(run.shop, event)
