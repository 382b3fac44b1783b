"""Everybody writes for a while; then what they saw, what was logged, and what is there now."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from tests.benchmarks.bench_env import BenchEnv
from tests.deployment import Deployment
from tests.invariants import check_stock, check_tickets
from tests.writers.load_env import SWEEPERS, load_env, printed
from tests.writers.writers import Observed, Writer, buy, create, deliver, find, repeat
from tmt.checkout.models import Order
from tmt.core.database import Database
from tmt.gateway.inbox import InboxRow

# With the sweepers, the consumer of the jobs and the office they are fifty.
ACTS = [buy] * 26 + [deliver] * 12 + [find] * 5 + [create] * 3
WRITERS = len(ACTS) + SWEEPERS + 2
_WARM_UP = 5.0
_BAD_LINE = re.compile(
    r"[^\n]*(?:locked|busy|jobs\.failed|trigger_failed|limits\.unavailable|not_stored|Traceback)"
    r"[^\n]*"
)


@dataclass(frozen=True)
class Result:
    """What a run showed; `breaches` is empty when all went well."""

    observed: Observed
    seconds: float
    breaches: list[str]

    def table(self) -> str:
        """A line for each kind of answer: how many, and how long they took in milliseconds."""
        lines = [f"{'':36}{'answers':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'longest':>9}"]
        kinds = sorted(self.observed.seconds.items())
        every = [one for _kind, seconds in kinds for one in seconds]
        for kind, seconds in [*kinds, ("all", every)]:
            marks = [1000 * percentile(seconds, share) for share in (0.5, 0.95, 0.99, 1.0)]
            numbers = "{:8.0f}{:8.0f}{:8.0f}{:9.0f}".format(*marks)
            lines.append(f"{kind:36}{len(seconds):8}{numbers}")
        rate = len(every) / self.seconds
        return "\n".join([*lines, f"{rate:.0f} answers a second, {WRITERS} writers, milliseconds"])


def run(env: BenchEnv, kind: str, seconds: float, longest_p99: float) -> Result:
    """The run on a database of this kind; a p99 of more than so many seconds is a breach."""
    observed = Observed()
    with load_env(env, kind) as shop:
        passed = _let_write(shop, observed, seconds)
    breaches = [f"{count} × {text}" for text, count in Counter(observed.wrong).most_common(20)]
    breaches += [f"logged: {line[:300]}" for line in _BAD_LINE.findall(printed(shop))[:20]]
    breaches += _lost(shop, observed)
    p99 = percentile([one for many in observed.seconds.values() for one in many], 0.99)
    if p99 > longest_p99:
        breaches.append(f"p99 is {p99:.1f} s, more than {longest_p99:.1f} s")
    return Result(observed, passed, breaches)


def percentile(seconds: Sequence[float], share: float) -> float:
    """The time within which this share of the answers came."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)]


def _let_write(shop: Deployment, observed: Observed, seconds: float) -> float:
    """Lets them begin, and then write for so many seconds; how many it were to the last answer."""
    over = threading.Event()
    threads = [
        threading.Thread(target=repeat, args=(act, Writer(shop, observed), number, over))
        for number, act in enumerate(ACTS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(min(_WARM_UP, seconds))
    observed.forget_times()
    started = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _lost(shop: Deployment, observed: Observed) -> list[str]:
    """What was answered as done and is not there; and the stock and tickets that do not agree."""
    db = Database(shop.database_url)
    try:
        with db.reading() as session:
            orders = set(session.scalars(select(Order.token)))
            events = set(session.scalars(select(InboxRow.event_id)))
        lost = [f"order {token} is lost" for token in set(observed.orders) - orders]
        lost += [f"event {event} is lost" for event in observed.events - events]
        return lost + _disagreements(check_stock, db) + _disagreements(check_tickets, db)
    finally:
        db.close()


def _disagreements(check: Callable[[Database], None], db: Database) -> list[str]:
    try:
        check(db)
    except AssertionError as error:
        return [f"{check.__name__}: {error}"]
    return []
