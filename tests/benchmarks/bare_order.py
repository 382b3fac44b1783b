"""The yardstick for placing an order: the SQL that it takes, by the driver alone.

The tables, the database and its settings are the shop's own, and so is the number of rows that
are read and written; only the program around the statements is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.benchmarks.bare import connect_sqlite
from tmt.core.ids import new_token

_STANDING = "SELECT id FROM orders WHERE checkout_token = ?"
_EVENT = "SELECT * FROM events WHERE slug = ?"
_TYPES = "SELECT * FROM ticket_types WHERE event_id = ? ORDER BY position"
_HOLD = (
    "UPDATE {} SET held = held + ?"
    " WHERE id = ? AND (capacity IS NULL OR held + sold + ? <= capacity)"
)
_HOLD_EVENT, _HOLD_TYPE = _HOLD.format("events"), _HOLD.format("ticket_types")
_ORDER = (
    "INSERT INTO orders (code, token, checkout_token, event_id, status, name, email, email_key,"
    " locale, total, currency, livemode, created_at, expires_at, extensions)"
    " VALUES (?, ?, ?, ?, 'held', ?, ?, ?, 'es', ?, 'usd', ?, ?, ?, 0) RETURNING id"
)
_LINE = "(?, ?, ?, ?, ?, '[]')"
_LINES = "INSERT INTO order_lines (order_id, ticket_type_id, name, unit_price, quantity, holders)"
_PAYMENT = (
    "INSERT INTO payments (order_id, idempotency_key, status, amount, currency, created_at)"
    " VALUES (?, ?, 'new', ?, 'usd', ?)"
)

# Runs one statement with its values; a cursor with what it brought.
Execute = Callable[[str, tuple[Any, ...]], Any]


class BareConnection:
    """A connection of the driver's own, for statements that both kinds of database take."""

    def __init__(self, database_url: str) -> None:
        self._connection: Any
        # A moment as the driver takes it.
        self.moment: Callable[[datetime], Any]
        self.execute: Execute
        if database_url.startswith("sqlite:"):
            self._connection = connect_sqlite(database_url)
            self.execute, self.moment = self._sqlite, _as_text
            self.begin = "BEGIN IMMEDIATE"
        else:
            self._connection = psycopg.connect(database_url, autocommit=True, prepare_threshold=0)
            self.execute, self.moment = self._postgres, _unchanged
            self.begin = "BEGIN"

    def close(self) -> None:
        self._connection.close()

    def _sqlite(self, statement: str, values: tuple[Any, ...]) -> Any:
        return self._connection.execute(statement, values)

    def _postgres(self, statement: str, values: tuple[Any, ...]) -> Any:
        return self._connection.execute(statement.replace("?", "%s"), values)


class BareShop(BareConnection):
    """One connection that places orders for an event."""

    def __init__(self, database_url: str, slug: str) -> None:
        super().__init__(database_url)
        self._slug = slug

    def place(self, quantities: Mapping[int, int]) -> bool:
        """Holds the places and writes order, lines and payment, in one transaction.

        False, and nothing written, when there are not as many places.
        """
        self.execute(self.begin, ())
        placed = _write(self.execute, self._slug, quantities, self.moment)
        self.execute("COMMIT" if placed else "ROLLBACK", ())
        return placed


def _as_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _unchanged(moment: datetime) -> Any:
    return moment


def _write(
    execute: Execute, slug: str, quantities: Mapping[int, int], as_moment: Callable[[datetime], Any]
) -> bool:
    checkout_token, now = new_token(), datetime.now(UTC)
    assert execute(_STANDING, (checkout_token,)).fetchone() is None
    event_id = execute(_EVENT, (slug,)).fetchone()[0]
    prices = {row[0]: (row[2], row[4]) for row in execute(_TYPES, (event_id,)).fetchall()}
    total = sum(prices[type_id][1] * count for type_id, count in quantities.items())
    places = sum(quantities.values())
    holds = [(_HOLD_EVENT, event_id, places)]
    holds += [(_HOLD_TYPE, type_id, count) for type_id, count in sorted(quantities.items())]
    for hold, row_id, count in holds:
        if execute(hold, (count, row_id, count)).rowcount != 1:
            return False
    who = ("Ana Ejemplo", "ana@example.com", "ana@example.com")
    token, until = new_token(), now + timedelta(minutes=15)
    order = (token[:12], token, checkout_token, event_id, *who, total, False)
    created = (as_moment(now), as_moment(until))
    with closing(execute(_ORDER, (*order, *created))) as inserted:
        order_id = inserted.fetchone()[0]
    lines = [(order_id, type_id, *prices[type_id], n) for type_id, n in quantities.items()]
    rows = f"{_LINES} VALUES {', '.join([_LINE] * len(lines))}"
    execute(rows, tuple(value for line in lines for value in line))
    execute(_PAYMENT, (order_id, f"order-{token}", total, as_moment(now)))
    return True
