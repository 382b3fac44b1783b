"""Work outside requests, each kind in a thread of its own; Huey's queues carry the calls for it.

The queue only says that there is work; the work itself is in the database. A job is a named
function that does all work of its kind that is due. It runs every minute (or every few) by the
clock of the process that runs jobs, and soon after it is triggered. So no kind waits behind
another's, and losing the queue delays work by a minute and loses none.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from huey.storage import BaseStorage, PostgresStorage, RedisStorage, SqliteStorage

from tmt.core import job_runs
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.job_runs import Run

log = structlog.get_logger(__name__)

# Triggers in quicker succession are merged: a job does all that is due anyway. In seconds.
_TRIGGER_INTERVAL = 0.2
# An empty file is looked at after these pauses; the other queues wait by themselves.
_MIN_POLL, _MAX_POLL = 0.05, 0.5
# A queue that does not answer is given up after so long, and asked again a while later.
_QUEUE_TIMEOUT, _QUEUE_PAUSE = 3, 5
# How long a process that ends waits for the piece of work that each of its jobs is doing.
_STOP_SECONDS = 20
_MAX_REASONS = 1000
# A thread that woke a moment before its minute would run twice.
_LATE = 0.05


@dataclass(frozen=True)
class Job:
    """A kind of work. One run of it goes on at a time, in whichever process.

    `is_due` looks whether there is anything to do, so that a run for nothing costs one query.
    A job with `needs_party` does nothing while its outside party rests. One with
    `in_each_process` is run by every process that runs jobs, for itself.
    """

    work: Callable[[Run], object]
    minutes: int = 1
    is_due: Callable[[], bool] = lambda: True
    needs_party: bool = False
    in_each_process: bool = False


class Jobs:
    """The queue of one shop and the jobs that it runs."""

    def __init__(
        self, url: str, instance: Path, db: Database | None = None, clock: Clock | None = None
    ) -> None:
        """`url` names the queue: empty for a file in `instance`, postgresql://… or redis://…

        Without a database, nothing keeps two processes from running the same job at once.
        """
        self._url, self._instance = url, instance
        self._db, self._clock = db, clock or Clock()
        self._jobs: Mapping[str, Job] = {}
        self._groups: Mapping[str, Sequence[str]] = {}
        self._on_start: Callable[[], object] = lambda: None
        self._on_stop: Callable[[], object] = lambda: None
        # Two locks: opening the queue can take long, and a page that triggers a job must not wait.
        self._lock, self._queue_lock = threading.Lock(), threading.Lock()
        self._open_queue: BaseStorage | None = None
        self._pending: dict[str, None] = {}
        self._messenger: threading.Thread | None = None
        self._reasons: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._stopping = threading.Event()
        self._wake: dict[str, threading.Event] = {}

    def define(
        self,
        jobs: Mapping[str, Job],
        groups: Mapping[str, Sequence[str]] | None = None,
        on_start: Callable[[], object] = lambda: None,
        on_stop: Callable[[], object] = lambda: None,
    ) -> None:
        """Sets the jobs by name; called once, by the factory.

        A group is a name for several jobs. `on_start` and `on_stop` are called by each process that
        begins and ends to run jobs.
        """
        self._jobs, self._groups = jobs, groups or {}
        self._on_start, self._on_stop = on_start, on_stop

    def run_all(self) -> None:
        """Runs each job once, in this thread."""
        for name in self._jobs:
            self.run(name)

    def run(self, name: str) -> None:
        """Runs one job, or each of a group, in this thread, also if it rests.

        If another process is running it, that one is asked for one more run instead. An error is
        logged, and the next minute is the retry.
        """
        for each in self._groups.get(name, (name,)):
            self._run(each, is_wanted=True, may_rest=False)

    def trigger(self, name: str, reason: str = "") -> None:
        """Has a job, or a group of them, run soon. Never fails and never waits for the queue.

        With a `reason`, such as an order's code, this process triggers the job once for it.
        """
        with self._lock:
            if reason and not self._is_new_reason(name, reason):
                return
            self._pending[name] = None
            if self._messenger and self._messenger.is_alive():
                return
            # No daemon: a command that ends must not take its trigger with it.
            self._messenger = threading.Thread(target=self._deliver_triggers, name="job-triggers")
            self._messenger.start()

    def flush(self) -> None:
        """Waits until all triggers are in the queue."""
        messenger = self._messenger
        if messenger:
            messenger.join()

    def start_thread(self) -> Callable[[], None]:
        """Starts to run jobs in this process; returns a function that stops it."""
        self._stopping.clear()
        self._on_start()
        self._wake = {name: threading.Event() for name in self._jobs}
        threads = [
            threading.Thread(target=self._listen, name="jobs", daemon=True),
            *(
                threading.Thread(target=self._repeat, args=(name,), name=f"job-{name}", daemon=True)
                for name in self._jobs
            ),
        ]
        for thread in threads:
            thread.start()

        def stop() -> None:
            self._stopping.set()
            for event in self._wake.values():
                event.set()
            deadline = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            self._on_stop()

        return stop

    def run_forever(self) -> None:
        """Runs jobs in this process until it gets SIGTERM or SIGINT."""
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: ended.set())
        stop = self.start_thread()
        ended.wait()
        stop()

    def _run(self, name: str, *, is_wanted: bool, may_rest: bool) -> None:
        job = self._jobs[name]
        try:
            if not job.is_due() or (may_rest and job.needs_party and self._is_resting(name)):
                return
            if self._db is None or job.in_each_process:
                job.work(Run())
                return

            def work(run: Run) -> None:
                if not may_rest:
                    run.rests_until = None
                job.work(run)

            job_runs.run_alone(
                self._db,
                self._clock,
                name,
                work,
                is_stopping=self._stopping.is_set,
                leave_note=is_wanted,
            )
        except Exception:
            log.exception("jobs.failed", job=name)

    def _is_resting(self, name: str) -> bool:
        if self._db is None:
            return False
        with self._db.reading() as session:
            row = job_runs.find(session, name)
            return row is not None and row.is_resting(self._clock.now())

    def _is_new_reason(self, name: str, reason: str) -> bool:
        if (name, reason) in self._reasons:
            return False
        self._reasons[name, reason] = None
        if len(self._reasons) > _MAX_REASONS:
            self._reasons.popitem(last=False)
        return True

    def _deliver_triggers(self) -> None:
        """Puts the triggered names into the queue; for a thread, which ends when there are none."""
        while True:
            with self._lock:
                names, self._pending = list(self._pending), {}
                if not names:
                    self._messenger = None
                    return
            try:
                queue = self._queue()
                # At most one call for a job waits, also while nobody runs jobs.
                waiting = set(queue.enqueued_items())
                for name in names:
                    if name.encode() not in waiting:
                        queue.enqueue(name.encode())
            except Exception as error:  # noqa: BLE001 - a full disk or a Redis outage must not fail a sale
                log.warning("jobs.trigger_failed", jobs=names, error=type(error).__name__)
            # Whatever is triggered meanwhile follows, once for each job.
            time.sleep(_TRIGGER_INTERVAL)

    def _listen(self) -> None:
        """Wakes the jobs that the queue names; for a thread."""
        pause, is_reachable = _MIN_POLL, True
        while not self._stopping.is_set():
            try:
                queue = self._queue()
                name = queue.dequeue()
            except Exception as error:  # noqa: BLE001 - jobs run by the clock until it answers again
                if is_reachable:
                    log.warning("jobs.queue_unreachable", error=type(error).__name__)
                is_reachable = False
                self._stopping.wait(_QUEUE_PAUSE)
                continue
            is_reachable = True
            if name is None:
                if not queue.blocking:
                    self._stopping.wait(pause)
                    pause = min(pause * 1.2, _MAX_POLL)
                continue
            pause = _MIN_POLL
            text = bytes(name).decode("utf-8", "replace")
            for each in self._groups.get(text, (text,)):
                # An older version may have left something else in the queue.
                if event := self._wake.get(each):
                    event.set()

    def _repeat(self, name: str) -> None:
        """Runs the job whenever it is woken, and at its minutes; for a thread."""
        seconds = self._jobs[name].minutes * 60
        event = self._wake[name]
        while True:
            is_wanted = event.wait(seconds - time.time() % seconds + _LATE)
            event.clear()
            if self._stopping.is_set():
                return
            self._run(name, is_wanted=is_wanted, may_rest=True)

    def _queue(self) -> BaseStorage:
        with self._queue_lock:
            if self._open_queue is None:
                self._open_queue = self._create_queue()
            return self._open_queue

    def _create_queue(self) -> BaseStorage:
        if self._url.startswith("redis"):
            # Imported only where it is used: it costs time at start and memory.
            from redis import ConnectionPool
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            timeouts: dict[str, Any] = dict.fromkeys(
                ("socket_timeout", "socket_connect_timeout"), _QUEUE_TIMEOUT
            )
            timeouts["retry"] = Retry(NoBackoff(), 0)
            return RedisStorage(
                "tmt", connection_pool=ConnectionPool.from_url(self._url, **timeouts)
            )
        if self._url.startswith("postgres"):
            limits = {
                "connect_timeout": _QUEUE_TIMEOUT,
                "tcp_user_timeout": _QUEUE_TIMEOUT * 1000,
            }
            return PostgresStorage("tmt", dsn=self._url, **limits)
        self._instance.mkdir(parents=True, exist_ok=True)
        # Losing the queue in a power cut loses nothing, so it need not wait for the disk.
        return SqliteStorage("tmt", filename=str(self._instance / "jobs.sqlite"), fsync=False)
