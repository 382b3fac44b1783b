"""The outbox and its queued rows: leases, back-off, parking, and failures of single rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from tests.shopfront import MovableClock
from tmt.core import outbox, queued_rows
from tmt.core.outbox import OutboxRow


@pytest.fixture
def clock():
    return MovableClock()


def put(db, clock, *keys, kind="mail", payload=None):
    def unit(session):
        for key in keys:
            outbox.put(session, kind, key, payload or {}, clock.now())

    db.transaction(unit)


def rows(db):
    with db.reading() as session:
        return list(session.scalars(select(OutboxRow).order_by(OutboxRow.id)))


def claim_keys(db, clock, limit=10):
    return [
        row.key
        for row in db.transaction(lambda s: queued_rows.claim(s, OutboxRow, clock.now(), limit))
    ]


def drain(db, clock, handler):
    return outbox.drain(db, clock, {"mail": handler}).run()


def test_a_row_is_done_once_with_its_key(db, clock):
    put(db, clock, "a", payload={"order": 7})
    calls = []
    assert drain(db, clock, lambda key, payload: calls.append((key, payload))) == 1
    assert drain(db, clock, lambda key, payload: calls.append((key, payload))) == 0
    assert calls == [("a", {"order": 7})]
    assert [row.state for row in rows(db)] == ["done"]


def test_a_key_is_added_once(db, clock):
    put(db, clock, "a", "a", "b")
    put(db, clock, "b")
    assert [row.key for row in rows(db)] == ["a", "b"]
    drain(db, clock, lambda key, payload: None)
    put(db, clock, "a")
    assert drain(db, clock, lambda key, payload: None) == 0


def test_the_key_is_unique_in_the_database(db, clock):
    put(db, clock, "a")
    double = OutboxRow(kind="mail", key="a", payload={}, created_at=clock.now(), due_at=clock.now())
    with pytest.raises(IntegrityError):
        db.transaction(lambda session: session.add(double))


def test_a_transaction_that_is_rolled_back_adds_no_row(db, clock):
    def unit(session):
        outbox.put(session, "mail", "a", {}, clock.now())
        raise RuntimeError("the order fell through")

    with pytest.raises(RuntimeError):
        db.transaction(unit)
    assert not rows(db)


def test_a_row_that_fails_stops_no_other(db, clock):
    put(db, clock, *(f"k{number:02}" for number in range(25)))
    handled = []

    def handler(key, payload):
        if key in ("k00", "k11", "k24"):
            raise RuntimeError("poison")
        handled.append(key)

    assert drain(db, clock, handler) == 22
    assert len(handled) == 22
    assert [row.key for row in rows(db) if row.state == "failing"] == ["k00", "k11", "k24"]


def test_a_row_of_an_unknown_kind_is_tried_again(db, clock):
    put(db, clock, "a", kind="pigeon")
    put(db, clock, "b")
    assert drain(db, clock, lambda key, payload: None) == 1
    assert [row.state for row in rows(db)] == ["failing", "done"]


def test_failures_wait_longer_each_time_and_are_parked_in_the_end(db, clock):
    put(db, clock, "a")

    def handler(key, payload):
        raise RuntimeError("still broken")

    for attempt in range(1, queued_rows.MAX_ATTEMPTS + 1):
        drain(db, clock, handler)
        drain(db, clock, handler)
        row = rows(db)[0]
        assert row.attempts == attempt
        longest = min(timedelta(seconds=2 ** min(attempt, 20)), timedelta(hours=6))
        assert longest / 2 - timedelta(seconds=1) <= row.due_at - clock.now() <= longest
        clock.move(seconds=longest.total_seconds() + 1)
    assert (row.state, row.last_error) == ("parked", "RuntimeError: still broken")
    clock.move(days=30)
    assert drain(db, clock, handler) == 0
    assert rows(db)[0].attempts == queued_rows.MAX_ATTEMPTS


def test_a_parked_row_can_be_reopened(db, clock):
    put(db, clock, "a")
    now = clock.now()

    def park(session):
        row = session.scalars(select(OutboxRow)).one()
        row.parked_at, row.attempts, row.last_error = now, queued_rows.MAX_ATTEMPTS, "x"

    db.transaction(park)
    assert drain(db, clock, lambda key, payload: None) == 0
    db.transaction(lambda session: queued_rows.reopen(session, OutboxRow, rows(db)[0].id, now))
    assert rows(db)[0].state == "waiting"
    assert drain(db, clock, lambda key, payload: None) == 1
    assert (rows(db)[0].state, rows(db)[0].last_error) == ("done", None)


def test_a_claimed_row_is_not_claimed_again_until_its_lease_ends(db, clock):
    put(db, clock, "a", "b", "c")
    assert claim_keys(db, clock, limit=2) == ["a", "b"]
    assert claim_keys(db, clock) == ["c"]
    assert claim_keys(db, clock) == []
    clock.move(seconds=queued_rows.LEASE.total_seconds() - 1)
    assert claim_keys(db, clock) == []
    clock.move(seconds=2)
    assert claim_keys(db, clock) == ["a", "b", "c"]
    assert [row.attempts for row in rows(db)] == [2, 2, 2]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_workers_at_once_share_the_rows(db, clock):
    # SQLite has one writer at a time.
    put(db, clock, "a", "b")
    with db._writer.begin() as first, db._writer.begin() as second:
        mine = queued_rows.claim(first, OutboxRow, clock.now(), 1)
        yours = queued_rows.claim(second, OutboxRow, clock.now(), 10)
        assert ([row.key for row in mine], [row.key for row in yours]) == (["a"], ["b"])


def test_rows_are_claimed_oldest_first_and_not_before_they_are_due(db, clock):
    put(db, clock, "later")
    clock.ahead -= timedelta(hours=1)
    put(db, clock, "earlier")
    assert claim_keys(db, clock) == ["earlier"]
    clock.move(hours=1)
    assert claim_keys(db, clock) == ["earlier", "later"]


def test_a_row_is_marked_done_once_and_for_good(db, clock):
    put(db, clock, "a")
    claim_keys(db, clock)
    row, now = rows(db)[0], clock.now()
    lease = row.leased_until

    def mark():
        return db.transaction(lambda s: queued_rows.mark_done(s, OutboxRow, row.id, lease, now))

    assert [mark(), mark()] == [True, False]
    late = RuntimeError("too late")
    db.transaction(lambda s: queued_rows.mark_failed(s, OutboxRow, row, late, "too late", now))
    assert (rows(db)[0].state, rows(db)[0].last_error) == ("done", None)


def test_errors_are_stored_without_personal_data(db, clock):
    put(db, clock, "a")

    def handler(key, payload):
        raise RuntimeError("550 <ana.o'brien@example.com> sk_live_51abc " + "x" * 2000)

    drain(db, clock, handler)
    error = rows(db)[0].last_error
    assert error.startswith("RuntimeError: 550 <[email]> [secret] xxx")
    assert len(error) == 500


def test_the_backlog_is_as_old_as_the_oldest_row_that_is_due(db, clock):
    def age():
        with db.reading() as session:
            return queued_rows.backlog(session, OutboxRow, clock.now()).unclaimed

    assert age() == timedelta()
    put(db, clock, "a")
    clock.move(minutes=11)
    assert timedelta(minutes=11) <= age() < timedelta(minutes=12)
    drain(db, clock, lambda key, payload: None)
    assert age() == timedelta()


def test_times_are_stored_in_utc(db):
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    db.transaction(lambda session: outbox.put(session, "mail", "a", {}, moment))
    assert rows(db)[0].created_at == moment
    with db.reading() as session:
        assert session.scalar(select(func.count()).where(OutboxRow.due_at == moment)) == 1
