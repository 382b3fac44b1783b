"""Cursors: advanced by one or by several at once, never moved back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from tests.racing import together
from tmt.core import cursors
from tmt.core.database import Database

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def advance(db: Database, name: str, at: datetime) -> None:
    db.transaction(lambda session: cursors.advance(session, name, at))


def test_a_cursor_never_moves_back(db: Database) -> None:
    for at in (NOON, NOON + timedelta(hours=1), NOON):
        advance(db, "read", at)
    with db.reading() as session:
        assert cursors.read(session, "read") == NOON + timedelta(hours=1)
        assert cursors.read(session, "other") is None


def test_several_threads_set_a_cursor_for_the_first_time(db: Database) -> None:
    for number in range(20):
        name = f"first-{number}"
        together(*(partial(advance, db, name, NOON + timedelta(hours=hour)) for hour in range(4)))
        with db.reading() as session:
            assert cursors.read(session, name) == NOON + timedelta(hours=3)
