"""Work outside requests, carried by Huey.

Huey only carries the news that there is something to do; what must be done is in the database.
A duty is a named function that does all that is due of its kind. It runs every minute (or every
few), and soon after somebody nudged it, so a queue that is lost loses nothing but that minute.
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

Duty = Callable[[], object]
# News that come faster than this are told once: a duty does all that is due anyway.
_NUDGE_EVERY = 0.2


class Jobs:
    """The queue of one shop and the duties that it runs."""

    def __init__(self, url: str, instance: Path) -> None:
        """`url` names the carrier: empty for a file in `instance`, postgresql://… or redis://…"""
        self._url = url
        self._instance = instance
        self._duties: Mapping[str, Duty] = {}
        self._minutes: Mapping[str, int] = {}
        self._huey: Huey | None = None
        self._lock = threading.Lock()
        self._last_nudge: dict[str, float] = {}
        self._tasks: dict[str, Any] = {}

    def define(self, duties: Mapping[str, Duty], minutes: Mapping[str, int] | None = None) -> None:
        """The table of duties; told once, by the factory.

        `minutes` says how many there are between two runs of a duty, where it is not one.
        """
        self._duties, self._minutes = duties, minutes or {}

    def run_all(self) -> None:
        """Runs each duty once, here and now."""
        for name in self._duties:
            self.run(name)

    def run(self, name: str) -> None:
        """Runs one duty here and now; its failure is logged, the next minute is the retry."""
        try:
            self._duties[name]()
        except Exception:
            log.exception("jobs.duty_failed", duty=name)

    def nudge(self, name: str) -> None:
        """Asks the consumers to run the duty soon. Never fails: the next minute would do it."""
        now = time.monotonic()
        with self._lock:
            since = now - self._last_nudge.get(name, float("-inf"))
            if since < 0:
                return  # A later run is already asked for.
            wait = _NUDGE_EVERY - since if since < _NUDGE_EVERY else 0.0
            self._last_nudge[name] = now + wait
        if wait:
            # The carrier counts in whole seconds, which is long for somebody who waits.
            threading.Timer(wait, self._ask_for, (name,)).start()
        else:
            self._ask_for(name)

    def _ask_for(self, name: str) -> None:
        try:
            self._carrier()
            self._tasks[name]()
        except Exception as error:  # noqa: BLE001 - a full disk or a dead Redis must not fail a sale
            log.warning("jobs.nudge_failed", duty=name, error=type(error).__name__)

    def start_thread(self) -> Callable[[], None]:
        """Starts a consumer in this process; returns what stops it."""
        consumer = _ThreadConsumer(self._carrier(), workers=3, **_POLLING)
        consumer.start()
        return lambda: consumer.stop(graceful=True)

    def run_forever(self, workers: int) -> None:
        """Runs a consumer in this process until it is told to end (SIGTERM, SIGINT)."""
        self._carrier().create_consumer(workers=workers, **_POLLING).run()

    def _carrier(self) -> Huey:
        with self._lock:
            if self._huey is None:
                self._huey = self._open()
                for name in self._duties:
                    self._register(self._huey, name)
            return self._huey

    def _open(self) -> Huey:
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
        often = crontab(minute=f"*/{self._minutes.get(name, 1)}")
        huey.periodic_task(often, name=f"{name}-periodic")(run)


# News are picked up within half a second.
_POLLING: dict[str, Any] = {"initial_delay": 0.05, "backoff": 1.2, "max_delay": 0.5}


class _ThreadConsumer(Consumer):  # type: ignore[misc] # huey has no types
    """A consumer beside a web server, whose signals are not its to handle."""

    def _set_signal_handlers(self) -> None:
        return
