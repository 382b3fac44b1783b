"""The sandbox's time: running due timers, moving the clock forward, and Stripe's test clocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from sqlite3 import Row

from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import DAY, Json, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import TIMER_ACTIONS, route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_TEST_CLOCK_SECONDS = 30 * DAY
_SECONDS_AT_ONCE = 0.25
_TAKE_FIRST = (
    "DELETE FROM timers WHERE id = (SELECT id FROM timers WHERE due <= ? ORDER BY due, id LIMIT 1)"
    " RETURNING due, action, object, argument"
)


def run_due_timers(store: Store) -> None:
    """Run what is due by now, in order, each at its own time; one that fails is dropped."""
    while store.rows("SELECT 1 FROM timers WHERE due <= ? LIMIT 1", (store.now(),)):
        # Several in one transaction, whose end costs more than a timer does.
        with store.transaction():
            now, until = store.now(), time.monotonic() + _SECONDS_AT_ONCE
            while time.monotonic() < until and (due := store.rows(_TAKE_FIRST, (now,))):
                _run_timer(store, due[0])


def _run_timer(store: Store, row: Row) -> None:
    context = RequestContext(store, int(row["due"]))
    arguments = [row["argument"]] if row["argument"] else []
    try:
        # ApiError: the object has changed in the meantime.
        with suppress(ApiError), store.savepoint():
            TIMER_ACTIONS[row["action"]](context, row["object"], *arguments)
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
    """Move the clock forward; what is due in between happens in order, deliveries included."""
    ahead = store.ahead() + seconds
    due: float | None = store.now()
    store.advancing_to = time.time() + ahead
    try:
        while due is not None and due <= time.time() + ahead:
            store.move_clock(due - time.time())
            # Twice: a receiver's requests may have made something due at once.
            for _ in range(2):
                run_due_timers(store)
                send_due()
            due = next_due(store, after=store.now())
    finally:
        store.advancing_to = 0.0
    store.move_clock(ahead)


@route("POST /v1/test_helpers/test_clocks")
def create_test_clock(context: RequestContext, params: Json) -> Json:
    """Create a test clock, for a customer if there is one."""
    clock = new(
        "test_helpers.test_clock",
        context.now,
        deletes_after=context.now + _TEST_CLOCK_SECONDS,
        frozen_time=params["frozen_time"],
    )
    if "customer" in params:
        customer = context.fetch("customer", params["customer"])
        context.update(customer, {"test_clock": clock["id"]})
    clock |= field_changes(clock, params)
    return context.save_and_emit(clock, "test_helpers.test_clock.created")


@route("POST /v1/test_helpers/test_clocks/<id>/advance")
def advance_test_clock(context: RequestContext, params: Json, id: str) -> Json:
    """Advance a test clock; it is `ready` a moment later."""
    clock = context.fetch("test_helpers.test_clock", id)
    if clock["status"] != "ready":
        raise api_error("clock_busy")
    if params["frozen_time"] <= clock["frozen_time"]:
        raise api_error("clock_backwards")
    target = {"target_frozen_time": params["frozen_time"]}
    clock |= {"status": "advancing", "status_details": {"advancing": target}}
    context.schedule(0, "finish_test_clock", id)
    return context.save_and_emit(clock, "test_helpers.test_clock.advancing")


@timer_action("finish_test_clock")
def finish_test_clock(context: RequestContext, id: str) -> None:
    """A test clock reaches the time that it was advanced to."""
    clock = context.fetch("test_helpers.test_clock", id)
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    clock |= {"status": "ready", "status_details": {}, "frozen_time": target}
    context.save_and_emit(clock, "test_helpers.test_clock.ready")
