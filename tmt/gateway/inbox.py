"""The inbox: every verified Stripe event, stored once and handled from there.

An event counts as received when its row is committed. It is handled by the jobs, each on its
own, and "handled" is set in the transaction of the effect, so a crash in between repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core import queued_rows
from tmt.core.clock import from_unix
from tmt.core.database import Base, InsertIfAbsent
from tmt.core.errors import NotFound
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import StripeEvent
from tmt.shop import Shop

# `unhandled`: no handler for this type. `ignored`: of the mode whose keys are not in use, or of
# another account that is connected to ours. `discarded`: a person has given it up.
HANDLED, UNHANDLED, IGNORED, DISCARDED = "handled", "unhandled", "ignored", "discarded"
_BATCH = 20

# Marks the event as handled. A handler calls it in the transaction of its effect; one without an
# effect need not.
MarkHandled = Callable[[Session], None]
Handler = Callable[[Shop, Gateway, StripeEvent, MarkHandled], None]


class InboxRow(queued_rows.QueuedRow, Base):
    """One Stripe event; `object` is what is stored of its data, nothing personal."""

    __tablename__ = "stripe_events"
    log_prefix = "inbox"

    event_id: Mapped[str] = mapped_column(String(255), unique=True)
    type: Mapped[str] = mapped_column(String(120))
    object_id: Mapped[str] = mapped_column(String(255), index=True)
    api_version: Mapped[str | None] = mapped_column(String(60))
    livemode: Mapped[bool]
    stripe_created: Mapped[datetime]
    object: Mapped[dict[str, Any]] = mapped_column(JSON)
    outcome: Mapped[str | None] = mapped_column(String(12))

    def as_event(self) -> StripeEvent:
        """The event, with what is stored of its object."""
        created = int(self.stripe_created.timestamp())
        return StripeEvent(
            self.event_id, self.type, created, self.livemode, self.api_version, self.object
        )

    def log_fields(self) -> dict[str, Any]:
        return {"stripe_event": self.event_id, "type": self.type, "object": self.object_id}


# Built once: it runs for every webhook.
_INSERT = InsertIfAbsent(InboxRow, "event_id")


def receive(shop: Shop, event: StripeEvent) -> bool:
    """Stores the event; False when it was stored before."""
    now = shop.clock.now()
    row = {
        "event_id": event.id,
        "type": event.type,
        "object_id": event.object_id,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "stripe_created": from_unix(event.created),
        "object": dict(event.object),
        "created_at": now,
        "due_at": now,
        "attempts": 0,
        "account": shop.db.account or None,
    }
    return shop.db.transaction(lambda session: _INSERT.run(session, row))


def drain(
    shop: Shop,
    gateway: Gateway,
    handlers: Mapping[str, Handler],
    on_parked: Callable[[Session, InboxRow], None] = lambda _session, _row: None,
) -> queued_rows.Drain[InboxRow]:
    """Handles the events that are due, each on its own.

    It goes on when Stripe does not answer: most events that pay an order need no call.
    """

    def handle(row: InboxRow, mark_done: queued_rows.MarkDone) -> None:
        handler = handlers.get(row.type)
        event = row.as_event()
        own_accounts = (None, shop.db.account.partition(":")[2])
        if row.livemode != shop.settings.livemode or event.connected_account not in own_accounts:
            mark_done.outcome = IGNORED
        elif handler is None:
            mark_done.outcome = UNHANDLED
        else:
            mark_done.outcome = HANDLED
            handler(shop, gateway, event, mark_done)

    return queued_rows.Drain(
        shop.db, shop.clock, InboxRow, handle, batch_size=_BATCH, on_parked=on_parked
    )


def find(session: Session, event_id: str) -> InboxRow:
    """The stored event of this Stripe id (evt_…); raises `NotFound`."""
    row = session.scalar(select(InboxRow).where(InboxRow.event_id == event_id))
    if row is None:
        raise NotFound(f"no stored event '{event_id[:80]}'")
    return row


def newest(session: Session, limit: int, only_open: bool) -> Sequence[InboxRow]:
    """The newest events, for lists."""
    query = select(InboxRow).order_by(InboxRow.id.desc()).limit(limit)
    if only_open:
        query = query.where(InboxRow.done_at.is_(None))
    return session.scalars(query).all()


def discard(shop: Shop, event_id: str) -> None:
    """Gives an event up that failed, so that it is never tried again; raises `NotFound`."""

    def unit(session: Session) -> None:
        row = find(session, event_id)
        if row.done_at or not row.last_error:
            raise NotFound(f"the event '{event_id[:80]}' did not fail")
        row.done_at, row.leased_until, row.outcome = shop.clock.now(), None, DISCARDED

    shop.db.transaction(unit)


def replay(shop: Shop, event_id: str) -> None:
    """Has the event handled again by the next run of the jobs; raises `NotFound`."""

    def unit(session: Session) -> None:
        row = find(session, event_id)
        queued_rows.reopen(session, InboxRow, row.id, shop.clock.now())
        row.outcome = None

    shop.db.transaction(unit)
