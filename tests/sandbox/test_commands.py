"""`flask sandbox …` on a sandbox that runs alone, with its address in a shop's settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_boot import ROOT

from .conftest import PUBLISHABLE_KEY, SECRET_KEY, SIGNING_SECRET, error_of

Flask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flask(tmp_path: Path, root: str) -> Flask:
    """Runs `flask sandbox …` in a shop whose Stripe is the sandbox."""

    def run(*words: str, key: str = SECRET_KEY) -> subprocess.CompletedProcess[str]:
        keys = {"STRIPE_SECRET_KEY": key, "STRIPE_PUBLISHABLE_KEY": PUBLISHABLE_KEY}
        settings = {"STRIPE_API_BASE": root, "STRIPE_WEBHOOK_SECRET": SIGNING_SECRET, **keys}
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "sandbox", *words],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "SECRET_KEY": "x" * 40}
            | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_faults_are_armed_listed_and_cleared(flask: Flask, v1: Any) -> None:
    armed = flask("fault", "429", "--match", "GET /v1/charges", "--times", "always")
    assert (armed.returncode, armed.stderr) == (0, "")
    flask("fault", "delay", "--share", "0.3", "--seconds", "5", "--times", "2")
    first, second = flask("faults").stdout.splitlines()
    assert first.split() == ["1", "429", "GET", "/v1/charges", "always"]
    assert second.split() == ["2", "delay", "*", "2", "times", "share=0.3", "seconds=5.0"]
    assert error_of(v1.charges.list).http_status == 429
    assert flask("calm", "2").stdout == "1 left\n"
    assert flask("calm").stdout == flask("faults").stdout == "no trouble\n"
    assert v1.charges.list().data == []


def test_wrong_faults_and_keys_are_refused(flask: Flask) -> None:
    unknown = flask("fault", "rain")
    assert unknown.returncode != 0
    assert "must be one of" in unknown.stderr
    other_key = flask("calm", key="sk_test_somebodyelses0000001")
    assert other_key.returncode != 0
    assert "refuses to be calm" in other_key.stderr


def test_the_clock_of_a_sandbox_alone_moves(flask: Flask) -> None:
    assert "432000" in flask("advance", "5d").stdout
