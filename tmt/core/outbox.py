"""What must happen outside (a mail, a refund) as rows, written with the reason for it.

A row is put into the transaction that decides on it and is run by the jobs after the commit,
again until it is done. Its key is unique: the same thing is never put twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core import work
from tmt.core.clock import Clock
from tmt.core.db import Base, Database, InsertOnce

log = structlog.get_logger(__name__)

# A handler does the thing outside, with the row's key as its idempotency key, and may be run
# again after it has done it: a crash can hide its success.
Handler = Callable[[str, dict[str, Any]], None]
# Few enough that a slow mail server cannot outlast their lease.
_BATCH = 3


class OutboxRow(work.Work, Base):
    __tablename__ = "outbox"

    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(120), unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


_INSERT = InsertOnce(OutboxRow, "key")


def put(session: Session, kind: str, key: str, payload: dict[str, Any], now: datetime) -> None:
    """Adds the row unless one of this key stands already; the payload holds ids, no names."""
    row = {"kind": kind, "key": key, "payload": payload, "created_at": now, "due_at": now}
    _INSERT.run(session, row | {"attempts": 0})


def drain(db: Database, clock: Clock, handlers: Mapping[str, Handler]) -> int:
    """Does all that is due, each row on its own; how many succeeded."""
    done = 0
    while True:
        rows = db.transaction(lambda s: work.claim(s, OutboxRow, clock.now(), _BATCH))
        for row in rows:
            done += _do(db, clock, handlers, row)
        if len(rows) < _BATCH:
            return done


def _do(db: Database, clock: Clock, handlers: Mapping[str, Handler], row: OutboxRow) -> bool:
    try:
        handlers[row.kind](row.key, row.payload)
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        text = f"{type(error).__name__}: {error}"
        db.transaction(lambda s: work.fail(s, OutboxRow, row.id, text, clock.now()))
        log.warning("outbox.failed", kind=row.kind, row=row.id, attempts=row.attempts, error=text)
        return False
    db.transaction(lambda s: work.finish(s, OutboxRow, row.id, clock.now()))
    log.info("outbox.done", kind=row.kind, row=row.id, attempts=row.attempts)
    return True
