"""Stock: held + sold never exceeds capacity, of a ticket type or of its event.

Each change is one conditional UPDATE per row, and its row count decides: nothing is read first,
so there is nothing to race. The event's row comes first, then the ticket types' by id, so that
no two orders deadlock. A CHECK constraint is the last defence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import CursorResult, Integer, Update, bindparam, or_, update
from sqlalchemy.orm import Session

from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.core.database import table_of
from tmt.core.errors import DomainError

# How many tickets of which ticket type (by id).
Quantities = Mapping[int, int]
_Stocked = type[Event] | type[TicketType]


class SoldOut(DomainError):
    """Too few tickets are left, of a ticket type or (None) of the event; none is held."""

    def __init__(self, ticket_type_id: int | None) -> None:
        super().__init__("not enough tickets are left")
        self.ticket_type_id = ticket_type_id


def hold(session: Session, event_id: int, quantities: Quantities) -> None:
    """Holds the tickets, all or none (the caller's transaction ends with the error): `SoldOut`.

    Nothing is held of an event that is not published.
    """
    if not _hold_row(session, Event, event_id, sum(quantities.values())):
        raise SoldOut(None)
    for type_id, count in sorted(quantities.items()):
        if not _hold_row(session, TicketType, type_id, count):
            raise SoldOut(type_id)


def release(session: Session, event_id: int, quantities: Quantities) -> None:
    """Puts held tickets back on sale."""
    _move(session, event_id, quantities, held=-1, sold=0)


def sell(session: Session, event_id: int, quantities: Quantities) -> None:
    """Turns held tickets into sold ones."""
    _move(session, event_id, quantities, held=-1, sold=+1)


def restock(session: Session, event_id: int, quantities: Quantities) -> None:
    """Puts sold tickets back on sale, when they are void."""
    _move(session, event_id, quantities, held=0, sold=-1)


def _hold_row(session: Session, table: _Stocked, row_id: int, count: int) -> bool:
    result = session.execute(_HOLD[table], {"row": row_id, "count": count})
    return cast("CursorResult[Any]", result).rowcount == 1


def _move(session: Session, event_id: int, quantities: Quantities, *, held: int, sold: int) -> None:
    def change(row_id: int, count: int) -> dict[str, int]:
        return {"row": row_id, "held_by": held * count, "sold_by": sold * count}

    session.execute(_MOVE[Event], change(event_id, sum(quantities.values())))
    session.execute(_MOVE[TicketType], [change(*item) for item in sorted(quantities.items())])


# On the tables and not on their classes: no object is loaded of these rows, and the session need
# not look for one.
def _hold_statement(mapped: _Stocked) -> Update:
    table, count = table_of(mapped), bindparam("count", type_=Integer)
    row, held, sold, capacity = (table.c[name] for name in ("id", "held", "sold", "capacity"))
    where = [row == bindparam("row"), or_(capacity.is_(None), held + sold + count <= capacity)]
    if mapped is Event:
        # An order that read the event just before it was canceled reserves nothing of it.
        where.append(table.c.status == EventStatus.PUBLISHED)
    return update(table).where(*where).values(held=held + count)


def _move_statement(mapped: _Stocked) -> Update:
    table = table_of(mapped)
    held = table.c.held + bindparam("held_by", type_=Integer)
    sold = table.c.sold + bindparam("sold_by", type_=Integer)
    return update(table).where(table.c.id == bindparam("row")).values(held=held, sold=sold)


# Built once: putting a statement together costs more than running it.
_HOLD = {table: _hold_statement(table) for table in (Event, TicketType)}
_MOVE = {table: _move_statement(table) for table in (Event, TicketType)}
