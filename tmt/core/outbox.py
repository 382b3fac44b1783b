"""What must happen outside (a mail, a refund) as rows, written with the reason for it.

A row is put into the transaction that decides on it and is run by the jobs after the commit,
again until it is done. Its key is unique: the same thing is never put twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core import work
from tmt.core.clock import Clock
from tmt.core.db import Base, Database, InsertOnce
from tmt.core.errors import NotFound, NotYet, Pointless

log = structlog.get_logger(__name__)

# A handler does the thing outside, with the row's key as its idempotency key, and may be run
# again after it has done it: a crash can hide its success.
Handler = Callable[[str, dict[str, Any]], None]


class OutboxRow(work.Work, Base):
    __tablename__ = "outbox"

    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(120), unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


_INSERT = InsertOnce(OutboxRow, "key")


def put(
    session: Session,
    kind: str,
    key: str,
    payload: dict[str, Any],
    now: datetime,
    due: datetime | None = None,
) -> None:
    """Adds the row unless one of this key stands already; the payload holds ids, no names.

    It is due at once unless told otherwise.
    """
    row = {"kind": kind, "key": key, "payload": payload, "created_at": now, "due_at": due or now}
    _INSERT.run(session, row | {"attempts": 0})


def drain(db: Database, clock: Clock, handlers: Mapping[str, Handler]) -> int:
    """Does all that is due, each row on its own; how many succeeded.

    Rows are claimed one at a time: a slow mail server must not outlast a lease.
    """
    done = 0
    while rows := db.transaction(lambda s: work.claim(s, OutboxRow, clock.now(), 1)):
        done += _do(db, clock, handlers, rows[0])
    return done


def newest(session: Session, limit: int, only_open: bool) -> Sequence[OutboxRow]:
    """The newest rows, for lists."""
    query = select(OutboxRow).order_by(OutboxRow.id.desc()).limit(limit)
    if only_open:
        query = query.where(OutboxRow.done_at.is_(None))
    return session.scalars(query).all()


def retry(db: Database, clock: Clock, row_id: int) -> None:
    """Makes a row that is not done due at once, also when it was parked; `NotFound`."""

    def unit(session: Session) -> None:
        row = session.get(OutboxRow, row_id)
        if row is None or row.done_at:
            raise NotFound(f"no open row {row_id} in the outbox")
        work.reopen(session, OutboxRow, row_id, clock.now())

    db.transaction(unit)


def _do(db: Database, clock: Clock, handlers: Mapping[str, Handler], row: OutboxRow) -> bool:
    try:
        handlers[row.kind](row.key, row.payload)
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        text = f"{type(error).__name__}: {error}"
        kind = {"pointless": isinstance(error, Pointless), "patient": isinstance(error, NotYet)}
        db.transaction(lambda s: work.fail(s, OutboxRow, row.id, text, clock.now(), **kind))
        log.warning("outbox.failed", kind=row.kind, row=row.id, attempts=row.attempts, error=text)
        return False
    db.transaction(lambda s: work.finish(s, OutboxRow, row.id, clock.now()))
    log.info("outbox.done", kind=row.kind, row=row.id, attempts=row.attempts)
    return True
