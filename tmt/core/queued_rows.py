"""Database rows that stand for work still to be done: what the inbox and the outbox share.

A worker claims due rows with a lease, handles one after the other, and marks each done or failed.
A worker that dies loses nothing: its leases run out. A row that keeps failing waits longer each
time, with jitter, and is parked after 80 attempts, about two weeks, for a person to look at.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

import structlog
from sqlalchemy import (
    CursorResult,
    Index,
    String,
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

from tmt.core.clock import Clock
from tmt.core.database import Database, account_of, belongs_to
from tmt.core.errors import DomainError, PermanentFailure, RetryLater
from tmt.core.log import redact_text

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
MAX_ATTEMPTS = 80
_MAX_WAIT = timedelta(hours=6)
_MAX_ERROR_LENGTH = 500


class QueuedRow:
    """The columns of such a table."""

    # How log events of this table begin: "outbox.done".
    log_prefix: ClassVar[str]

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    parked_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    # The mode and Stripe account whose processes handle the row; any, where it is not stored.
    account: Mapped[str | None] = mapped_column(String(80))
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
        return "failing" if self.last_error else "waiting"

    def log_fields(self) -> dict[str, Any]:
        """What names the row in a log line; no personal data."""
        raise NotImplementedError


Row = TypeVar("Row", bound=QueuedRow)


class MarkDone:
    """Marks the row that is being handled as done, in the transaction it is called in.

    `outcome` is for the log, and for tables that have such a column.
    """

    def __init__(self, table: type[QueuedRow], row_id: int, clock: Clock) -> None:
        self._table, self._row_id, self._clock = table, row_id, clock
        self.outcome: str | None = None
        self.called = False

    def __call__(self, session: Session) -> None:
        self.called = True
        columns = {} if self.outcome is None else {"outcome": self.outcome}
        mark_done(session, self._table, self._row_id, self._clock.now(), **columns)


def run_due(
    db: Database,
    clock: Clock,
    table: type[Row],
    handle: Callable[[Row, MarkDone], None],
    batch_size: int = 1,
) -> int:
    """Handles all rows that are due, each on its own; the number that succeeded.

    A handler calls its MarkDone in the transaction of its effect, so that a crash in between
    repeats or undoes both; for one that does not, the row is marked afterwards, and the handler
    may run again after it succeeded. `batch_size` rows are claimed at a time: handling that many
    must not outlast the lease.
    """
    succeeded = 0
    while True:
        rows = db.transaction(lambda s: claim(s, table, clock.now(), batch_size))
        for row in rows:
            succeeded += _handle_row(db, clock, table, handle, row)
        if len(rows) < batch_size:
            return succeeded


def _handle_row(
    db: Database, clock: Clock, table: type[Row], handle: Callable[[Row, MarkDone], None], row: Row
) -> bool:
    marker = MarkDone(table, row.id, clock)
    try:
        handle(row, marker)
        if not marker.called:
            db.transaction(marker)
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        text = f"{type(error).__name__}: {error}"
        permanent = isinstance(error, PermanentFailure)
        retry_forever = isinstance(error, RetryLater)
        db.transaction(
            lambda s: mark_failed(
                s,
                table,
                row.id,
                text,
                clock.now(),
                permanent=permanent,
                retry_forever=retry_forever,
            )
        )
        # What the shop itself raises needs no traceback.
        expected = isinstance(error, DomainError | PermanentFailure)
        write = log.warning if expected else log.exception
        write(f"{table.log_prefix}.failed", attempts=row.attempts, error=text, **row.log_fields())
        return False
    log.info(
        f"{table.log_prefix}.{marker.outcome or 'done'}", attempts=row.attempts, **row.log_fields()
    )
    return True


def claim(session: Session, table: type[Row], now: datetime, limit: int) -> Sequence[Row]:
    """Up to `limit` due rows, oldest first, each leased to the caller and counted as an attempt."""
    due = (
        select(table)
        .where(table.done_at.is_(None), table.parked_at.is_(None), table.due_at <= now)
        .where(or_(table.leased_until.is_(None), table.leased_until < now))
        .where(belongs_to(table.account, account_of(session)))
        .order_by(table.due_at, table.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.scalars(due).all()
    for row in rows:
        row.leased_until = now + LEASE
        row.attempts += 1
    return rows


def mark_done(
    session: Session, table: type[QueuedRow], row_id: int, now: datetime, **columns: str
) -> bool:
    """Marks the row done; False when it already was.

    `columns` are other columns that are set with it.
    """
    statement = _mark_done_statement(cast(Table, inspect(table).local_table))
    result = session.execute(statement, {"row": row_id, "now": now, **columns})
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


# Built once for each table: it runs for every row that succeeds.
@cache
def _mark_done_statement(table: Table) -> Update:
    return (
        update(table)
        .where(table.c.id == bindparam("row"), table.c.done_at.is_(None))
        .values(done_at=bindparam("now"), leased_until=None, parked_at=None, last_error=None)
    )


def mark_failed(
    session: Session,
    table: type[QueuedRow],
    row_id: int,
    error: str,
    now: datetime,
    *,
    permanent: bool = False,
    retry_forever: bool = False,
) -> None:
    """Stores the error, redacted as in logs, and sets the time of the next attempt, if any.

    A `permanent` failure parks the row at once; with `retry_forever` it is never parked.
    """
    row = session.get_one(table, row_id, with_for_update=True)
    if row.done_at:
        return
    row.last_error = redact_text(error)[:_MAX_ERROR_LENGTH]
    row.leased_until = None
    row.due_at = now + backoff(row.attempts)
    if permanent or (row.attempts >= MAX_ATTEMPTS and not retry_forever):
        row.parked_at = now


def reopen(session: Session, table: type[QueuedRow], row_id: int, now: datetime) -> None:
    """Makes the row due at once, also when it was done or parked."""
    row = session.get_one(table, row_id, with_for_update=True)
    row.done_at = row.parked_at = row.leased_until = None
    row.due_at = now
    row.attempts, row.last_error = 0, None


def backoff(attempts: int) -> timedelta:
    """The wait after so many attempts: 2 s, 4 s, … up to six hours, each with 50 % jitter."""
    seconds = min(2.0 ** min(attempts, 20), _MAX_WAIT.total_seconds())
    return timedelta(seconds=seconds * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class Backlog:
    """Rows that failed and are tried again, rows that are parked, and for how long the oldest row
    has been due without a worker claiming it."""

    failing: int
    parked: int
    unclaimed: timedelta


def backlog(session: Session, table: type[QueuedRow], now: datetime) -> Backlog:
    """The backlog of a table now, without what waits for another mode or account."""
    own = belongs_to(table.account, account_of(session))
    open_rows = table.done_at.is_(None) & table.parked_at.is_(None) & own
    free = or_(table.leased_until.is_(None), table.leased_until < now)
    due = session.scalar(select(func.min(table.due_at)).where(open_rows, free))
    count = select(func.count()).select_from(table)
    return Backlog(
        failing=session.scalar(count.where(open_rows, table.last_error.is_not(None))) or 0,
        parked=session.scalar(
            count.where(table.done_at.is_(None), table.parked_at.is_not(None), own)
        )
        or 0,
        unclaimed=max(now - due, timedelta()) if due else timedelta(),
    )
