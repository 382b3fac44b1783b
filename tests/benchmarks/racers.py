"""Processes that place orders at the same instant, by the shop's rules or by bare SQL."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.benchmarks.bare_order import BareShop
from tests.benchmarks.order import open_shop, place_one, two_types
from tests.benchmarks.stage import SLUG
from tmt.catalog.stock import SoldOut

_PATIENCE = 120.0


@dataclass(frozen=True)
class Told:
    """What a process tells of its share: orders that stand, and processor seconds."""

    placed: int
    processor_seconds: float


class Racers:
    """Processes that wait for the start; each has its database connections open."""

    def __init__(self, lines: list[Connection]) -> None:
        self._lines = lines

    def race(self, kind: str, processes: int, buyers: int) -> tuple[float, list[Told]]:
        """Lets so many buyers, shared among so many processes, have what is left.

        `kind` is "ours" or "bare". Returns the seconds until the last of them knows.
        """
        lines = self._lines[:processes]
        started = time.perf_counter()
        for line in lines:
            line.send((kind, buyers // processes))
        told = [_received(line) for line in lines]
        return time.perf_counter() - started, told


@contextmanager
def racers(folder: Path, database_url: str, processes: int) -> Iterator[Racers]:
    """Starts the processes; they end with the block."""
    spawning = multiprocessing.get_context("spawn")
    pairs = [spawning.Pipe() for _number in range(processes)]
    children: list[BaseProcess] = [
        spawning.Process(target=_race, args=(folder, database_url, theirs), daemon=True)
        for _mine, theirs in pairs
    ]
    lines = [mine for mine, _theirs in pairs]
    try:
        for child in children:
            child.start()
        for line in lines:
            _received(line)
        yield Racers(lines)
    finally:
        for line, child in zip(lines, children, strict=True):
            line.close()
            child.join(_PATIENCE)


def _received(line: Connection) -> Told:
    assert line.poll(_PATIENCE), "a process of the race is late"
    told = line.recv()
    assert isinstance(told, Told)
    return told


def _race(folder: Path, database_url: str, line: Connection) -> None:
    """One process: says when it is ready, and races until the other end is closed."""
    with (folder / "output.log").open("a") as output:
        shop = open_shop(folder, output, database_url)
        quantities, prices = two_types(shop)
        ours = partial(_tried, partial(place_one, shop, quantities, prices))
        with closing(BareShop(database_url, SLUG)) as bare_shop:
            kinds = {"ours": ours, "bare": partial(bare_shop.place, quantities)}
            line.send(Told(0, 0.0))
            try:
                while True:
                    kind, buyers = line.recv()
                    line.send(_bought(kinds[kind], buyers))
            except EOFError:
                shop.db.close()


def _bought(place: Callable[[], bool], buyers: int) -> Told:
    used = time.process_time()
    placed = sum(place() for _buyer in range(buyers))
    return Told(placed, time.process_time() - used)


def _tried(place: Callable[[], None]) -> bool:
    try:
        place()
    except SoldOut:
        return False
    return True
