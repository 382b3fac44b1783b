"""Who runs which job: one run of a kind at a time, in whichever process, and what rests.

A run holds the job's row while it works. Whoever comes meanwhile leaves a note that there is more
to do, so that at most one more run follows. A process that dies leaves its row to the next one: at
once on its own machine, elsewhere, or in a container's next life, when the lease has ended, which a
run renews while it works.

Each mode and Stripe account that shares the database has rows of its own.

A time further ahead than any that is set was written while that machine's clock was wrong: it
counts for nothing, so that a clock which jumped and was corrected stops no job.

A job whose outside party (the mail server, Stripe) did not answer rests before it asks it again:
1 s, 2 s, … up to five minutes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

import structlog
from sqlalchemy import CursorResult, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core.clock import Clock
from tmt.core.database import Base, Database, InsertIfAbsent, account_of, name_for, table_of

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
_MAX_REST = timedelta(minutes=5)
# By how much the clocks of machines may differ.
_CLOCK_TOLERANCE = timedelta(minutes=5)
_MAX_HOST_LENGTH = 80


class JobRun(Base):
    """The state of one job, shared by all processes; `failures` are runs in a row after which its
    outside party had not answered."""

    __tablename__ = "job_runs"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str | None] = mapped_column(String(160))
    leased_until: Mapped[datetime | None]
    # Somebody wanted a run while this one was going on.
    repeat: Mapped[bool] = mapped_column(default=False)
    failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    rests_until: Mapped[datetime | None]

    def is_held(self, now: datetime) -> bool:
        """Whether a run is going on."""
        if self.holder is None or self.leased_until is None:
            return False
        if not now < self.leased_until <= now + LEASE + _CLOCK_TOLERANCE:
            return False
        if self.holder.startswith(f"{this_process()}:"):
            return self.holder in _own_holders
        return not _is_dead(self.holder)

    def is_resting(self, now: datetime, tolerance: timedelta = timedelta()) -> bool:
        """Whether its outside party is not to be asked yet, or was not until `tolerance` ago."""
        if self.rests_until is None:
            return False
        return now - tolerance < self.rests_until <= now + _MAX_REST + _CLOCK_TOLERANCE


class JobWorker(Base):
    """A process that runs jobs, and when it last gave a sign of life."""

    __tablename__ = "job_workers"

    name: Mapped[str] = mapped_column(String(160), primary_key=True)
    seen_at: Mapped[datetime]


@dataclass
class Run:
    """One run of a job, for the function that does the work.

    `rests_until`: the outside party did not answer a moment ago, so until then only what does not
    need it is to be done. `is_stopping()`: the process is about to end, so no other piece of work
    is to be begun.
    """

    name: str = ""
    holder: str = ""
    rests_until: datetime | None = None
    failures: int = 0
    # After so many pieces of work in a row without an answer, the outside party is not asked again.
    patience: int = 1
    is_stopping: Callable[[], bool] = field(default=lambda: False)
    # What the outside party did in this run.
    _answered: bool = field(default=False, init=False)
    _unanswered: int = field(default=0, init=False)
    _error: str = field(default="", init=False)

    def answered(self) -> None:
        """Notes that the outside party did what it was asked for."""
        self._answered = True
        if not self.has_no_answer:
            self._unanswered = 0

    def unanswered(self, error: Exception) -> None:
        """Notes that the outside party did not answer."""
        self._unanswered += 1
        self._error = type(error).__name__

    @property
    def is_resting(self) -> bool:
        return self.rests_until is not None

    @property
    def has_no_answer(self) -> bool:
        """Whether the outside party does not answer: the job rests after this run."""
        return self._unanswered >= self.patience

    def rest_ends(self, now: datetime) -> datetime:
        """Until when the job rests, if its outside party did not answer before or in this run."""
        if self.rests_until:
            return self.rests_until
        failures = 1 if self._answered else self.failures + 1
        return now + min(timedelta(seconds=2 ** min(failures - 1, 20)), _MAX_REST)

    def renew(self, session: Session, now: datetime) -> bool:
        """Extends the lease; false if another process has taken over."""
        if not self.name:
            return True
        table = table_of(JobRun)
        mine = update(table).where(table.c.name == self.name, table.c.holder == self.holder)
        result = session.execute(mine.values(leased_until=now + LEASE))
        return isinstance(result, CursorResult) and result.rowcount == 1


# The holders of this process: after a restart another process may have the same id.
_own_holders: set[str] = set()
_INSERT = InsertIfAbsent(JobRun, "name")
_INSERT_WORKER = InsertIfAbsent(JobWorker, "name")


def run_alone(
    db: Database,
    clock: Clock,
    name: str,
    work: Callable[[Run], object],
    *,
    is_stopping: Callable[[], bool] = lambda: False,
    leave_note: bool = True,
) -> bool:
    """Runs `work` unless a run of this name is going on anywhere; whether it ran.

    With `leave_note`, that other run is followed by one more.
    """
    holder = f"{this_process()}:{uuid4().hex[:8]}"
    _own_holders.add(holder)
    try:
        while True:
            run = db.transaction(lambda s: _acquire(s, name, holder, clock.now(), leave_note))
            if run is None:
                return False
            run.is_stopping = is_stopping
            try:
                work(run)
            finally:
                is_wanted_again = db.transaction(partial(_release, run=run, now=clock.now()))
            if not is_wanted_again or is_stopping():
                return True
    finally:
        _own_holders.discard(holder)


def find(session: Session, name: str) -> JobRun | None:
    """The state of the job for this mode and account; None before its first run."""
    return session.get(JobRun, name_for(account_of(session), name))


def _acquire(
    session: Session, name: str, holder: str, now: datetime, leave_note: bool
) -> Run | None:
    name = name_for(account_of(session), name)
    _INSERT.run(session, {"name": name, "repeat": False, "failures": 0})
    row = session.get_one(JobRun, name, with_for_update=True)
    if row.is_held(now):
        row.repeat = row.repeat or leave_note
        return None
    row.holder, row.leased_until, row.repeat = holder, now + LEASE, False
    return Run(name, holder, row.rests_until if row.is_resting(now) else None, row.failures)


def _release(session: Session, run: Run, now: datetime) -> bool:
    """Gives the job's row back; whether somebody has wanted another run meanwhile."""
    row = session.get_one(JobRun, run.name, with_for_update=True)
    if row.holder != run.holder:
        return False
    row.holder = row.leased_until = None
    wanted_again, row.repeat = row.repeat, False
    if run.has_no_answer:
        row.rests_until = run.rest_ends(now)
        row.failures = 1 if run._answered else run.failures + 1
        row.failing_since = now if row.failures == 1 else row.failing_since
        seconds = (row.rests_until - now).seconds
        job = run.name.partition("/")[0]
        log.warning("jobs.resting", job=job, error=run._error, seconds=seconds)
        return False
    if run._answered and not run.is_resting:
        row.failures, row.failing_since, row.rests_until = 0, None, None
    return wanted_again


