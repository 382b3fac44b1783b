"""The processes of a trial: Stripe's stand-in, the shop's web server and its jobs.

Each leads a process group of its own, is killed as such, and ends with the trial.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.processes import ROOT, clean_environment, workers_of
from tests.chaos.app import STORE
from tests.servers import Postgres, free_port, wait_for

WORKERS, THREADS, JOBS = 2, 4, 2
_FLASK = [sys.executable, "-m", "flask", "--app", "tests.chaos.app"]


@dataclass
class Server:
    """A program that can be killed at any moment and started again."""

    name: str
    command: list[str]
    folder: Path
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Starts it; what it prints is added to its log."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=clean_environment() | {"PYTHONPATH": str(ROOT)} | dict(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Ends it and all it has started, with SIGKILL."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def kill_a_worker(self, which: float) -> None:
        """Ends one of the processes that it has started, with SIGKILL."""
        workers = sorted(workers_of(self.process)) if self.process else []
        if workers:
            os.kill(workers[int(which * len(workers))], signal.SIGKILL)

    def stop(self) -> None:
        """Asks it to end, and insists after a while."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Place:
    """Where a trial takes place: addresses, keys, files and processes."""

    folder: Path
    database_url: str
    store: Path
    shop_url: str
    stripe_url: str
    secret_key: str
    publishable_key: str
    signing_secret: str
    web: Server = field(init=False)
    jobs: list[Server] = field(init=False)

    @property
    def settings(self) -> dict[str, str]:
        """The shop's settings by the names of their environment variables."""
        return {
            "SECRET_KEY": "only for the trial, and long enough",
            "DATABASE_URL": self.database_url,
            "STRIPE_SECRET_KEY": self.secret_key,
            "STRIPE_PUBLISHABLE_KEY": self.publishable_key,
            "STRIPE_WEBHOOK_SECRET": self.signing_secret,
            "STRIPE_API_BASE": self.stripe_url,
            "TMT_BASE_URL": self.shop_url,
            "TMT_INSTANCE": str(self.folder / "instance"),
            "TMT_STRIPE_TIMEOUT": "2.5",
            "TMT_LOG_FORMAT": "json",
            "TMT_ORGANISER_EMAIL": "organiser@chaos.example",
            # Buyers have addresses of their own, as behind a proxy.
            "TMT_TRUSTED_PROXIES": "1",
        }

    @property
    def environment(self) -> dict[str, str]:
        """What the shop's processes find in their environment."""
        return self.settings | {STORE: str(self.store)}

    @property
    def logs(self) -> list[Path]:
        """Everything that the shop has printed."""
        return [self.web.log, *(server.log for server in self.jobs), self.folder / "trial.log"]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty database of the kind, sqlite or postgresql."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'tmt.sqlite'}"
        return
    server = Postgres(folder / "postgres")
    try:
        yield server.url(server.create())
    finally:
        server.stop()


@contextmanager
def open_place(folder: Path, database_url: str) -> Iterator[Place]:
    """Starts Stripe's stand-in; the shop's servers are described, and stopped with the block."""
    port = free_port()
    stripe_port = free_port()
    store = folder / "stripe.sqlite"
    keys = [start + secrets.token_hex(16) for start in ("sk_test_", "pk_test_", "whsec_")]
    # The sandbox reads its keys from beside its store.
    Path(f"{store}.keys").write_text("\n".join(keys))
    shop_url, stripe_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{stripe_port}"
    place = Place(folder, database_url, store, shop_url, stripe_url, *keys)
    environment = place.environment
    place.web = Server("web", _web_command(port), folder, environment)
    place.jobs = [
        Server(f"jobs-{number}", [*_FLASK, "jobs"], folder, environment) for number in range(JOBS)
    ]
    command = [sys.executable, "-m", "tmt.sandbox", "--port", str(stripe_port)]
    command += ["--store", str(store), "--webhook", f"{shop_url}/stripe_webhook"]
    sandbox = Server("stripe", command, folder, {})
    with ExitStack() as closing:
        for server in (sandbox, place.web, *place.jobs):
            closing.callback(server.stop)
        sandbox.start()
        wait_for(f"{stripe_url}/clock")
        yield place


def start_shop(place: Place) -> None:
    """Starts the shop's processes, and returns once it answers."""
    for server in (place.web, *place.jobs):
        server.start()
    wait_for(f"{place.shop_url}/healthz")


def restart(server: Server, pause: float) -> None:
    """Kills the server and starts it again a moment later, as a supervisor does."""
    server.kill()
    time.sleep(pause)
    server.start()


def audit(place: Place, bounced: Iterable[str]) -> Iterator[str]:
    """The breaches that the shop's own `flask audit` finds.

    That money is kept of `bounced` orders is none here: a bank would not take it back, the audit
    says so until the end of time, and a person gives it back another way.
    """
    done = subprocess.run(
        [*_FLASK, "audit"],
        cwd=place.folder,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)} | place.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not re.search(r"^(sound|\d+ breaches)$", done.stdout, re.MULTILINE):
        yield f"flask audit ended with {done.returncode}: {done.stderr[-500:]}"
    excused = tuple(f"I2  order {code}: is refunded, and" for code in bounced)
    for line in done.stdout.splitlines():
        if re.match(r"I\d", line) and not line.startswith(excused):
            yield f"flask audit: {line}"


def _web_command(port: int) -> list[str]:
    command = [sys.executable, "-m", "gunicorn", "tests.chaos.app:create_app()"]
    command += ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--timeout", "60"]
    command += ["--no-control-socket"]
    return [*command, "--workers", str(WORKERS), "--threads", str(THREADS), "--keep-alive", "5"]
