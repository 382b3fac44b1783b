"""The memory of a gunicorn worker that has worked, against that of a bare one."""

from __future__ import annotations

import re
from pathlib import Path

from tests.benchmarks.bench_env import BenchEnv
from tests.benchmarks.client import Plan
from tests.benchmarks.load import load
from tests.benchmarks.page import PATH, bare_app, head_of
from tests.benchmarks.table import Row, amount_row
from tests.benchmarks.webhook import plan_for
from tests.deployment import UNLIMITED, deploy
from tests.servers import Program

GOAL = 100.0
_PAGES, _EVENTS = 500, 100
_SECONDS = 60.0
_KINDS = ("Rss", "Pss")


def run(env: BenchEnv) -> list[Row]:
    """MiB of the one worker, resident (what it would have alone) and proportional."""
    if not Path("/proc/self/smaps_rollup").exists():
        return [Row("memory of a worker", "not measured", "(needs Linux's /proc)", "")]
    ours, bare = _ours(env), _bare(env)
    return [
        amount_row("memory of a worker, RSS", [ours["Rss"]], [bare["Rss"]], "MiB", GOAL),
        amount_row("memory of a worker, PSS", [ours["Pss"]], [bare["Pss"]], "MiB", GOAL),
    ]


def _ours(env: BenchEnv) -> dict[str, float]:
    url = env.shop_database("sqlite")
    with deploy(env.folder(), url, UNLIMITED, workers=1, jobs=0, sandbox=False) as shop:
        _load(Plan(shop.port, head_of(PATH)), _PAGES)
        _load(plan_for(shop.port, shop.signing_secret), _EVENTS)
        return _memory_of_worker(shop.web)


def _bare(env: BenchEnv) -> dict[str, float]:
    with bare_app(env, "hello()", workers=1) as (port, program):
        _load(Plan(port, head_of("/")), _PAGES)
        return _memory_of_worker(program)


def _load(plan: Plan, answers: int) -> None:
    whole = Plan(plan.port, plan.head, plan.body, plan.secret, seconds=_SECONDS, most=answers)
    load(whole, processes=1)


def _memory_of_worker(master: Program) -> dict[str, float]:
    (worker,) = master.children()
    rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE))
    return {kind: int(sizes[kind]) / 1024 for kind in _KINDS}
