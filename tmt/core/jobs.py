"""Work outside requests, run by Huey.

Huey's queue only says that there is work; the work itself is in the database. A job is a named
function that does all work of its kind that is due. It runs every minute (or every few), and soon
after it is triggered, so losing the queue delays work by a minute and loses none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from huey import Huey, PostgresHuey, RedisHuey, SqliteHuey, crontab
from huey.consumer import Consumer

log = structlog.get_logger(__name__)

Job = Callable[[], object]
# Triggers in quicker succession are merged: a job does all that is due anyway. In seconds.
_TRIGGER_INTERVAL = 0.2


class Jobs:
    """The queue of one shop and the jobs that it runs."""

    def __init__(self, url: str, instance: Path) -> None:
        """`url` names the queue: empty for a file in `instance`, postgresql://… or redis://…"""
        self._url = url
        self._instance = instance
        self._jobs: Mapping[str, Job] = {}
        self._minutes: Mapping[str, int] = {}
        self._huey: Huey | None = None
        self._lock = threading.Lock()
        self._last_trigger: dict[str, float] = {}
        self._tasks: dict[str, Any] = {}

    def define(self, jobs: Mapping[str, Job], minutes: Mapping[str, int] | None = None) -> None:
        """Sets the jobs by name; called once, by the factory.

        `minutes` is the interval of the jobs that do not run every minute.
        """
        self._jobs, self._minutes = jobs, minutes or {}

    def run_all(self) -> None:
        """Runs each job once, in this thread."""
        for name in self._jobs:
            self.run(name)

    def run(self, name: str) -> None:
        """Runs one job in this thread; an error is logged, and the next minute is the retry."""
        try:
            self._jobs[name]()
        except Exception:
            log.exception("jobs.failed", job=name)

    def trigger(self, name: str) -> None:
        """Has a consumer run the job soon. Never fails: the next minute would run it anyway."""
        now = time.monotonic()
        with self._lock:
            since = now - self._last_trigger.get(name, float("-inf"))
            if since < 0:
                return  # A later run is queued already.
            wait = _TRIGGER_INTERVAL - since if since < _TRIGGER_INTERVAL else 0.0
            self._last_trigger[name] = now + wait
        if wait:
            # The queue's own delays are whole seconds: too long for a buyer who is waiting.
            threading.Timer(wait, self._enqueue, (name,)).start()
        else:
            self._enqueue(name)

    def _enqueue(self, name: str) -> None:
        try:
            self._queue()
            self._tasks[name]()
        except Exception as error:  # noqa: BLE001 - a full disk or a Redis outage must not fail a sale
            log.warning("jobs.trigger_failed", job=name, error=type(error).__name__)

    def start_thread(self) -> Callable[[], None]:
        """Starts a consumer in this process; returns a function that stops it."""
        consumer = _ThreadConsumer(self._queue(), workers=3, **_POLLING)
        consumer.start()
        return lambda: consumer.stop(graceful=True)

    def run_forever(self, workers: int) -> None:
        """Runs a consumer in this process until it gets SIGTERM or SIGINT."""
        self._queue().create_consumer(workers=workers, **_POLLING).run()

    def _queue(self) -> Huey:
        with self._lock:
            if self._huey is None:
                self._huey = self._create_queue()
                for name in self._jobs:
                    self._register(self._huey, name)
            return self._huey

    def _create_queue(self) -> Huey:
        if self._url.startswith("redis"):
            return RedisHuey("tmt", url=self._url, results=False)
        if self._url.startswith("postgres"):
            return PostgresHuey("tmt", dsn=self._url, results=False)
        self._instance.mkdir(parents=True, exist_ok=True)
        # Losing the queue in a power cut loses nothing, so it need not wait for the disk.
        path = self._instance / "jobs.sqlite"
        return SqliteHuey("tmt", filename=str(path), fsync=False, results=False)

    def _register(self, huey: Huey, name: str) -> None:
        def run() -> None:
            self.run(name)

        self._tasks[name] = huey.task(name=name)(run)
        schedule = crontab(minute=f"*/{self._minutes.get(name, 1)}")
        huey.periodic_task(schedule, name=f"{name}-periodic")(run)


# The queue is polled at least every half second.
_POLLING: dict[str, Any] = {"initial_delay": 0.05, "backoff": 1.2, "max_delay": 0.5}


class _ThreadConsumer(Consumer):  # type: ignore[misc] # huey has no types
    """A consumer in a thread of a server, which handles the signals itself."""

    def _set_signal_handlers(self) -> None:
        return
