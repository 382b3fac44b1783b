"""Database rows that stand for work still to be done: what the inbox and the outbox share.

A worker claims due rows with a lease, handles one after the other, and marks each done or failed.
A worker that dies loses nothing: its leases run out. One that was slower than its lease has lost
the row to another: it can neither mark it nor commit what it did. A row that keeps failing waits
longer each time, with jitter, and is parked after 80 attempts, about two weeks, for a person to
look at.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, ClassVar, Generic, TypeVar, cast

import structlog
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Index,
    Select,
    String,
    Table,
    Text,
    Update,
    bindparam,
    func,
    inspect,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column

from tmt.core.clock import Clock
from tmt.core.database import Database, account_of, belongs_to
from tmt.core.errors import DomainError, PermanentFailure, RetryLater, Unavailable
from tmt.core.job_runs import Run
from tmt.core.log import redact_text

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
MAX_ATTEMPTS = 80
_MAX_WAIT = timedelta(hours=6)
# By how much the clocks of machines may differ. What lies further ahead than any time that is set
# was written while a clock was wrong, and counts for nothing.
_CLOCK_TOLERANCE = timedelta(minutes=5)
# A batch is handled within this time and that of its last row, which is less than the lease.
_BATCH_SECONDS = 60.0
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


class LeaseLost(DomainError):
    """The row's lease had ended, and another worker has it."""


