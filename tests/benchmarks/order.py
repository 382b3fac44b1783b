"""Placing an order against the SQL transaction that it takes, each on one connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import func, select

from tests.benchmarks.bare_order import BareShop
from tests.benchmarks.bench_env import DATABASES, SLUG, BenchEnv
from tests.benchmarks.load import ROUNDS, Turns
from tests.benchmarks.table import Row, rate_row
from tmt.catalog.listing import find_event
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.models import Order
from tmt.core import log
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.ids import new_token
from tmt.core.jobs import Jobs
from tmt.environment import load_settings
from tmt.payments.models import Payment
from tmt.payments.purchase import purchase
from tmt.shop import Shop

GOAL = 0.3
_SECONDS, _WARM_UP = 0.7, 0.3


def run(env: BenchEnv) -> list[Row]:
    """Orders per second, of two ticket types and three places, on each kind of database."""
    return [_compared(env, kind) for kind in DATABASES]


def place_one(shop: Shop, quantities: dict[int, int], prices: dict[int, int]) -> None:
    """Places one order with a checkout token of its own."""
    request = CheckoutRequest(new_token(), quantities, prices, {}, "Ana Ejemplo", "ana@example.com")
    purchase(shop, SLUG, request, "es")


def open_shop(folder: Path, output: TextIO, database_url: str) -> Shop:
    """A shop without its web, with the log lines that it writes in production."""
    settings = load_settings(_settings(folder, database_url))
    with redirect_stderr(output):
        log.configure("json", "INFO")
    return Shop(settings, Database(database_url), Clock(), Jobs("", settings.instance))


def two_types(shop: Shop) -> tuple[dict[int, int], dict[int, int]]:
    """Two places of the event's first type and one of its second, with their prices."""
    with shop.db.reading() as session:
        first, second = find_event(session, SLUG).ticket_types[:2]
    return {first.id: 2, second.id: 1}, {first.id: first.price, second.id: second.price}


def _compared(env: BenchEnv, kind: str) -> Row:
    url = env.shop_database(kind)
    shop = open_shop(env.folder(), env.log_file(), url)
    quantities, prices = two_types(shop)
    bare = BareShop(url.replace("postgresql+psycopg:", "postgresql:"), SLUG)
    try:
        place_in_shop = partial(place_one, shop, quantities, prices)
        place_bare = partial(bare.place, quantities)
        shop_turns, bare_turns = take_turns([place_in_shop, place_bare])
        _check_same_work(shop, sum(quantities.values()))
    finally:
        bare.close()
        shop.db.close()
    return rate_row(f"placing an order, {kind}", shop_turns, bare_turns, GOAL)


def take_turns(acts: Sequence[Callable[[], object]]) -> list[Turns]:
    """Repeats each act for a while, one after the other, in several rounds."""
    for act in acts:
        _repeat(act, _WARM_UP, Turns())
    turns = [Turns() for _act in acts]
    for _round in range(ROUNDS):
        for act, shop_turns in zip(acts, turns, strict=True):
            _repeat(act, _SECONDS, shop_turns)
    return turns


def _repeat(act: Callable[[], object], seconds: float, turns: Turns) -> None:
    done, started, used = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - started) < seconds:
        act()
        done += 1
    turns.note(done, passed, time.process_time() - used)


def _check_same_work(shop: Shop, places: int) -> None:
    """Whoever placed them, each order has its payment and holds its places."""
    with shop.db.reading() as session:
        orders = session.scalar(select(func.count(Order.id))) or 0
        payments = session.scalar(select(func.count(Payment.id)))
        held = find_event(session, SLUG).held
    assert (payments, held) == (orders, orders * places), (orders, payments, held)


def _settings(folder: Path, database_url: str) -> dict[str, Any]:
    return {
        "secret_key": "only for benchmarks",
        "database_url": database_url,
        "stripe_secret_key": "sk_test_benchmarks00000000001",
        "stripe_publishable_key": "pk_test_benchmarks00000000001",
        "stripe_webhook_secrets": (),
        "sandbox": False,
        "base_url": "http://127.0.0.1",
        "instance": folder,
    }
