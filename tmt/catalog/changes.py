"""Changes of an event that its buyers must hear of: it is canceled, or held elsewhere or later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog.models import ChangeKind, Event, EventChange, EventStatus
from tmt.core import outbox


class Described(Protocol):
    """What says when and where something takes place: an event, or a catalogue file's row."""

    @property
    def status(self) -> str: ...
    @property
    def ends_at(self) -> datetime: ...


@dataclass(frozen=True)
class Appointment:
    """When (UTC) and where an event takes place, as pages show it."""

    starts_at: datetime
    ends_at: datetime
    time_zone: str
    venue: str
    address: str
    city: str
    online: bool

    @classmethod
    def of(cls, event: Described) -> Appointment:
        return cls(**{field.name: getattr(event, field.name) for field in fields(cls)})

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Appointment:
        """What `stored` wrote."""
        times = {name: datetime.fromisoformat(stored[name]) for name in ("starts_at", "ends_at")}
        return cls(**{**stored, **times})

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        times = {name: getattr(self, name).isoformat() for name in ("starts_at", "ends_at")}
        return {**asdict(self), **times}


def kind_of_change(event: Event, planned: Described, now: datetime) -> ChangeKind | None:
    """What buyers of the event would have to hear if it became as planned; None for nothing.

    Nobody is told of an event that was over before and stays so.
    """
    if planned.status == EventStatus.CANCELED:
        return None if event.status == EventStatus.CANCELED else ChangeKind.CANCELED
    is_over = max(event.ends_at, planned.ends_at) <= now
    is_moved = Appointment.of(event) != Appointment.of(planned)
    return ChangeKind.MOVED if is_moved and not is_over else None


def record_change(
    session: Session,
    event: Event,
    kind: ChangeKind,
    now: datetime,
    *,
    before: Appointment,
    message: str = "",
    with_mail: bool = True,
) -> EventChange:
    """Writes the change, and puts the work that follows from it into the outbox.

    Without `with_mail` it is shown on the buyers' pages, and nobody gets a mail.
    """
    change = EventChange(
        event_id=event.id,
        kind=kind,
        before=before.stored(),
        message=message,
        with_mail=with_mail,
        created_at=now,
    )
    session.add(change)
    session.flush()
    outbox.put(session, "event_change", f"event-change-{change.id}-0", {"change": change.id}, now)
    return change


def cancellation(session: Session, event_id: int) -> EventChange | None:
    """The event's cancellation, if its buyers are informed of one."""
    query = select(EventChange).where(
        EventChange.event_id == event_id, EventChange.kind == ChangeKind.CANCELED
    )
    return session.scalar(query.limit(1))


def changes_of(session: Session, event_id: int) -> Sequence[EventChange]:
    """The event's changes, oldest first."""
    query = select(EventChange).where(EventChange.event_id == event_id)
    return session.scalars(query.order_by(EventChange.id)).all()


@dataclass(frozen=True)
class News:
    """What pages say of an event's changes: when and where it was to be, if it was moved; whether
    it is canceled and its buyers are refunded, with the organiser's words."""

    moved_from: Appointment | None
    is_refunded: bool
    message: str


def news_of(session: Session, event: Event, since: datetime | None = None) -> News:
    """What changed of the event, after `since` (the time of an order) or at all."""
    changes = changes_of(session, event.id)
    moves = [c for c in changes if c.kind == ChangeKind.MOVED]
    if since:
        moves = [change for change in moves if change.created_at >= since]
    before = Appointment.read(moves[0].before) if moves else None
    messages = [c.message for c in changes if c.kind == ChangeKind.CANCELED]
    moved_from = None if before == Appointment.of(event) else before
    return News(moved_from, bool(messages), "".join(messages[:1]))
