"""The shop in a process of its own, which dies at a named point when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import FileSystemBytecodeCache

from tests.servers import serve
from tmt.catalog.import_export import seed_demo
from tmt.core import failpoints, queued_rows
from tmt.factory import ROOT, create_app
from tmt.operations import health
from tmt.operations.own_database import learn_account
from tmt.shop import Shop


@dataclass(frozen=True)
class Point:
    """A failpoint: its name and, of a commit, the line of the code that asked for it."""

    name: str
    site: str

    def __str__(self) -> str:
        return f"{self.name} ({self.site})" if self.site else self.name


@dataclass
class Watch:
    """Replaces `failpoints.reach`: notes every point, and dies at one."""

    passed: list[Point]
    die_at: Point | None
    nth: int

    def reach(self, name: str) -> None:
        point = Point(name, _site(name))
        self.passed.append(point)
        if point == self.die_at and self.passed.count(point) == self.nth:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Start:
    """What a process of the shop needs to know."""

    settings: dict[str, Any]
    listening: socket.socket
    ahead: timedelta
    templates: Path
    die_at: Point | None
    nth: int


def run(start: Start, connection: Connection) -> None:
    """Serves the shop on the socket, and does what it is asked over the connection."""
    app = create_app(start.settings)
    app.jinja_env.bytecode_cache = FileSystemBytecodeCache(str(start.templates))
    shop: Shop = app.extensions["tmt"].shop
    time = {"ahead": start.ahead}
    shop.clock._offset = lambda: time["ahead"]
    # As at Stripe itself: there is one account for the keys.
    elsewhere = replace(shop, settings=shop.settings.model_copy(update={"stripe_api_base": ""}))
    watch = Watch([], start.die_at, start.nth)
    failpoints.reach = watch.reach
    served = serve(app, start.listening.fileno())
    acts: dict[str, Callable[..., Any]] = {
        "jobs": shop.jobs.run_all,
        "command": lambda *words: _command(app, words),
        "look": lambda *words: _command(app, words, findings=(1, 2)),
        "seed": lambda: seed_demo(shop.db, shop.clock.now()),
        "ahead": lambda ahead: time.update(ahead=ahead),
        "slow": lambda: setattr(queued_rows, "_BATCH_SECONDS", -1.0),
        "heartbeats": lambda: (health.begin_heartbeats(shop), health.end_heartbeats(shop)),
        "account": lambda: learn_account(elsewhere, app.extensions["tmt"].gateway.account),
        "note": watch.passed.append,
        "passed": lambda: watch.passed,
    }
    connection.send(None)
    _obey(connection, acts)
    served.stop()
    shop.db.close()


def _obey(connection: Connection, acts: dict[str, Callable[..., Any]]) -> None:
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((True, acts[name](*arguments)))
        except Exception:  # noqa: BLE001 - it is raised where it was asked for
            connection.send((False, traceback.format_exc()))


def _command(app: Flask, words: tuple[str, ...], findings: tuple[int, ...] = ()) -> str:
    done = app.test_cli_runner().invoke(args=list(words))
    assert done.exit_code in (0, *findings), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return str(done.output)


def _site(name: str) -> str:
    """The line that asked for a commit; a call to Stripe is told apart by its name alone."""
    if " commit of " not in name:
        return ""
    # This function, the watch, the transaction, and who asked for it.
    caller = sys._getframe(3)
    return f"{Path(caller.f_code.co_filename).relative_to(ROOT)}:{caller.f_lineno}"
