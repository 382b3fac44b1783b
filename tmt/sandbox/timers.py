"""What happens by itself, later: rows of the timers table, run when they are due."""

from __future__ import annotations

from collections.abc import Callable

from tmt.sandbox import attempts
from tmt.sandbox.call import Call
from tmt.sandbox.store import Store

_ACTIONS: dict[str, Callable[[Call, str], None]] = {
    "book_charge": attempts.book_charge,
    "expire_hold": attempts.expire_hold,
}


def run_due(store: Store, now: float) -> None:
    """Run every timer that is due; each is removed in the transaction of its effect."""
    if not store.rows("SELECT 1 FROM timers WHERE due <= ? LIMIT 1", (now,)):
        return
    with store.transaction():
        for row in store.rows("SELECT * FROM timers WHERE due <= ? ORDER BY due, id", (now,)):
            _ACTIONS[row["action"]](Call(store, int(now)), row["object"])
            store.execute("DELETE FROM timers WHERE id = ?", (row["id"],))
