"""`python -m tests.benchmarks [name …]`: how fast the shop is; without a name, all of it.

Each number stands beside that of a bare yardstick, measured in the same run on the same machine.
A goal that is missed is said and fails nothing: a shared machine is no judge.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence

import psycopg

from tests.benchmarks import (
    audit,
    inbox,
    memory,
    order,
    page,
    race,
    reconcile,
    sale,
    sandbox,
    start,
    webhook,
)
from tests.benchmarks.bench_env import BenchEnv, open_env
from tests.benchmarks.table import Row, rendered
from tests.deployment import THREADS, WORKER_CLASS, WORKERS

BENCHMARKS: dict[str, Callable[[BenchEnv], list[Row]]] = {
    "page": page.run,
    "webhook": webhook.run,
    "order": order.run,
    "inbox": inbox.run,
    "race": race.run,
    "sale": sale.run,
    "start": start.run,
    "memory": memory.run,
    "reconcile": reconcile.run,
    "audit": audit.run,
    "sandbox": sandbox.run,
    "year": sandbox.run_year,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    names: list[str] = parser.parse_args(arguments).names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    started = time.perf_counter()
    rows: list[Row] = []
    with warnings.catch_warnings(), open_env() as env:
        # The test database's library warns of a desktop's folder that a server has not.
        warnings.simplefilter("ignore")
        for name in names:
            print(f"{name} ...", flush=True)
            rows += BENCHMARKS[name](env)
        print(f"\n{_facts(env)}\n\n{rendered(rows)}\n")
    print(f"{time.perf_counter() - started:.0f} seconds in all")


def _facts(env: BenchEnv) -> str:
    with psycopg.connect(env.empty_database("postgresql")) as connection:
        postgres = connection.info.parameter_status("server_version")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores (load {load:.1f}), Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, PostgreSQL {postgres}; gunicorn with {WORKERS}"
        f" workers of {WORKER_CLASS}, {THREADS} threads each; medians of rounds taken in turns"
    )


if __name__ == "__main__":
    main()
