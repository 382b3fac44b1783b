"""The event page against a Flask application that says hello, behind the same gunicorn."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.bench_env import SLUG, BenchEnv
from tests.benchmarks.client import Plan
from tests.benchmarks.load import Target, take_turns
from tests.benchmarks.table import Row, rate_row
from tests.deployment import UNLIMITED, WORKERS, deploy, gunicorn
from tests.servers import Program, free_port, wait_for

GOAL = 0.12
PATH = f"/events/{SLUG}"
_BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: es-AR,es;q=0.8,en-US;q=0.5,en;q=0.3"
)


def run(env: BenchEnv) -> list[Row]:
    """Pages per second for somebody who comes for the first time, and who comes again."""
    url = env.shop_database("sqlite")
    with (
        deploy(env.folder(), url, UNLIMITED, jobs=0, sandbox=False) as shop,
        bare_app(env, "hello()") as (port, hello),
    ):
        used = shop.web.processor_seconds
        again = Plan(shop.port, head_of(PATH, _cookie_of(shop.port)))
        targets = {
            "first": Target(Plan(shop.port, head_of(PATH)), used),
            "again": Target(again, used),
            "bare": Target(Plan(port, head_of("/")), hello.processor_seconds),
        }
        turns = take_turns(targets)
    return [
        rate_row("event page, first visit", turns["first"], turns["bare"], GOAL),
        rate_row("event page, with cookie", turns["again"], turns["bare"], GOAL),
    ]


@contextmanager
def bare_app(env: BenchEnv, factory: str, workers: int = WORKERS) -> Iterator[tuple[int, Program]]:
    """A yardstick of `bare.py` behind the same gunicorn; its port and its process."""
    port = free_port()
    program = gunicorn(f"tests.benchmarks.bare:{factory}", env.folder(), port, workers=workers)
    program.start()
    try:
        wait_for(f"http://127.0.0.1:{port}/", program)
        yield port, program
    finally:
        program.stop()


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
