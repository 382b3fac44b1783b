"""Time: what is due in the sandbox, in order, and moving on to when it is; Stripe's test clocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import DAY, Json, function, new
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_KEPT_SECONDS = 30 * DAY


def run_due(store: Store) -> None:
    """Do what is due by now, in order, each at its own time; one that fails is dropped."""
    while store.rows("SELECT 1 FROM timers WHERE due <= ? LIMIT 1", (store.now(),)):
        with store.transaction():
            sql = "SELECT * FROM timers WHERE due <= ? ORDER BY due, id LIMIT 1"
            for row in store.rows(sql, (store.now(),)):
                store.execute("DELETE FROM timers WHERE id = ?", (row["id"],))
                action, _, detail = row["action"].partition(":")
                context = RequestContext(store, int(row["due"]))
                try:
                    # ApiError: what it was about has changed meanwhile.
                    with suppress(ApiError), store.savepoint():
                        function(action)(context, row["object"], *filter(None, [detail]))
                except Exception:
                    log.exception("The sandbox's timer %s failed", row["action"])


def next_due(store: Store, after: float = -1.0) -> float | None:
    """When something is due next, later than `after`, in the sandbox's time; None for nothing."""
    sql = (
        "SELECT MIN(due) FROM (SELECT MIN(due) AS due FROM deliveries WHERE due > ?"
        " UNION ALL SELECT MIN(due) FROM timers WHERE due > ?)"
    )
    due: float | None = store.rows(sql, (after, after))[0][0]
    return due


def advance(store: Store, seconds: float, send_due: Callable[[], None]) -> None:
    """Move the clock on; everything due in between happens in order, deliveries included."""
    ahead = store.ahead() + seconds
    due: float | None = store.now()
    while due is not None and due <= time.time() + ahead:
        store.move_clock(due - time.time())
        # Twice: what a receiver did meanwhile may have something due at once.
        for _ in range(2):
            run_due(store)
            send_due()
        due = next_due(store, after=store.now())
    store.move_clock(ahead)


def start_days(store: Store) -> None:
    """See that every midnight is noticed, from now on."""
    if not store.rows("SELECT 1 FROM timers WHERE action = 'balance.midnight'"):
        now = int(store.now())
        RequestContext(store, now).schedule(DAY - now % DAY, "balance.midnight", "")


def create(context: RequestContext, p: Json) -> Json:
    """POST /v1/test_helpers/test_clocks."""
    kept = {"deletes_after": context.now + _KEPT_SECONDS}
    clock = new("test_helpers.test_clock", context.now, frozen_time=p["frozen_time"], **kept)
    if "customer" in p:
        context.update(context.fetch("customer", p["customer"]), {"test_clock": clock["id"]})
    return context.save_and_emit(clock | changes(clock, p), "test_helpers.test_clock.created")


def advance_test_clock(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/test_helpers/test_clocks/:id/advance; it is `ready` a moment later."""
    clock = context.fetch("test_helpers.test_clock", id)
    if clock["status"] != "ready":
        raise api_error("clock_busy")
    if p["frozen_time"] <= clock["frozen_time"]:
        raise api_error("clock_backwards")
    target = {"target_frozen_time": p["frozen_time"]}
    clock |= {"status": "advancing", "status_details": {"advancing": target}}
    context.schedule(0, "clocks.test_clock_ready", id)
    return context.save_and_emit(clock, "test_helpers.test_clock.advancing")


def test_clock_ready(context: RequestContext, id: str) -> None:
    """Timer: a test clock shows the time that it was advanced to."""
    clock = context.fetch("test_helpers.test_clock", id)
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    clock |= {"status": "ready", "status_details": {}, "frozen_time": target}
    context.save_and_emit(clock, "test_helpers.test_clock.ready")
