"""A row of a unique value is inserted once, and whoever did it is told so."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.racing import together
from tmt.core.cursors import Cursor
from tmt.core.database import Database, InsertIfAbsent

_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_the_first_is_told_that_the_row_is_new(db: Database) -> None:
    insert, row = InsertIfAbsent(Cursor, "name"), {"name": "here", "at": _NOW}
    assert db.transaction(lambda session: insert.run(session, row)) is True
    assert db.transaction(lambda session: insert.run(session, row)) is False


def test_of_many_at_once_one_is_first(db: Database) -> None:
    insert, row = InsertIfAbsent(Cursor, "name"), {"name": "here", "at": _NOW}
    told = together(*[lambda: db.transaction(lambda session: insert.run(session, row))] * 8)
    assert sorted(told) == [False] * 7 + [True]
