"""Stock: never more than there is, whoever comes at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.catalog.files import new_event, new_type
from tmt.catalog import stock
from tmt.catalog.models import Event
from tmt.core.database import Database

BUYERS = 16


def make_event(db: Database, capacity: int | None, *types: int | None) -> tuple[int, list[int]]:
    """An event with ticket types of these capacities; its id and theirs."""
    event = new_event("noche", *(new_type(capacity=each) for each in types), capacity=capacity)

    def unit(session: Session) -> tuple[int, list[int]]:
        session.add(event)
        session.flush()
        return event.id, [ticket_type.id for ticket_type in event.ticket_types]

    return db.transaction(unit)


def counts(db: Database, event_id: int) -> list[tuple[int, int]]:
    """Held and sold of the event, then of each of its ticket types."""
    with db.reading() as session:
        event = session.get_one(Event, event_id)
        return [(row.held, row.sold) for row in (event, *event.ticket_types)]


def at_once(calls: list[Callable[[], None]]) -> int:
    """Runs the calls in as many threads, all released together; how many were not sold out."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], None]) -> bool:
        barrier.wait()
        try:
            call()
        except stock.SoldOut:
            return False
        return True

    with ThreadPoolExecutor(len(calls)) as pool:
        return sum(pool.map(one, calls))


def test_tickets_go_from_held_to_sold_and_back(db: Database) -> None:
    event_id, (first, second) = make_event(db, 10, 5, None)
    quantities = {first: 2, second: 1}
    db.transaction(lambda s: stock.hold(s, event_id, quantities))
    assert counts(db, event_id) == [(3, 0), (2, 0), (1, 0)]
    db.transaction(lambda s: stock.sell(s, event_id, quantities))
    assert counts(db, event_id) == [(0, 3), (0, 2), (0, 1)]
    db.transaction(lambda s: stock.restock(s, event_id, {first: 1}))
    assert counts(db, event_id) == [(0, 2), (0, 1), (0, 1)]


def test_released_tickets_can_be_held_again(db: Database) -> None:
    event_id, (only,) = make_event(db, None, 2)
    db.transaction(lambda s: stock.hold(s, event_id, {only: 2}))
    db.transaction(lambda s: stock.release(s, event_id, {only: 2}))
    assert counts(db, event_id) == [(0, 0), (0, 0)]
    db.transaction(lambda s: stock.hold(s, event_id, {only: 2}))
    assert counts(db, event_id) == [(2, 0), (2, 0)]


# Capacity of the event and of its types; what is sold before, what is wanted, what has too little.
TOO_FEW: list[tuple[int | None, list[int | None], dict[int, int], dict[int, int], int | None]] = [
    (10, [10, 1], {}, {0: 2, 1: 2}, 1),
    (3, [None, 5], {0: 2}, {1: 2}, None),
    (None, [2], {0: 2}, {0: 1}, 0),
    (None, [0], {}, {0: 1}, 0),
]


@pytest.mark.parametrize(("capacity", "types", "sold", "wanted", "too_few"), TOO_FEW)
def test_what_has_too_few_left_is_named_and_nothing_is_held(
    db: Database,
    capacity: int | None,
    types: list[int | None],
    sold: dict[int, int],
    wanted: dict[int, int],
    too_few: int | None,
) -> None:
    event_id, ids = make_event(db, capacity, *types)
    sold, wanted = ({ids[i]: n for i, n in each.items()} for each in (sold, wanted))
    for step in (stock.hold, stock.sell) if sold else ():
        db.transaction(lambda s, step=step: step(s, event_id, sold))
    before = counts(db, event_id)
    with pytest.raises(stock.SoldOut) as caught:
        db.transaction(lambda s: stock.hold(s, event_id, wanted))
    assert caught.value.ticket_type_id == (None if too_few is None else ids[too_few])
    assert counts(db, event_id) == before


def test_a_unit_that_fails_later_leaves_nothing_held(db: Database) -> None:
    event_id, (only,) = make_event(db, 5, 5)

    def unit(session: Session) -> None:
        stock.hold(session, event_id, {only: 3})
        raise RuntimeError("the order could not be written")

    with pytest.raises(RuntimeError):
        db.transaction(unit)
    assert counts(db, event_id) == [(0, 0), (0, 0)]


def test_more_than_is_held_cannot_be_released(db: Database) -> None:
    event_id, (only,) = make_event(db, 5, 5)
    db.transaction(lambda s: stock.hold(s, event_id, {only: 1}))
    with pytest.raises(IntegrityError):
        db.transaction(lambda s: stock.release(s, event_id, {only: 2}))
    assert counts(db, event_id) == [(1, 0), (1, 0)]


def test_the_last_tickets_of_a_type_are_sold_once_each(db: Database) -> None:
    event_id, (only,) = make_event(db, None, 5)

    def buy() -> None:
        db.transaction(lambda s: stock.hold(s, event_id, {only: 1}))

    assert at_once([buy] * BUYERS) == 5
    assert counts(db, event_id) == [(5, 0), (5, 0)]


def test_the_last_tickets_of_an_event_are_sold_once_each_over_two_types(db: Database) -> None:
    event_id, types = make_event(db, 5, 4, 4)

    def buyer(type_id: int) -> Callable[[], None]:
        return lambda: db.transaction(lambda s: stock.hold(s, event_id, {type_id: 1}))

    assert at_once([buyer(types[i % 2]) for i in range(BUYERS)]) == 5
    event, first, second = counts(db, event_id)
    assert event == (5, 0)
    assert first[0] + second[0] == 5
    assert max(first[0], second[0]) <= 4


def test_orders_of_several_types_at_once_neither_deadlock_nor_oversell(db: Database) -> None:
    event_id, (first, second) = make_event(db, None, 5, 5)
    orders = [{first: 1, second: 1}, {second: 1, first: 1}]

    def buyer(quantities: dict[int, int]) -> Callable[[], None]:
        return lambda: db.transaction(lambda s: stock.hold(s, event_id, quantities))

    assert at_once([buyer(orders[i % 2]) for i in range(BUYERS)]) == 5
    assert counts(db, event_id) == [(10, 0), (5, 0), (5, 0)]


def test_tickets_released_during_a_rush_are_not_lost(db: Database) -> None:
    event_id, (only,) = make_event(db, None, 5)

    def visit() -> None:
        db.transaction(lambda s: stock.hold(s, event_id, {only: 1}))
        db.transaction(lambda s: stock.release(s, event_id, {only: 1}))

    at_once([visit] * BUYERS)
    assert counts(db, event_id) == [(0, 0), (0, 0)]