class MarkDone:
    """Marks the row that is being handled as done, in the transaction it is called in.

    Raises `LeaseLost`, which undoes that transaction. `outcome` is for the log, and for tables that
    have such a column.
    """

    def __init__(self, table: type[QueuedRow], row: QueuedRow, clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._row_id, self._lease = row.id, row.leased_until
        self.outcome: str | None = None
        self.called = False

    def __call__(self, session: Session) -> None:
        self.called = True
        columns = {} if self.outcome is None else {"outcome": self.outcome}
        now = self._clock.now()
        if not mark_done(session, self._table, self._row_id, self._lease, now, **columns):
            raise LeaseLost(f"row {self._row_id} of {self._table.__tablename__}")  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Drain(Generic[Row]):
    """How the due rows of a table are handled.

    A handler calls its MarkDone in the transaction of its effect, so that a crash in between
    repeats or undoes both; for one that does not, the row is marked afterwards, and the handler
    may run again after it succeeded. `batch_size` rows are claimed at a time, only those that
    fulfil `condition`. `stops` ends the drain when the outside party of its rows does not answer;
    otherwise it goes on, as some rows do not need it. `on_parked` runs in the transaction that
    parks a row.
    """

    db: Database
    clock: Clock
    table: type[Row]
    handle: Callable[[Row, MarkDone], None]
    batch_size: int = 1
    condition: ColumnElement[bool] = field(default_factory=true)
    stops: bool = False
    on_parked: Callable[[Session, Row], None] = lambda _session, _row: None

    def is_due(self) -> bool:
        """Whether any row is due."""
        with self.db.reading() as session:
            query = _due(session, self.table, self.clock.now(), self.condition)
            return session.scalar(query.with_only_columns(self.table.id).limit(1)) is not None

    def run(self, run: Run | None = None) -> int:
        """Handles all rows that are due, each on its own; the number that succeeded.

        Also ends when the process is about to, or when another one has taken over the run.
        """
        run = run or Run()
        succeeded = 0
        while not run.is_stopping():
            rows = self.db.transaction(partial(self._claim, run))
            until = time.monotonic() + _BATCH_SECONDS
            for position, row in enumerate(rows):
                if position and (time.monotonic() > until or run.is_stopping()):
                    # Slow work: what is left is claimed again, with a lease that is long enough.
                    self.db.transaction(partial(self._return, rows[position:]))
                    break
                succeeded += self._handle_row(row, run)
                if self.stops and run.has_no_answer:
                    return succeeded
            else:
                if len(rows) < self.batch_size:
                    break
        return succeeded

    def _claim(self, run: Run, session: Session) -> Sequence[Row]:
        now = self.clock.now()
        if not run.renew(session, now):
            return []
        return claim(session, self.table, now, self.batch_size, self.condition)

    def _return(self, rows: Sequence[Row], session: Session) -> None:
        for row in rows:
            postpone(session, self.table, row, row.due_at)

    def _handle_row(self, row: Row, run: Run) -> bool:
        marker = MarkDone(self.table, row, self.clock)
        prefix = self.table.log_prefix
        try:
            self.handle(row, marker)
            if not marker.called:
                self.db.transaction(marker)
        except LeaseLost:
            log.warning(f"{prefix}.lease_lost", **row.log_fields())
            return False
        except Unavailable as error:
            if self.stops and error.concerns_all and error.was_tried:
                run.unanswered(error)
            if error.was_tried:
                self._fail(row, error)
            else:
                later = run.rest_ends(self.clock.now())
                self.db.transaction(lambda s: postpone(s, self.table, row, later))
            return False
        except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
            self._fail(row, error)
            return False
        log.info(f"{prefix}.{marker.outcome or 'done'}", attempts=row.attempts, **row.log_fields())
        return True

    def _fail(self, row: Row, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"

        def unit(session: Session) -> bool:
            now = self.clock.now()
            parked = mark_failed(session, self.table, row, error, text, now)
            if parked:
                self.on_parked(session, parked)
            return parked is not None

        is_parked = self.db.transaction(unit)
        # What the shop itself raises needs no traceback.
        expected = isinstance(error, DomainError | PermanentFailure)
        write = log.warning if expected else log.exception
        fields = {"attempts": row.attempts, "error": text, **row.log_fields()}
        write(f"{self.table.log_prefix}.failed", **fields)
        if is_parked:
            log.error(f"{self.table.log_prefix}.parked", **fields)


def _due(
    session: Session, table: type[Row], now: datetime, condition: ColumnElement[bool]
) -> Select[Row]:
    """The due rows of this mode and account that fulfil the condition."""
    is_time = or_(table.due_at <= now, table.due_at > now + _MAX_WAIT + _CLOCK_TOLERANCE)
    return (
        select(table)
        .where(table.done_at.is_(None), table.parked_at.is_(None), is_time)
        .where(is_free(table, now), condition)
        .where(belongs_to(table.account, account_of(session)))
    )


def is_free(table: type[QueuedRow], now: datetime) -> ColumnElement[bool]:
    """Whether no worker has claimed the row."""
    lease = table.leased_until
    return or_(lease.is_(None), lease < now, lease > now + LEASE + _CLOCK_TOLERANCE)


def claim(
    session: Session,
    table: type[Row],
    now: datetime,
    limit: int,
    condition: ColumnElement[bool] | None = None,
) -> Sequence[Row]:
    """Up to `limit` due rows of this mode and account, oldest first.

    Each is leased to the caller and counted as an attempt.
    """
    due = (
        _due(session, table, now, true() if condition is None else condition)
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
    session: Session,
    table: type[QueuedRow],
    row_id: int,
    lease: datetime | None,
    now: datetime,
    **columns: str,
) -> bool:
    """Marks the row done; False when it already was, or when it is leased to somebody else by now.

    `columns` are other columns that are set with it.
    """
    statement = _mark_done_statement(cast(Table, inspect(table).local_table))
    values = {"row": row_id, "lease": lease, "now": now, **columns}
    return cast("CursorResult[Any]", session.execute(statement, values)).rowcount == 1


# Built once for each table: it runs for every row that succeeds.
@cache
def _mark_done_statement(table: Table) -> Update:
    is_mine = table.c.leased_until == bindparam("lease")
    return (
        update(table)
        .where(table.c.id == bindparam("row"), table.c.done_at.is_(None), is_mine)
        .values(done_at=bindparam("now"), leased_until=None, parked_at=None, last_error=None)
    )


def mark_failed(
    session: Session,
    table: type[Row],
    row: Row,
    error: Exception,
    text: str,
    now: datetime,
) -> Row | None:
    """Stores the text, redacted as in logs, and sets the time of the next attempt.

    A `PermanentFailure` parks the row at once, and too many attempts do so unless it is a
    `RetryLater`; the row if it was parked. A row that somebody else has by now is left alone.
    """
    stored = session.get_one(table, row.id, with_for_update=True)
    if stored.done_at or stored.leased_until != row.leased_until:
        return None
    stored.last_error = redact_text(text)[:_MAX_ERROR_LENGTH]
    stored.leased_until = None
    shortest = error.retry_after if isinstance(error, Unavailable) else timedelta()
    stored.due_at = now + max(backoff(stored.attempts), shortest)
    too_often = stored.attempts >= MAX_ATTEMPTS and not isinstance(error, RetryLater)
    if not too_often and not isinstance(error, PermanentFailure):
        return None
    stored.parked_at = now
    return stored


def postpone(session: Session, table: type[Row], row: Row, due: datetime) -> None:
    """Gives a claimed row back that was not tried; it is due at `due`."""
    stored = session.get_one(table, row.id, with_for_update=True)
    if stored.done_at is None and stored.leased_until == row.leased_until:
        stored.leased_until, stored.due_at = None, due
        stored.attempts -= 1


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


def backlog(
    session: Session,
    table: type[QueuedRow],
    now: datetime,
    condition: ColumnElement[bool] | None = None,
) -> Backlog:
    """The backlog of a table now, or of those rows that fulfil a condition.

    What waits for another mode or account does not count.
    """
    own = belongs_to(table.account, account_of(session))
    condition = own if condition is None else own & condition
    open_rows = table.done_at.is_(None) & table.parked_at.is_(None) & condition
    due = session.scalar(select(func.min(table.due_at)).where(open_rows, is_free(table, now)))
    count = select(func.count()).select_from(table)
    return Backlog(
        failing=session.scalar(count.where(open_rows, table.last_error.is_not(None))) or 0,
        parked=session.scalar(
            count.where(table.done_at.is_(None), table.parked_at.is_not(None), condition)
        )
        or 0,
        unclaimed=max(now - due, timedelta()) if due else timedelta(),
    )
