"""Rows that stand for something still to be done: the mechanics that outbox and inbox share.

A worker claims due rows with a lease, does one after the other, and marks each done or failed.
A worker that dies keeps nothing: its leases run out. A row that keeps failing waits longer each
time, with jitter, and is parked after two weeks of that, to be looked at by a person.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import (
    CursorResult,
    Index,
    Table,
    Text,
    Update,
    bindparam,
    func,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column

from tmt.core.log import redact_text

LEASE = timedelta(minutes=5)
PARKED_AFTER = 80
_LONGEST_WAIT = timedelta(hours=6)
_ERROR_LENGTH = 500


class Work:
    """The columns of a table whose rows are work."""

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    parked_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        open_rows = (cls.done_at.is_(None)) & (cls.parked_at.is_(None))
        name = f"ix_{cls.__tablename__}_open"  # type: ignore[attr-defined]
        return (Index(name, "due_at", sqlite_where=open_rows, postgresql_where=open_rows),)

    @property
    def state(self) -> str:
        """One word for lists: done, parked, failing or waiting."""
        if self.done_at:
            return "done"
        if self.parked_at:
            return "parked"
        return "failing" if self.attempts else "waiting"


W = TypeVar("W", bound=Work)


def claim(session: Session, kind: type[W], now: datetime, limit: int) -> Sequence[W]:
    """Up to `limit` due rows, oldest first, each leased to the caller and counted as an attempt."""
    due = (
        select(kind)
        .where(kind.done_at.is_(None), kind.parked_at.is_(None), kind.due_at <= now)
        .where(or_(kind.leased_until.is_(None), kind.leased_until < now))
        .order_by(kind.due_at, kind.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.scalars(due).all()
    for row in rows:
        row.leased_until = now + LEASE
        row.attempts += 1
    return rows


def finish(session: Session, kind: type[Work], row_id: int, now: datetime, **more: str) -> bool:
    """Marks the row done; False when it already was, so that its effect is not repeated.

    `more` are other columns to be set with it.
    """
    table = cast(Table, inspect(kind).local_table)
    marked = session.execute(_finishing(table), {"row": row_id, "now": now, **more})
    assert isinstance(marked, CursorResult)
    return marked.rowcount == 1


# Built once for each table: it runs for everything that is done.
@cache
def _finishing(table: Table) -> Update:
    return (
        update(table)
        .where(table.c.id == bindparam("row"), table.c.done_at.is_(None))
        .values(done_at=bindparam("now"), leased_until=None, parked_at=None, last_error=None)
    )


def fail(
    session: Session,
    kind: type[Work],
    row_id: int,
    error: str,
    now: datetime,
    *,
    pointless: bool = False,
    patient: bool = False,
) -> None:
    """Notes the error, redacted as in logs, and sets the time of the next attempt, if any.

    A `pointless` row is parked at once; a `patient` one never is.
    """
    row = session.get_one(kind, row_id, with_for_update=True)
    if row.done_at:
        return
    row.last_error = redact_text(error)[:_ERROR_LENGTH]
    row.leased_until = None
    row.due_at = now + backoff(row.attempts)
    if pointless or (row.attempts >= PARKED_AFTER and not patient):
        row.parked_at = now


def reopen(session: Session, kind: type[Work], row_id: int, now: datetime) -> None:
    """Makes the row due at once, also when it was done or parked."""
    row = session.get_one(kind, row_id, with_for_update=True)
    row.done_at = row.parked_at = row.leased_until = None
    row.due_at = now
    row.attempts = 0


def backoff(attempts: int) -> timedelta:
    """The wait after so many attempts: 2 s, 4 s, … up to six hours, each with 50 % jitter."""
    longest = min(2.0 ** min(attempts, 20), _LONGEST_WAIT.total_seconds())
    return timedelta(seconds=longest * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class Backlog:
    """How a table of work stands: rows that failed and are tried again, rows that are parked, and
    for how long the oldest row has been due without anybody claiming it."""

    failing: int
    parked: int
    unclaimed: timedelta


def backlog(session: Session, kind: type[Work], now: datetime) -> Backlog:
    """How the table stands now."""
    open_rows = kind.done_at.is_(None) & kind.parked_at.is_(None)
    free = or_(kind.leased_until.is_(None), kind.leased_until < now)
    due = session.scalar(select(func.min(kind.due_at)).where(open_rows, free))
    count = select(func.count()).select_from(kind)
    return Backlog(
        failing=session.scalar(count.where(open_rows, kind.attempts > 0)) or 0,
        parked=session.scalar(count.where(kind.done_at.is_(None), kind.parked_at.is_not(None)))
        or 0,
        unclaimed=max(now - due, timedelta()) if due else timedelta(),
    )
