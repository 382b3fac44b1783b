"""The memory of a gunicorn worker that has worked, against that of a bare one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.benchmarks.client import Plan
from tests.benchmarks.load import load
from tests.benchmarks.page import PATH, head_of
from tests.benchmarks.processes import free_port, gunicorn, shop_environment, workers_of
from tests.benchmarks.stage import Stage
from tests.benchmarks.table import Row, amount_row
from tests.benchmarks.webhook import plan_for

GOAL = 100.0
_PAGES, _EVENTS = 500, 100
_SECONDS = 60.0
_KINDS = ("Rss", "Pss")


def run(stage: Stage) -> list[Row]:
    """MiB of the one worker, resident (what it would have alone) and proportional."""
    if not Path("/proc/self/smaps_rollup").exists():
        return [Row("memory of a worker", "not measured", "(needs Linux's /proc)", "")]
    ours, bare = _ours(stage), _bare(stage)
    return [
        amount_row("memory of a worker, RSS", [ours["Rss"]], [bare["Rss"]], "MiB", GOAL),
        amount_row("memory of a worker, PSS", [ours["Pss"]], [bare["Pss"]], "MiB", GOAL),
    ]


def _ours(stage: Stage) -> dict[str, float]:
    port, folder = free_port(), stage.folder()
    settings = shop_environment(folder, stage.shop_database("SQLite"), port)
    with gunicorn("app:app", folder, port, settings=settings, workers=1) as master:
        _load(Plan(port, head_of(PATH)), _PAGES)
        _load(plan_for(port), _EVENTS)
        return _memory_of_worker(master)


def _bare(stage: Stage) -> dict[str, float]:
    port = free_port()
    app = "tests.benchmarks.bare:hello()"
    with gunicorn(app, stage.folder(), port, workers=1) as master:
        _load(Plan(port, head_of("/")), _PAGES)
        return _memory_of_worker(master)


def _load(plan: Plan, answers: int) -> None:
    whole = Plan(plan.port, plan.head, plan.body, plan.secret, seconds=_SECONDS, most=answers)
    load(whole, processes=1)


def _memory_of_worker(master: subprocess.Popen[bytes]) -> dict[str, float]:
    (worker,) = workers_of(master)
    rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE))
    return {kind: int(found[kind]) / 1024 for kind in _KINDS}
