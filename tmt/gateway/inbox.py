"""What Stripe told us: every verified event, stored once, and handled from there.

An event counts as received when its row is committed. It is handled by the jobs, each on its
own, and "handled" is set in the transaction of the effect, so a crash in between repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core import work
from tmt.core.clock import from_unix
from tmt.core.db import Base, InsertOnce
from tmt.core.errors import NotFound
from tmt.gateway.contract import Event, Gateway
from tmt.shop import Shop

log = structlog.get_logger(__name__)

HANDLED, UNHANDLED, IGNORED = "handled", "unhandled", "ignored"
_BATCH = 20

Done = Callable[[Session], None]
# A handler calls `done(session)` in the transaction of its effect; one without effect need not.
Handler = Callable[[Shop, Gateway, Event, Done], None]


class StripeEvent(work.Work, Base):
    """One event of Stripe's; `object` is what is kept of its data, nothing personal."""

    __tablename__ = "stripe_events"

    event_id: Mapped[str] = mapped_column(String(255), unique=True)
    type: Mapped[str] = mapped_column(String(120))
    object_id: Mapped[str] = mapped_column(String(255), index=True)
    api_version: Mapped[str | None] = mapped_column(String(60))
    livemode: Mapped[bool]
    stripe_created: Mapped[datetime]
    object: Mapped[dict[str, Any]] = mapped_column(JSON)
    outcome: Mapped[str | None] = mapped_column(String(12))

    def as_event(self) -> Event:
        created = int(self.stripe_created.timestamp())
        return Event(
            self.event_id, self.type, created, self.livemode, self.api_version, self.object
        )


def receive(shop: Shop, event: Event) -> bool:
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
    }
    return shop.db.transaction(lambda session: _INSERT.run(session, row))


# Built once: it runs for everything that Stripe says.
_INSERT = InsertOnce(StripeEvent, "event_id")


def drain(shop: Shop, gateway: Gateway, handlers: Mapping[str, Handler]) -> int:
    """Handles every event that is due, each on its own; how many were done."""
    done = 0
    while True:
        rows = shop.db.transaction(lambda s: work.claim(s, StripeEvent, shop.clock.now(), _BATCH))
        done += _leave(shop, handlers, rows)
        for row in rows:
            if handler := _handler_of(shop, handlers, row):
                done += _handle(shop, gateway, handler, row)
        if len(rows) < _BATCH:
            return done


def find(session: Session, event_id: str) -> StripeEvent:
    """The stored event of this Stripe id (evt_…); `NotFound`."""
    row = session.scalar(select(StripeEvent).where(StripeEvent.event_id == event_id))
    if row is None:
        raise NotFound(f"no stored event '{event_id[:80]}'")
    return row


def newest(session: Session, limit: int, only_open: bool) -> Sequence[StripeEvent]:
    """The newest events, for lists."""
    query = select(StripeEvent).order_by(StripeEvent.id.desc()).limit(limit)
    if only_open:
        query = query.where(StripeEvent.done_at.is_(None))
    return session.scalars(query).all()


def replay(shop: Shop, event_id: str) -> None:
    """Lets the event be handled again by the next run of the jobs."""

    def unit(session: Session) -> None:
        row = find(session, event_id)
        work.reopen(session, StripeEvent, row.id, shop.clock.now())
        row.outcome = None

    shop.db.transaction(unit)


def _handler_of(shop: Shop, handlers: Mapping[str, Handler], row: StripeEvent) -> Handler | None:
    return handlers.get(row.type) if row.livemode == shop.settings.livemode else None


def _leave(shop: Shop, handlers: Mapping[str, Handler], rows: Sequence[StripeEvent]) -> int:
    """Marks the events with which nothing is to be done, all at once; how many they are."""
    left = [row for row in rows if _handler_of(shop, handlers, row) is None]
    now = shop.clock.now()

    def outcome(row: StripeEvent) -> str:
        return UNHANDLED if row.livemode == shop.settings.livemode else IGNORED

    def unit(session: Session) -> None:
        for row in left:
            work.finish(session, StripeEvent, row.id, now, outcome=outcome(row))

    if left:
        shop.db.transaction(unit)
    for row in left:
        _say(outcome(row), row)
    return len(left)


def _say(outcome: str, row: StripeEvent) -> None:
    log.info(f"event.{outcome}", stripe_event=row.event_id, type=row.type, object=row.object_id)


def _handle(shop: Shop, gateway: Gateway, handler: Handler, row: StripeEvent) -> bool:
    event, now = row.as_event(), shop.clock.now()
    marked = False

    def done(session: Session) -> None:
        nonlocal marked
        marked = True
        work.finish(session, StripeEvent, row.id, now, outcome=HANDLED)

    try:
        handler(shop, gateway, event, done)
        if not marked:
            shop.db.transaction(done)
    except Exception as error:
        # One bad event must not stop the others.
        text = f"{type(error).__name__}: {error}"
        shop.db.transaction(lambda s: work.fail(s, StripeEvent, row.id, text, now))
        log.exception("event.failed", stripe_event=event.id, type=event.type, attempts=row.attempts)
        return False
    _say(HANDLED, row)
    return True
