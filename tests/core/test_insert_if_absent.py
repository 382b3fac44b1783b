"""InsertIfAbsent: a unique value is inserted once, and the caller knows whether it was new."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.racing import together
from tmt.core.cursors import Cursor
from tmt.core.database import Database, InsertIfAbsent

_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_only_the_first_insert_is_new(db: Database) -> None:
    insert, row = InsertIfAbsent(Cursor, "name"), {"name": "here", "at": _NOW}
    assert db.transaction(lambda session: insert.run(session, row)) is True
    assert db.transaction(lambda session: insert.run(session, row)) is False


def test_of_many_inserts_at_once_one_is_new(db: Database) -> None:
    insert, row = InsertIfAbsent(Cursor, "name"), {"name": "here", "at": _NOW}
    results = together(*[lambda: db.transaction(lambda session: insert.run(session, row))] * 8)
    assert sorted(results) == [False] * 7 + [True]
