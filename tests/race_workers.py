"""Processes that buy at the same instant, and one that dies in the middle of a call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import Engine, event, update

from tests.forks import FORKS
from tmt.catalog import listing, stock
from tmt.catalog.stock import SoldOut
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.orders import get_order
from tmt.checkout.states import Trigger
from tmt.core.ids import new_token
from tmt.factory import create_app
from tmt.payments import intents
from tmt.payments.purchase import purchase
from tmt.shop import Shop

DIED, KILLED = 9, -9
_TIMEOUT = 120.0
# How many tickets of each of the event's types, in their order.
Wish = tuple[int, ...]
# Tries to place one order; whether it was placed.
Buy = Callable[[Wish], bool]
# Opens a shop by its settings, for buying at the event with this slug.
Opener = Callable[[Mapping[str, Any], str], Buy]


@dataclass(frozen=True)
class Share:
    """What became of a process's share of the wishes, and the processor time that it took."""

    placed: list[bool]
    processor_seconds: float


class RaceWorkers:
    """Processes that have opened a shop, and wait for the start."""

    def __init__(
        self, settings: Mapping[str, Any], slug: str, openers: Mapping[str, Opener], count: int
    ) -> None:
        self.children: list[Any] = []
        self.connections: list[Connection] = []
        for _number in range(count):
            mine, theirs = FORKS.Pipe()
            arguments = (dict(settings), slug, dict(openers), theirs)
            child = FORKS.Process(target=_work, args=arguments, daemon=True)
            child.start()
            theirs.close()
            self.children.append(child)
            self.connections.append(mine)
        for connection in self.connections:
            assert connection.poll(_TIMEOUT), "a process of the race did not start"
            connection.recv()

    def start(self, shares: Sequence[Sequence[Wish]], opener: str, threads: int = 4) -> None:
        """Lets the first processes begin, each with its share."""
        for connection, share in zip(self.connections, shares, strict=False):
            connection.send((opener, share, threads))

    def result(self, number: int) -> Share:
        """What one process has done; EOFError if it was killed."""
        assert self.connections[number].poll(_TIMEOUT), "a process of the race is late"
        share = self.connections[number].recv()
        assert isinstance(share, Share)
        return share

    def close(self) -> None:
        for connection, child in zip(self.connections, self.children, strict=True):
            connection.close()
            child.join(_TIMEOUT)


def _work(
    settings: dict[str, Any], slug: str, openers: dict[str, Opener], connection: Connection
) -> None:
    buys = {name: opener(settings, slug) for name, opener in openers.items()}
    connection.send("ready")
    while True:
        try:
            name, wishes, count = connection.recv()
        except EOFError:
            return
        used = time.process_time()
        with ThreadPoolExecutor(count) as threads:
            placed = list(threads.map(buys[name], wishes))
        connection.send(Share(placed, time.process_time() - used))


def guarded(settings: Mapping[str, Any], slug: str) -> Buy:
    """Buys as the form does."""
    shop: Shop = create_app(dict(settings)).extensions["tmt"].shop
    with shop.db.reading() as session:
        types = listing.find_event(session, slug).ticket_types

    def buy(wish: Wish) -> bool:
        request = CheckoutRequest(
            checkout_token=new_token(),
            quantities={t.id: n for t, n in zip(types, wish, strict=False) if n},
            shown_prices={t.id: t.price for t in types},
            holders={},
            name="Ana",
            email="ana@example.com",
        )
        try:
            purchase(shop, slug, request, "es")
        except SoldOut:
            return False
        return True

    return buy


def unguarded(settings: Mapping[str, Any], slug: str) -> Buy:
    """As shops oversell: whether tickets are left is asked first, and relied on afterwards."""
    offers = listing.offers
    listing.offers = lambda *arguments, **more: [
        replace(offer, state=listing.SaleState.ON_SALE, left=99, max=99)
        for offer in offers(*arguments, **more)
    ]
    stock._hold_row = _hold_anyway
    event.listen(Engine, "connect", _ignore_checks)
    buy = guarded(settings, slug)
    shop: Shop = create_app(dict(settings)).extensions["tmt"].shop

    def look_then_buy(wish: Wish) -> bool:
        with shop.db.reading() as session:
            left = listing.find_event(session, slug).left or 0
        return left >= sum(wish) and buy(wish)

    return look_then_buy


def _hold_anyway(session: Any, table: Any, row_id: int, count: int) -> bool:
    query = update(table).where(table.id == row_id).values(held=table.held + count)
    session.execute(query.execution_options(synchronize_session=False))
    return True


def _ignore_checks(connection: Any, _record: object) -> None:
    if hasattr(connection, "execute") and "sqlite" in type(connection).__module__:
        connection.execute("PRAGMA ignore_check_constraints = ON")


def die_while_creating(settings: dict[str, Any], order_id: int, after: bool) -> None:
    """Opens the pay page's PaymentIntent, and dies before the call or before its id is stored."""
    app = create_app(settings)
    shop: Shop = app.extensions["tmt"].shop
    gateway = app.extensions["tmt"].gateway

    def die(*_any: object, **_more: object) -> Any:
        os._exit(DIED)

    if after:
        intents._store_id = die
    else:
        gateway.create_payment_intent = die
    with shop.db.reading() as session:
        order = get_order(session, order_id)
    intents.current_intent(shop, gateway, order, Trigger.PAGE)
