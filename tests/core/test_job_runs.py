"""One run of a job at a time, rows that another worker has taken over, and migrations at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import update

from tests.conftest import DATABASES
from tests.servers import ROOT, clean_environment
from tests.shopfront import MovableClock
from tmt.core import job_runs, outbox, queued_rows, schema
from tmt.core.database import Database
from tmt.core.errors import RateLimited, Unavailable
from tmt.core.job_runs import JobRun, run_alone
from tmt.core.limits import Limits

HOLD = """
import sys, time
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.job_runs import run_alone

def work(run):
    print("holds", flush=True)
    time.sleep(600)

run_alone(Database(sys.argv[1]), Clock(), "mails", work)
"""
MIGRATE = """
import sys
from tmt.core import schema
from tmt.core.database import Database

schema.migrate(Database(sys.argv[1]))
"""


def start(program: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, url]
    return subprocess.Popen(
        command,
        env=clean_environment(),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_run_is_followed_by_one_more_however_often_it_is_wanted(db: Database) -> None:
    clock, runs = MovableClock(), []

    def work(_run: job_runs.Run) -> None:
        runs.append(1)
        if len(runs) == 1:
            others = [run_alone(db, clock, "mails", work) for _ in range(3)]
            assert not any(others)

    assert run_alone(db, clock, "mails", work)
    assert len(runs) == 2
    assert run_alone(db, clock, "mails", lambda _run: None, leave_note=False)


def test_a_killed_process_leaves_its_job_to_the_next_one(db: Database, database_url: str) -> None:
    ran: list[int] = []
    holder = start(HOLD, database_url)
    assert holder.stdout
    with holder.stdout:
        assert holder.stdout.readline() == "holds\n"
        assert not run_alone(db, MovableClock(), "mails", lambda _run: ran.append(1))
        holder.kill()
        holder.wait()
    assert run_alone(db, MovableClock(), "mails", lambda _run: ran.append(1))
    assert ran == [1]


def test_one_on_another_machine_keeps_it_until_its_lease_ends(db: Database) -> None:
    clock = MovableClock()
    run_alone(db, clock, "mails", lambda _run: None)
    elsewhere = {"holder": "elsewhere:1:x", "leased_until": clock.now() + job_runs.LEASE}
    db.transaction(lambda session: session.execute(update(JobRun).values(**elsewhere)))
    assert not run_alone(db, clock, "mails", lambda _run: None)
    clock.move(minutes=6)
    assert run_alone(db, clock, "mails", lambda _run: None)


def test_a_clock_that_was_ahead_for_one_run_stops_nothing(db: Database, tmp_path: Path) -> None:
    """A day later by the clock, then corrected: rests, leases, due rows and counters end."""
    clock, handled = MovableClock(), []
    limits = Limits("", tmp_path)

    def handle(row: outbox.OutboxRow, _mark_done: object) -> None:
        handled.append(row.key)
        if len(handled) == 1:
            raise Unavailable("gone")

    def work(run: job_runs.Run) -> None:
        queued_rows.Drain(db, clock, outbox.OutboxRow, handle, stops=True).run(run)

    db.transaction(lambda s: outbox.put(s, "mail", "failing", {}, clock.now()))
    db.transaction(lambda s: outbox.put(s, "mail", "claimed", {}, clock.now()))
    clock.move(days=1)
    assert run_alone(db, clock, "mails", work)
    db.transaction(lambda s: queued_rows.claim(s, outbox.OutboxRow, clock.now(), 1))
    elsewhere = {"holder": "elsewhere:1:x", "leased_until": clock.now() + job_runs.LEASE}
    db.transaction(lambda session: session.execute(update(JobRun).values(**elsewhere)))
    with patch("tmt.core.limits.time.time", lambda: clock.now().timestamp()):
        limits.hit("1 per hour", "orders", "client")
        clock.move(days=-1)
        limits.hit("1 per hour", "orders", "client")
        with pytest.raises(RateLimited):
            limits.hit("1 per hour", "orders", "client")
    with db.reading() as session:
        row = job_runs.find(session, "mails")
        assert row
        assert not row.is_resting(clock.now())
    assert run_alone(db, clock, "mails", work)
    assert handled == ["failing", "claimed", "failing"]


def test_a_process_is_dead_only_where_its_id_counts() -> None:
    """Containers share host names and process ids; a container that restarts has both again."""
    clock, this = MovableClock(), job_runs.this_process()
    host, process, identity = this.split(":")
    namespace = identity.partition("-")[0]
    dead = subprocess.Popen(["true"])
    dead.wait()
    for holder, is_held in {
        f"{host}:{dead.pid}:{namespace}-12345678:x": False,
        f"{host}:{dead.pid}:ffffffffffff-12345678:x": True,
        f"{host}:{process}:{namespace}-12345678:x": False,
        f"{host}:{process}:ffffffffffff-12345678:x": True,
        f"{host}:{dead.pid}:12345678": True,
    }.items():
        row = JobRun(name="mails", holder=holder, leased_until=clock.now() + job_runs.LEASE)
        assert row.is_held(clock.now()) is is_held, holder


def test_who_was_slower_than_the_lease_changes_nothing(db: Database) -> None:
    clock = MovableClock()

    def put(key: str) -> None:
        db.transaction(lambda s: outbox.put(s, "mail", key, {}, clock.now()))

    put("a")
    taken: list[outbox.OutboxRow] = []

    def slow(row: outbox.OutboxRow, mark_done: queued_rows.MarkDone) -> None:
        clock.move(minutes=6)
        unit = lambda s: queued_rows.claim(s, outbox.OutboxRow, clock.now(), 1)  # noqa: E731
        taken.extend(db.transaction(unit))

        def effect(session: object) -> None:
            outbox.put(session, "mail", "effect", {}, clock.now())  # type: ignore[arg-type]
            mark_done(session)  # type: ignore[arg-type]

        db.transaction(effect)

    drain = queued_rows.Drain(db, clock, outbox.OutboxRow, slow)
    assert drain.run() == 0
    with db.reading() as session:
        rows = outbox.newest(session, 10, only_open=False)
    # The effect is undone, and the row is the other worker's.
    assert [(row.key, row.state, row.attempts) for row in rows] == [("a", "waiting", 2)]
    assert rows[0].leased_until == taken[0].leased_until


@pytest.mark.parametrize("kind", DATABASES)
def test_migrations_at_once_are_done_one_after_the_other(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    if kind == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.url(server.create())
    started = [start(MIGRATE, url) for _ in range(2)]
    printed = [program.communicate(timeout=120)[0] for program in started]
    assert [program.returncode for program in started] == [0, 0], printed
    database = Database(url)
    assert schema.current_revision(database) == schema.newest_revision()
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_migration_waits_for_the_one_under_way(db: Database) -> None:
    done = threading.Event()
    migration = threading.Thread(target=lambda: (schema.migrate(db), done.set()))
    with db.engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({schema._LOCK})")
        migration.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not connection.exec_driver_sql(waiting).scalar():
            assert not done.is_set()
    migration.join()
    assert done.is_set()
