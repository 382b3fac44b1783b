"""The event page against a Flask application that says hello, behind the same gunicorn."""

from __future__ import annotations

import http.client
from functools import partial

from tests.benchmarks.client import Plan
from tests.benchmarks.load import Target, take_turns
from tests.benchmarks.processes import free_port, gunicorn, processor_seconds, shop_environment
from tests.benchmarks.stage import SLUG, Stage
from tests.benchmarks.table import Row, rate_row

GOAL = 0.12
PATH = f"/events/{SLUG}"
_BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: es-AR,es;q=0.8,en-US;q=0.5,en;q=0.3"
)


def run(stage: Stage) -> list[Row]:
    """Pages per second for somebody who comes for the first time, and who comes again."""
    ours, bare = free_port(), free_port()
    folder = stage.folder()
    settings = shop_environment(folder, stage.shop_database("SQLite"), ours)
    with (
        gunicorn("app:app", folder, ours, settings=settings, path=PATH) as shop,
        gunicorn("tests.benchmarks.bare:hello()", stage.folder(), bare) as hello,
    ):
        used, bare_used = partial(processor_seconds, shop), partial(processor_seconds, hello)
        again = Plan(ours, head_of(PATH, _cookie_of(ours)))
        targets = {
            "first": Target(Plan(ours, head_of(PATH)), used),
            "again": Target(again, used),
            "bare": Target(Plan(bare, head_of("/")), bare_used),
        }
        turns = take_turns(targets)
    return [
        rate_row("event page, first visit", turns["first"], turns["bare"], GOAL),
        rate_row("event page, with cookie", turns["again"], turns["bare"], GOAL),
    ]


def head_of(path: str, cookie: str = "") -> str:
    """A browser's GET, without the empty line that ends it."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_BROWSER}"
    return f"{head}\r\nCookie: {cookie}" if cookie else head


def _cookie_of(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", PATH)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers["Set-Cookie"].split(";")[0]
