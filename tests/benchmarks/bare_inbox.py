"""The yardstick for handling events: the rows that paying an order writes, by the driver alone.

Events are claimed by the score and each is settled in a transaction of its own, as in the shop;
no rule is looked at.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.bare_order import BareConnection
from tmt.core.ids import new_ticket_code
from tmt.core.queued_rows import LEASE

_BATCH = 20
_DUE = (
    "SELECT id, object_id FROM stripe_events WHERE done_at IS NULL AND parked_at IS NULL"
    " AND due_at <= ? AND (leased_until IS NULL OR leased_until < ?)"
    f" ORDER BY due_at, id LIMIT {_BATCH}"
)
_CLAIM = "UPDATE stripe_events SET leased_until = ?, attempts = attempts + 1 WHERE id IN ({})"
_ORDER = (
    "SELECT orders.id, orders.event_id, orders.token, orders.name, payments.id, payments.amount"
    " FROM payments JOIN orders ON orders.id = payments.order_id"
    " WHERE payments.payment_intent_id = ?"
)
_LINES = "SELECT ticket_type_id, quantity, name, unit_price FROM order_lines WHERE order_id = ?"
_PAYMENT = (
    "UPDATE payments SET status = 'succeeded', succeeded_at = ?, amount_received = ?,"
    " received_currency = 'usd' WHERE id = ?"
)
_SELL = "UPDATE {} SET held = held - ?, sold = sold + ? WHERE id = ?"
_TICKETS = (
    "INSERT INTO tickets (code, order_id, event_id, ticket_type_id, number, type_name, price,"
    " holder, status, issued_at) VALUES {}"
)
_TICKET = "(?, ?, ?, ?, ?, ?, ?, ?, 'valid', ?)"
_MOVED = (
    "INSERT INTO order_transitions (order_id, from_status, to_status, triggered_by, at)"
    " VALUES (?, 'held', 'paid', 'webhook', ?)"
)
_PAID = "UPDATE orders SET status = 'paid', paid_at = ? WHERE id = ?"
_LETTER = (
    "INSERT INTO outbox (kind, key, payload, created_at, due_at, attempts)"
    " VALUES ('confirmation', ?, ?, ?, ?, 0)"
)
_DONE = (
    "UPDATE stripe_events SET done_at = ?, leased_until = NULL, outcome = 'handled' WHERE id = ?"
)


class BareInbox(BareConnection):
    """One connection that handles stored events."""

    def drain(self) -> int:
        """Pays the order of every event that is due; how many there were."""
        done = 0
        while True:
            claimed = self._claim()
            for event_id, payment_intent in claimed:
                self.execute(self.begin, ())
                self._settle(event_id, payment_intent)
                self.execute("COMMIT", ())
            done += len(claimed)
            if len(claimed) < _BATCH:
                return done

    def _claim(self) -> list[tuple[int, str]]:
        now = datetime.now(UTC)
        self.execute(self.begin, ())
        rows: list[tuple[int, str]] = self.execute(_DUE, (self.moment(now),) * 2).fetchall()
        if rows:
            marks, ids = ", ".join("?" * len(rows)), [row[0] for row in rows]
            self.execute(_CLAIM.format(marks), (self.moment(now + LEASE), *ids))
        self.execute("COMMIT", ())
        return rows

    def _settle(self, event_id: int, payment_intent: str) -> None:
        now = self.moment(datetime.now(UTC))
        order_id, place, token, name, payment, amount = self.execute(
            _ORDER, (payment_intent,)
        ).fetchone()
        lines = self.execute(_LINES, (order_id,)).fetchall()
        self.execute(_PAYMENT, (now, amount, payment))
        places = sum(line[1] for line in lines)
        self.execute(_SELL.format("events"), (places, places, place))
        for type_id, count, *_frozen in lines:
            self.execute(_SELL.format("ticket_types"), (count, count, type_id))
        kinds = [(type_id, *frozen) for type_id, count, *frozen in lines for _n in range(count)]
        tickets: list[Any] = []
        for number, (type_id, *frozen) in enumerate(kinds, 1):
            where = (new_ticket_code(), order_id, place, type_id, number)
            tickets += [*where, *frozen, name, now]
        self.execute(_TICKETS.format(", ".join([_TICKET] * len(kinds))), tuple(tickets))
        self.execute(_MOVED, (order_id, now))
        self.execute(_PAID, (now, order_id))
        payload = json.dumps({"order": order_id})
        self.execute(_LETTER, (f"confirmation-{token}", payload, now, now))
        self.execute(_DONE, (now, event_id))
