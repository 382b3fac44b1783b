"""What the sandbox costs: a paid order with its webhook, many payments, a year of renewals."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.wrappers import Request, Response

from tests.benchmarks.bench_env import BenchEnv
from tests.benchmarks.table import Row, amount_row
from tests.servers import serve
from tmt.sandbox import Endpoint, Sandbox

PAID_GOAL = 15.0
MANY_GOAL = 5.0
_TIMES = 60
_MANY = 500
YEAR_GOAL = 30.0
_SUBSCRIPTIONS = 1000
_YEAR = 366 * 86400.0
# Rows that one renewal writes: its objects and events.
_ROWS_OF_RENEWAL = 25
_KEYS = "sk_test_benchmark", "pk_test_benchmark"
_NEW = {"amount": "2000", "currency": "eur", "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never"}  # fmt: skip
_CARD = "pm_card_visa"
_MONTHLY = {"currency": "eur", "unit_amount": "1000", "recurring[interval]": "month",
            "product_data[name]": "Friend"}  # fmt: skip


@dataclass
class _Receiver:
    """Counts what a webhook endpoint is told of payments that succeeded."""

    paid: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if b'"type": "payment_intent.succeeded"' in Request(environ).get_data():
            self.paid.release()
        return Response("ok")(environ, start_response)


def run(env: BenchEnv) -> list[Row]:
    """Milliseconds from creating to the delivered webhook; seconds for many PaymentIntents."""
    with _sandbox(env.folder()) as (client, receiver, url):
        paid = [_milliseconds_until_paid(client, receiver) for _ in range(_TIMES)]
        bare = [_bare_milliseconds(url) for _ in range(_TIMES)]
        started = time.perf_counter()
        for _ in range(_MANY):
            _post(client, "/v1/payment_intents", _NEW)
        many = time.perf_counter() - started
    inserted = _bare_inserts(env.folder(), _MANY, at_once=1)
    return [
        amount_row("sandbox: create, confirm, webhook", paid, bare, "ms", PAID_GOAL),
        amount_row(f"sandbox: {_MANY} PaymentIntents", [many], [inserted], "s", MANY_GOAL),
    ]


def run_year(env: BenchEnv) -> list[Row]:
    """Seconds in which the clock advances by a year, with monthly subscriptions that are paid."""
    box = Sandbox(env.folder() / "sandbox.sqlite", *_KEYS)
    client = box.wsgi.test_client()
    card = {"payment_method": _CARD, "invoice_settings[default_payment_method]": _CARD}
    price = _post(client, "/v1/prices", _MONTHLY)["id"]
    for _ in range(_SUBSCRIPTIONS):
        customer = _post(client, "/v1/customers", card)["id"]
        _post(client, "/v1/subscriptions", {"customer": customer, "items[0][price]": price})
    started, worked = time.perf_counter(), time.process_time()
    box.advance(_YEAR)
    year, work = time.perf_counter() - started, time.process_time() - worked
    box.close()
    inserted = _bare_inserts(env.folder(), 12 * _SUBSCRIPTIONS * _ROWS_OF_RENEWAL, at_once=2500)
    what = f"sandbox: a year of {_SUBSCRIPTIONS:,} subscriptions"
    row = amount_row(what, [year], [inserted], "s", YEAR_GOAL)
    return [replace(row, by_cpu=f"{work:.2f} s")]


@contextmanager
def _sandbox(folder: Path) -> Iterator[tuple[FlaskClient, _Receiver, str]]:
    receiver = _Receiver()
    served = serve(receiver)
    box = Sandbox(folder / "sandbox.sqlite", *_KEYS, [Endpoint(served.url + "/hook", "whsec_b")])
    box.start()
    try:
        yield box.wsgi.test_client(), receiver, served.url
    finally:
        box.close()
        served.stop()


def _post(client: FlaskClient, path: str, data: dict[str, str]) -> Any:
    answer = client.post(path, data=data, headers={"Authorization": f"Bearer {_KEYS[0]}"})
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def _milliseconds_until_paid(client: FlaskClient, receiver: _Receiver) -> float:
    started = time.perf_counter()
    intent = _post(client, "/v1/payment_intents", _NEW)
    path = f"/v1/payment_intents/{intent['id']}/confirm"
    _post(client, path, {"payment_method": "pm_card_visa"})
    assert receiver.paid.acquire(timeout=10), "the webhook did not come"
    return (time.perf_counter() - started) * 1000


def _bare_milliseconds(url: str) -> float:
    """Two calls of an application that does nothing, and one request to the same receiver."""
    bare = Flask(__name__)
    bare.add_url_rule("/", "nothing", lambda: "nothing", methods=["POST"])
    client, started = bare.test_client(), time.perf_counter()
    client.post("/"), client.post("/")
    with closing(HTTPConnection(urlsplit(url).netloc)) as connection:
        connection.request("POST", "/hook", b"{}", {"Connection": "close"})
        connection.getresponse().read()
    return (time.perf_counter() - started) * 1000


def _bare_inserts(folder: Path, number: int, at_once: int) -> float:
    """Seconds for as many rows, so many in a transaction as the sandbox writes."""
    with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, body TEXT)")
        started = time.perf_counter()
        for _ in range(number // at_once):
            database.execute("BEGIN IMMEDIATE")
            rows = [("x" * 2000,)] * at_once
            database.executemany("INSERT INTO bare (body) VALUES (?)", rows)
            database.execute("COMMIT")
        return time.perf_counter() - started