def beat(session: Session, now: datetime) -> None:
    """Records that this process runs jobs."""
    if not _INSERT_WORKER.run(session, {"name": this_process(), "seen_at": now}):
        session.get_one(JobWorker, this_process(), with_for_update=True).seen_at = now


def workers(session: Session) -> Sequence[JobWorker]:
    """The processes that run jobs, by their names; one that was killed stays among them."""
    return session.scalars(select(JobWorker).order_by(JobWorker.name)).all()


def forget_dead_workers(session: Session) -> None:
    """Removes processes of this machine that have ended: this one has come in their place."""
    for worker in workers(session):
        if _is_dead(worker.name):
            session.delete(worker)


def forget_workers(session: Session, *, before: datetime | None = None) -> None:
    """Removes this process, which is ending; or those that gave no sign of life since `before`."""
    if before is None:
        session.execute(delete(JobWorker).where(JobWorker.name == this_process()))
    else:
        session.execute(delete(JobWorker).where(JobWorker.seen_at < before))


def this_process() -> str:
    """The name of this process among all that run jobs: host, process id, where that id counts, and
    what no later process of the same id has."""
    process = os.getpid()
    return f"{_host()}:{process}:{_namespace()}-{_start_id(process)}"


@cache
def _host() -> str:
    return socket.gethostname().replace(":", "-")[:_MAX_HOST_LENGTH]


@cache
def _namespace() -> str:
    """Among which processes an id means one process.

    Containers of one host name have ids of their own, and so have two machines.
    """
    facts = [_host()]
    # Linux alone has these.
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


@cache
def _start_id(_process: int) -> str:
    return uuid4().hex[:8]


def _is_dead(name: str) -> bool:
    """Whether the process of this name has ended, where its id can be looked up from here.

    On Windows, where asking would disturb the process, leases alone decide.
    """
    # A process of an earlier version had a shorter name.
    host, _, rest = name.partition(":")
    number, _, rest = rest.partition(":")
    namespace, _, start_id = rest.partition(":")[0].partition("-")
    if (host, namespace) != (_host(), _namespace()) or sys.platform == "win32":
        return False
    process = int(number)
    if process == os.getpid():
        return start_id != _start_id(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
