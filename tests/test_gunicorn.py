"""The shop behind gunicorn: several workers, one answer; and what it refuses to start with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.servers import free_port, wait_for
from tmt.core import schema
from tmt.core.database import Database

ROOT = Path(__file__).parent.parent
SETTINGS = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": str(ROOT),
    "SECRET_KEY": "only for tests",
    "STRIPE_SECRET_KEY": "sk_test_gunicorn",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_gunicorn",
    "TMT_BASE_URL": "https://tickets.example.org",
}


@contextmanager
def gunicorn(folder: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Two workers in a folder of their own; their address and process."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "2"]
    process = subprocess.Popen(
        [*command, "--chdir", str(ROOT), "--bind", f"127.0.0.1:{port}", "app:app"],
        cwd=folder,
        env={
            **SETTINGS,
            "TMT_INSTANCE": str(folder / "instance"),
            "DATABASE_URL": f"sqlite:///{folder / 'tmt.sqlite'}",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def migrated(folder: Path) -> None:
    database = Database(f"sqlite:///{folder / 'tmt.sqlite'}")
    schema.migrate(database)
    database.close()


def test_any_worker_answers_the_metrics_of_all(tmp_path: Path) -> None:
    migrated(tmp_path)
    shared = tmp_path / "metrics"
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(shared), "TMT_BASE_URL": "http://127.0.0.1:8000"}
    with gunicorn(tmp_path, **settings) as (address, _process):
        wait_for(f"{address}/healthz")
        for _ in range(30):
            assert requests.get(f"{address}/", timeout=10).status_code == 200
        counted = [requests.get(f"{address}/metrics", timeout=10).text for _ in range(6)]
    line = 'tmt_requests_total{method="GET",route="/",status="200"} 30.0'
    assert all(line in text for text in counted)
    assert all('tmt_queued_rows{queue="inbox"} 0' in text for text in counted)


def test_logs_are_json_lines(tmp_path: Path) -> None:
    migrated(tmp_path)
    with gunicorn(tmp_path) as (address, process):
        wait_for(f"{address}/events/none?email=ana@example.com")
        process.terminate()
        assert process.stderr
        printed = process.stderr.read()
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    told = next(line for line in lines if line["event"] == "request" and line["status"] == 404)
    assert told["route"] == "/events/<slug>"
    assert told["request"]
    assert "ana@example.com" not in printed


def test_not_ready_before_the_schema_is_there(tmp_path: Path) -> None:
    (tmp_path / "tmt.sqlite").touch()
    with gunicorn(tmp_path) as (address, _process):
        wait_for(f"{address}/healthz")
        answer = requests.get(f"{address}/readyz", timeout=10)
    assert answer.status_code == 503
    assert "flask db upgrade" in answer.json()["checks"]["database"]


def test_it_does_not_start_without_a_key(tmp_path: Path) -> None:
    with gunicorn(tmp_path, STRIPE_SECRET_KEY="", STRIPE_PUBLISHABLE_KEY="") as (_url, process):
        assert process.wait(20) != 0
        assert process.stderr
        assert "Set STRIPE_SECRET_KEY" in process.stderr.read()
