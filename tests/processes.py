"""What other processes do to a shop's database; each function runs in one that was spawned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import event, update

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

DIED = 9
# Places of the ticket types of the event, in their order.
Wanted = tuple[int, ...]


def buy(
    settings: dict[str, Any],
    slug: str,
    wanted: Sequence[Wanted],
    guarded: bool,
    barrier: Any,
    told: Any,
) -> None:
    """Tries to place every order that is wanted, four at a time; tells for each if it was."""
    app = create_app(settings)
    shop: Shop = app.extensions["tmt"].shop
    try_one = partial(_guarded, shop, slug)
    if not guarded:
        _turn_the_guard_off(shop)
        try_one = partial(_look_then_take, shop, slug)
    with ThreadPoolExecutor(4) as threads:
        barrier.wait(timeout=60)
        told.send(list(threads.map(try_one, wanted)))
    shop.db.close()


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


def _guarded(shop: Shop, slug: str, wanted: Wanted) -> bool:
    with shop.db.reading() as session:
        types = listing.find_event(session, slug).ticket_types
    request = CheckoutRequest(
        checkout_token=new_token(),
        quantities={t.id: n for t, n in zip(types, wanted, strict=False) if n},
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


def _look_then_take(shop: Shop, slug: str, wanted: Wanted) -> bool:
    """As shops oversell: whether there are places is asked first, and taken for granted then."""
    with shop.db.reading() as session:
        left = listing.find_event(session, slug).left or 0
    return left >= sum(wanted) and _guarded(shop, slug, wanted)


def _turn_the_guard_off(shop: Shop) -> None:
    real = listing.offers
    on_sale = listing.SaleState.ON_SALE
    listing.offers = lambda *given, few: [
        replace(offer, state=on_sale, left=99, max=99) for offer in real(*given, few=few)
    ]
    stock._hold_row = _taken_anyway
    if shop.db.is_sqlite:
        event.listen(shop.db.engine, "connect", _ignore_checks)


def _taken_anyway(session: Any, table: Any, row_id: int, count: int) -> bool:
    query = update(table).where(table.id == row_id).values(held=table.held + count)
    session.execute(query.execution_options(synchronize_session=False))
    return True


def _ignore_checks(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA ignore_check_constraints = ON")
