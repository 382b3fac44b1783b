"""Stock: held + sold never exceeds capacity, of a ticket type or of its event.

Each change is one conditional UPDATE per row, and its row count decides: nothing is read first,
so there is nothing to race. The event's row comes first, then the ticket types' by id, so that
no two orders deadlock. A CHECK constraint is the last wall.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import CursorResult, Integer, Update, bindparam, or_, update
from sqlalchemy.orm import Session

from tmt.catalog.models import Event, TicketType
from tmt.core.database import table_of
from tmt.core.errors import DomainError

# How many places of which ticket type (by id).
Places = Mapping[int, int]
_Stocked = type[Event] | type[TicketType]


class SoldOut(DomainError):
    """There are not as many places left, of a ticket type or (None) of the event; none is held."""

    def __init__(self, ticket_type_id: int | None) -> None:
        super().__init__("not enough places are left")
        self.ticket_type_id = ticket_type_id


def hold(session: Session, event_id: int, places: Places) -> None:
    """Holds the places, all or none (the caller's transaction ends with the error): `SoldOut`."""
    if not _hold_on(session, Event, event_id, sum(places.values())):
        raise SoldOut(None)
    for type_id, count in sorted(places.items()):
        if not _hold_on(session, TicketType, type_id, count):
            raise SoldOut(type_id)


def release(session: Session, event_id: int, places: Places) -> None:
    """Gives held places back to the sale."""
    _move(session, event_id, places, held=-1, sold=0)


def sell(session: Session, event_id: int, places: Places) -> None:
    """Turns held places into sold ones."""
    _move(session, event_id, places, held=-1, sold=+1)


def restock(session: Session, event_id: int, places: Places) -> None:
    """Gives sold places back to the sale, when their tickets are void."""
    _move(session, event_id, places, held=0, sold=-1)


def _hold_on(session: Session, table: _Stocked, row_id: int, count: int) -> bool:
    held = session.execute(_HOLD[table], {"row": row_id, "count": count})
    assert isinstance(held, CursorResult)
    return held.rowcount == 1


def _move(session: Session, event_id: int, places: Places, *, held: int, sold: int) -> None:
    def change(row_id: int, count: int) -> dict[str, int]:
        return {"row": row_id, "held_by": held * count, "sold_by": sold * count}

    session.execute(_MOVE[Event], change(event_id, sum(places.values())))
    session.execute(_MOVE[TicketType], [change(*place) for place in sorted(places.items())])


# Of the tables and not of their classes: no object stands for these rows, and the session need not
# look for one.
def _holding(mapped: _Stocked) -> Update:
    table, count = table_of(mapped), bindparam("count", type_=Integer)
    row, held, sold, capacity = (table.c[name] for name in ("id", "held", "sold", "capacity"))
    enough = or_(capacity.is_(None), held + sold + count <= capacity)
    return update(table).where(row == bindparam("row"), enough).values(held=held + count)


def _moving(mapped: _Stocked) -> Update:
    table = table_of(mapped)
    held = table.c.held + bindparam("held_by", type_=Integer)
    sold = table.c.sold + bindparam("sold_by", type_=Integer)
    return update(table).where(table.c.id == bindparam("row")).values(held=held, sold=sold)


# Built once: putting a statement together costs more than running it.
_HOLD = {table: _holding(table) for table in (Event, TicketType)}
_MOVE = {table: _moving(table) for table in (Event, TicketType)}
