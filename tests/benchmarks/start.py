"""From `python -m flask run` to the first answered page, against a bare Flask application."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.benchmarks.processes import ROOT, free_port, running, wait_until_answered
from tests.benchmarks.stage import Stage
from tests.benchmarks.table import Row, amount_row

GOAL = 1.5
_TIMES = 3


def run(stage: Stage) -> list[Row]:
    """Seconds to the first page, in empty folders and in one where the shop ran before."""
    shop, hello = str(ROOT / "app.py"), f"{ROOT / 'tests/benchmarks/bare.py'}:hello"
    kept = stage.folder()
    _seconds(shop, kept)
    fresh, again, bare = [], [], []
    for _time in range(_TIMES):
        fresh.append(_seconds(shop, stage.folder()))
        again.append(_seconds(shop, kept))
        bare.append(_seconds(hello, stage.folder()))
    return [
        amount_row("cold start, empty folder", fresh, bare, "s", GOAL),
        amount_row("cold start, existing instance", again, bare, "s", GOAL),
    ]


def _seconds(app: str, folder: Path) -> float:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", app, "run", "--port", str(port)]
    started = time.perf_counter()
    with running(command, folder, {}) as process:
        status = wait_until_answered(process, folder, port, "/")
        seconds = time.perf_counter() - started
    assert status == 200, f"{app} answered {status}"
    return seconds
