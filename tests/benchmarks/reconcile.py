"""Reconciling open payments, against reading the same lists with nothing but HTTP and JSON.

The sandbox works in the same process, so that its share is in both figures.
"""

from __future__ import annotations

import time

from tests.benchmarks.bench_env import DATABASES, BenchEnv
from tests.benchmarks.bulk import PLACES, bare_reading, fill, opened_shop
from tests.benchmarks.table import Row
from tests.sandbox_store import change_at_stripe
from tests.shopfront import Shopfront
from tmt.checkout.models import OrderStatus
from tmt.operations.reconcile import reconcile

OPEN, PAID_UNHEARD = 10_000, 500
_LISTS = ("payment_intents", "refunds", "disputes", "events")


def run(env: BenchEnv) -> list[Row]:
    """Seconds for open payments of which none has moved, and for some that were paid unheard."""
    return [row for kind in DATABASES for row in (_unmoved(env, kind), _paid(env, kind))]


def _unmoved(env: BenchEnv, kind: str) -> Row:
    with opened_shop(env, kind) as front:
        fill(front, OPEN - 1, OrderStatus.HELD)
        ours, syncs = _reconciled(front)
        assert syncs == 0
        started = time.perf_counter()
        bare_reading(front, _LISTS)
        bare = time.perf_counter() - started
    what = f"reconciling {OPEN:,} open payments, {kind}"
    return Row(what, f"{ours:.2f} s", f"{bare:.2f} s", f"{ours / bare:.2f}")


def _paid(env: BenchEnv, kind: str) -> Row:
    with opened_shop(env, kind) as front:
        fill(front, PAID_UNHEARD - 1, OrderStatus.HELD)
        received = PLACES * front.event.ticket_types[0].price
        change_at_stripe(front, "pi_%", status="succeeded", amount_received=received)
        ours, syncs = _reconciled(front)
        assert syncs == PAID_UNHEARD
    each = f"{ours / PAID_UNHEARD * 1000:.1f} ms each"
    return Row(f"settling {PAID_UNHEARD} paid unheard, {kind}", f"{ours:.2f} s", "", "", each)


def _reconciled(front: Shopfront) -> tuple[float, int]:
    started = time.perf_counter()
    report = reconcile(front.shop, front.gateway)
    assert (report.complete, report.failed) == (True, []), report
    return time.perf_counter() - started, report.synced
