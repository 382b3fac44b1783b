"""The sandbox's clock, moved by a developer: the shop goes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.servers import wait_for
from tests.test_boot import ROOT, flask_run


def flask(folder: Path, address: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), *command],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "TMT_INSTANCE": str(folder / "instance"),
            "TMT_BASE_URL": address,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def buy(address: str) -> None:
    script = str(ROOT / ".ci" / "buy.py")
    subprocess.run([sys.executable, script, address], check=True, timeout=60)


def test_five_days_later_the_shop_still_sells(tmp_path: Path) -> None:
    with flask_run(tmp_path) as (address, _output):
        wait_for(address)
        moved = flask(tmp_path, address, "sandbox", "advance", "5d")
        buy(address)
        listed = flask(tmp_path, address, "inbox", "list")
    assert moved.returncode == 0, moved.stderr
    assert "432000" in moved.stdout
    assert "payment_intent.succeeded" in listed.stdout


def test_a_span_that_is_none_is_refused(tmp_path: Path) -> None:
    with flask_run(tmp_path) as (address, _output):
        wait_for(address)
        refused = flask(tmp_path, address, "sandbox", "advance", "soon")
    assert refused.returncode != 0
    assert "soon" in refused.stderr


def test_without_a_server_the_command_says_so(tmp_path: Path) -> None:
    refused = flask(tmp_path, "http://127.0.0.1:9", "sandbox", "advance", "1d")
    assert refused.returncode != 0
    assert "is flask run running?" in refused.stderr
