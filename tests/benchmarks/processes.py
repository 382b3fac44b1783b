"""Servers in processes of their own, as operators run them; each is ended by its id."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECRET = "whsec_benchmarks"
WORKER_CLASS, WORKERS, THREADS = "gthread", 2, 4
_START_SECONDS = 30.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class NotStarted(Exception):
    """A server ended, or did not answer in time; its last lines are in the text."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that is a setting of the shop."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def shop_environment(folder: Path, database_url: str, port: int) -> dict[str, str]:
    """The settings of a shop with test keys, whose Stripe is a port where nobody listens."""
    return {
        "SECRET_KEY": "only for benchmarks, and long enough",
        "DATABASE_URL": database_url,
        "STRIPE_SECRET_KEY": "sk_test_benchmarks00000000001",
        "STRIPE_PUBLISHABLE_KEY": "pk_test_benchmarks00000000001",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_BASE": f"http://127.0.0.1:{free_port()}",
        "TMT_BASE_URL": f"http://127.0.0.1:{port}",
        "TMT_INSTANCE": str(folder / "instance"),
        "TMT_ORDERS_PER_ADDRESS": "1000000 per minute",
        "TMT_ORDERS_PER_EMAIL": "1000000 per minute",
        "TMT_ORDERS_IN_ALL": "1000000 per minute",
        "TMT_CONFIRMS_PER_ADDRESS": "1000000 per minute",
        "TMT_API_PER_ADDRESS": "1000000 per minute",
    }


@contextmanager
def gunicorn(
    app: str,
    folder: Path,
    port: int,
    *,
    settings: Mapping[str, str] | None = None,
    path: str = "/",
    workers: int = WORKERS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs gunicorn on the application in `folder` (no `.env` there) until the block ends.

    Begins when a GET of `path` is answered, with whatever status.
    """
    command = [sys.executable, "-m", "gunicorn", app, "--pythonpath", str(ROOT)]
    command += ["--bind", f"127.0.0.1:{port}", "--worker-class", WORKER_CLASS]
    command += ["--workers", str(workers), "--threads", str(THREADS), "--keep-alive", "30"]
    with running(command, folder, settings or {}) as process:
        wait_until_answered(process, folder, port, path)
        yield process


@contextmanager
def running(
    command: list[str], folder: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command in the folder, its output in a file there; ends it with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with _log_of(folder).open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment() | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            _end(process)


def wait_until_answered(
    process: subprocess.Popen[bytes], folder: Path, port: int, path: str
) -> int:
    """Asks for the page until there is an answer; its status. `NotStarted` otherwise."""
    end = time.perf_counter() + _START_SECONDS
    while time.perf_counter() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            time.sleep(0.005)
        finally:
            connection.close()
    raise NotStarted(f"no answer from {process.args!r}:\n{_log_of(folder).read_text()[-2000:]}")


def workers_of(master: subprocess.Popen[bytes]) -> list[int]:
    """The ids of gunicorn's workers, as far as the system tells; none without /proc."""
    children = Path(f"/proc/{master.pid}/task/{master.pid}/children")
    return [int(one) for one in children.read_text().split()] if children.exists() else []


def processor_seconds(master: subprocess.Popen[bytes]) -> float:
    """The processor time that gunicorn's workers have used so far; 0 without /proc."""
    return sum(seconds_of(worker) for worker in workers_of(master))


def seconds_of(process: int) -> float:
    """The processor time that the process has used so far; 0 without /proc."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return 0.0
    # The name in parentheses may hold anything; user and system time are fields 14 and 15.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _log_of(folder: Path) -> Path:
    return folder / "output.log"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
