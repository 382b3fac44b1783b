"""The audit of a big shop: of the database alone, and with Stripe.

A sandbox takes minutes to show 100,000 payments, so that the audit with Stripe is of 10,000. The
yardstick of the first is to read the audited tables once; of the second, Stripe's lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from tests.benchmarks.bench_env import DATABASES, BenchEnv
from tests.benchmarks.bulk import bare_reading, fill, opened_shop
from tests.benchmarks.table import Row
from tests.shopfront import Shopfront
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.core.database import table_of
from tmt.core.outbox import OutboxRow
from tmt.operations.audit import audit
from tmt.payments.models import Payment
from tmt.tickets.models import Ticket

OFFLINE, ONLINE = 100_000, 10_000
_TABLES = (Order, OrderLine, Payment, Ticket, OutboxRow)
_LISTS = ("payment_intents", "refunds", "disputes")


def run(env: BenchEnv) -> list[Row]:
    """Seconds, and the memory that the process grew by meanwhile."""
    return [row for kind in DATABASES for row in (_offline(env, kind), _online(env, kind))]


def _offline(env: BenchEnv, kind: str) -> Row:
    with opened_shop(env, kind) as front:
        fill(front, OFFLINE - 1, OrderStatus.PAID, at_stripe=False)
        ours, more = _measured(lambda: _is_sound(front, online=False))
        bare, _more = _measured(lambda: _read_all(front))
    return _row(f"audit of {OFFLINE:,} orders, offline, {kind}", ours, bare, more)


def _online(env: BenchEnv, kind: str) -> Row:
    with opened_shop(env, kind) as front:
        fill(front, ONLINE - 1, OrderStatus.PAID)
        ours, more = _measured(lambda: _is_sound(front, online=True))
        bare, _more = _measured(lambda: bare_reading(front, _LISTS))
    return _row(f"audit of {ONLINE:,} orders with Stripe, {kind}", ours, bare, more)


def _is_sound(front: Shopfront, *, online: bool) -> None:
    breaches = list(audit(front.shop, front.gateway if online else None))
    assert not breaches, breaches[:5]


def _read_all(front: Shopfront) -> None:
    with front.shop.db.reading() as session:
        for table in _TABLES:
            query = select(table_of(table)).execution_options(yield_per=1000)
            for rows in session.execute(query).partitions():
                assert rows


def _measured(act: Callable[[], object]) -> tuple[float, str]:
    """Seconds, and by how many MiB more than before the process was resident at its height."""
    before = _resident("VmRSS", forget=True)
    started = time.perf_counter()
    act()
    seconds = time.perf_counter() - started
    return seconds, f"+{max(_resident('VmHWM') - before, 0):.0f} MiB" if before else ""


def _resident(which: str, *, forget: bool = False) -> float:
    """MiB of this process as the system has it; 0 without /proc. `forget` resets the height."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(one for one in status.read_text().splitlines() if one.startswith(which))
    return int(line.split()[1]) / 1024


def _row(what: str, ours: float, bare: float, more: str) -> Row:
    return Row(what, f"{ours:.2f} s", f"{bare:.2f} s", f"{ours / bare:.2f}", more)
