"""One trial from its beginning to its verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tmt.factory  # noqa: F401 - knows every table
from tests.actions import add_event
from tests.chaos import logs
from tests.chaos.app import create_app
from tests.chaos.buyers import visit
from tests.chaos.judge import Judge, counted
from tests.chaos.plan import FULL, GRAND, OPEN, Plan, make_plan, visits
from tests.chaos.rest import come_to_rest
from tests.chaos.servers import Place, audit, database, open_place, start_shop
from tests.chaos.tally import Tally
from tests.chaos.world import World
from tmt.core import schema
from tmt.core.database import Database
from tmt.shop import Shop

BUYERS = 5


@dataclass(frozen=True)
class Verdict:
    """What a trial has counted, and the breaches it found."""

    counts: dict[str, int]
    breaches: list[str]


def hold_trial(seed: int, seconds: float, kind: str, folder: Path) -> Verdict:
    """Runs the trial of this seed on a database of this kind; all its files are in the folder."""
    tally = Tally()
    with database(kind, folder) as url, open_place(folder, url) as place:
        _put_on_sale(url)
        start_shop(place)
        with _shop(place) as shop:
            _live(place, shop, tally, seed, seconds)
            come_to_rest(place, shop, tally)
        judge = Judge(shop, place.store)
        tally.breaches += judge.breaches()
        tally.breaches += audit(place, judge.bounced())
        tally.breaches += logs.private_words(place.logs, shop)
        tally.breaches += logs.own_failures(place.logs)
        tally.breaches += logs.surprises(place.logs)
        counts = counted(shop, place.store) | dict(tally.counts)
        shop.db.close()
    return Verdict(counts, tally.breaches)


def _live(place: Place, shop: Shop, tally: Tally, seed: int, seconds: float) -> None:
    """The trial's time: buyers, trouble, kills, moves of the clock and the organiser, at once."""
    plan, world = make_plan(seed, seconds), World(place, shop, tally, threading.Event())
    began = time.monotonic()
    threads = [threading.Thread(target=world.pass_minutes)]
    threads += _surroundings(world, plan, began)
    for number in range(BUYERS):
        arguments = (place, tally, seed, number, began + seconds)
        threads.append(threading.Thread(target=_buy_until, args=arguments))
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    world.stopping.set()
    for thread in threads:
        thread.join()


def _surroundings(world: World, plan: Plan, began: float) -> list[threading.Thread]:
    told = (
        (plan.faults, world.trouble),
        (plan.kills, world.kill),
        (plan.moves, world.move),
        (plan.deeds, world.staff),
    )
    return [threading.Thread(target=world.follow, args=(began, steps, act)) for steps, act in told]


def _buy_until(place: Place, tally: Tally, seed: int, buyer: int, end: float) -> None:
    for number, planned in enumerate(visits(seed, buyer)):
        if time.monotonic() >= end:
            return
        tally.count("visits")
        visit(place, tally, planned, f"{buyer}-{number}")


@contextmanager
def _shop(place: Place) -> Iterator[Shop]:
    """The shop as the organiser's commands have it, its log in a file among the others."""
    with (place.folder / "trial.log").open("a") as output, redirect_stderr(output):
        yield create_app(place.settings, place.store).extensions["tmt"].shop


def _put_on_sale(url: str) -> None:
    """A large event, one that is soon full, and one that costs nothing; all in a year."""
    db = Database(url)
    schema.migrate(db)
    begins = datetime.now(UTC) + timedelta(days=365)
    when = {"starts_at": begins, "ends_at": begins + timedelta(hours=3), "currency": "eur"}
    add_event(db, GRAND, (4500, 2500), (None, 4000), capacity=5000, **when)
    add_event(db, FULL, (7500, 3000), (25, 12), capacity=30, **when)
    add_event(db, OPEN, (0, 0), (400, 400), capacity=500, **when)
    db.close()
