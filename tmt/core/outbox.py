"""What must happen outside (a mail, a refund) as rows, written with the reason for it.

A row is put into the transaction that decides on it and is run by the jobs after the commit,
again until it is done. Its key is unique: the same mail or refund is never put twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, String, not_, or_, select, true, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core import queued_rows
from tmt.core.clock import Clock
from tmt.core.database import Base, Database, InsertIfAbsent, account_of
from tmt.core.errors import NotFound

# A handler gets the row's key and payload. It may run again after it succeeded, as a crash can hide
# its success: so what it does outside needs a key of its own there.
Handler = Callable[[str, dict[str, Any]], None]


class OutboxRow(queued_rows.QueuedRow, Base):
    """One mail or refund to send; `kind` names its handler."""

    __tablename__ = "outbox"
    log_prefix = "outbox"

    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(120), unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)

    def log_fields(self) -> dict[str, Any]:
        return {"kind": self.kind, "row": self.id}


_INSERT = InsertIfAbsent(OutboxRow, "key")
_STRIPE_KINDS = ("refund", "event_change", "event_order", "plan", "end_membership")


def put(
    session: Session,
    kind: str,
    key: str,
    payload: dict[str, Any],
    now: datetime,
    due: datetime | None = None,
    account: str | None = None,
) -> None:
    """Adds the row unless there is one of this key already; the payload holds ids, no names.

    It is due at once, or at `due`, for processes of `account`, or else of the session's.
    """
    row = {"kind": kind, "key": key, "payload": payload, "created_at": now, "due_at": due or now}
    _INSERT.run(session, row | {"attempts": 0, "account": account or account_of(session) or None})


def put_off(session: Session, key: str, due: datetime) -> None:
    """Makes the row of this key due at `due`, if it waits and would be due sooner."""
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.key == key, OutboxRow.due_at < due)
        .where(OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None))
        .values(due_at=due)
    )


def due_at(session: Session, key: str) -> datetime | None:
    """When the row of this key is due; None if none of it waits."""
    query = select(OutboxRow.due_at).where(OutboxRow.key == key)
    return session.scalar(query.where(OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None)))


def lanes() -> dict[str, ColumnElement[bool]]:
    """The jobs that run the outbox, each with its rows, so that none waits behind another's party.

    Refunds, plans, memberships and what a canceled event does to its orders wait for Stripe; alerts
    do not wait behind a crowd's mails; all other kinds are mails.
    """
    refunds = OutboxRow.kind.in_(_STRIPE_KINDS)
    alerts = OutboxRow.kind == "operator_alert"
    return {"refunds": refunds, "alerts": alerts, "mails": not_(or_(refunds, alerts))}


def drain(
    db: Database,
    clock: Clock,
    handlers: Mapping[str, Handler],
    condition: ColumnElement[bool] | None = None,
    on_parked: Callable[[Session, OutboxRow], None] = lambda _session, _row: None,
) -> queued_rows.Drain[OutboxRow]:
    """Runs the rows that are due, of all kinds or of those that fulfil the condition.

    Rows are claimed one at a time: a slow mail server must not outlast a lease. When it does not
    answer, the rest waits.
    """

    def handle(row: OutboxRow, _mark_done: queued_rows.MarkDone) -> None:
        handlers[row.kind](row.key, row.payload)

    return queued_rows.Drain(
        db,
        clock,
        OutboxRow,
        handle,
        condition=true() if condition is None else condition,
        stops=True,
        on_parked=on_parked,
    )


def newest(session: Session, limit: int, only_open: bool) -> Sequence[OutboxRow]:
    """The newest rows, for lists."""
    query = select(OutboxRow).order_by(OutboxRow.id.desc()).limit(limit)
    if only_open:
        query = query.where(OutboxRow.done_at.is_(None))
    return session.scalars(query).all()


def discard(db: Database, clock: Clock, row_id: int) -> None:
    """Marks a row that failed as done, so that it is never tried again; raises `NotFound`."""

    def unit(session: Session) -> None:
        row = session.get(OutboxRow, row_id, with_for_update=True)
        if row is None or row.done_at or not row.last_error:
            raise NotFound(f"no row {row_id} in the outbox that failed")
        row.done_at, row.leased_until = clock.now(), None

    db.transaction(unit)


def retry(db: Database, clock: Clock, row_id: int) -> None:
    """Makes a row that is not done due at once, also when it was parked; raises `NotFound`."""

    def unit(session: Session) -> None:
        row = session.get(OutboxRow, row_id)
        if row is None or row.done_at:
            raise NotFound(f"no open row {row_id} in the outbox")
        queued_rows.reopen(session, OutboxRow, row_id, clock.now())

    db.transaction(unit)
