"""From `python -m flask run` to the first answered page, against a bare Flask application."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.benchmarks.bench_env import BenchEnv
from tests.benchmarks.table import Row, amount_row
from tests.servers import ROOT, Program, free_port, wait_for

GOAL = 1.5
_TIMES = 3


def run(env: BenchEnv) -> list[Row]:
    """Seconds to the first page, in empty folders and in one where the shop ran before."""
    shop, hello = str(ROOT / "app.py"), f"{ROOT / 'tests/benchmarks/bare.py'}:hello"
    used = env.folder()
    _seconds(shop, used)
    fresh, again, bare = [], [], []
    for _time in range(_TIMES):
        fresh.append(_seconds(shop, env.folder()))
        again.append(_seconds(shop, used))
        bare.append(_seconds(hello, env.folder()))
    return [
        amount_row("cold start, empty folder", fresh, bare, "s", GOAL),
        amount_row("cold start, existing instance", again, bare, "s", GOAL),
    ]


def _seconds(app: str, folder: Path) -> float:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", app, "run", "--port", str(port)]
    program = Program("flask", command, folder, {})
    started = time.perf_counter()
    program.start()
    try:
        answer = wait_for(f"http://127.0.0.1:{port}/", program)
        seconds = time.perf_counter() - started
    finally:
        program.stop()
    assert answer.status_code == 200, f"{app} answered {answer.status_code}"
    return seconds
