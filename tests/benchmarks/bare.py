"""The yardsticks for requests: Flask applications that do only what cannot be left out."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask, request
from flask.typing import ResponseReturnValue

_TABLE = "CREATE TABLE received (event_id VARCHAR(255) PRIMARY KEY, type TEXT, body TEXT)"
_TOLERANCE = 300

# Writes one row (id, type, body) and returns when it is committed.
Store = Callable[[tuple[str, str, str]], None]


def hello() -> Flask:
    """Says hello."""
    app = Flask("hello")

    @app.get("/")
    def index() -> str:
        return "Hello, World!"

    return app


def webhook(database_url: str, secret: str) -> Flask:
    """Verifies Stripe's signature and commits one row; see `prepare`."""
    app = Flask("bare webhook")
    store = (
        _sqlite_store(database_url) if _is_sqlite(database_url) else _postgres_store(database_url)
    )

    @app.post("/stripe_webhook")
    def receive() -> ResponseReturnValue:
        body = request.get_data(as_text=True)
        if not _genuine(body, request.headers["Stripe-Signature"], secret):
            return {"error": "signature"}, 400
        event: dict[str, Any] = json.loads(body)
        store((event["id"], event["type"], body))
        return {"received": True}

    return app


def prepare(database_url: str) -> None:
    """Creates the webhook's table."""
    if _is_sqlite(database_url):
        connect_sqlite(database_url).execute(_TABLE)
    else:
        with psycopg.connect(database_url) as connection:
            connection.execute(_TABLE)


def connect_sqlite(database_url: str) -> sqlite3.Connection:
    """A connection with the settings that the shop uses."""
    path = Path(database_url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path, timeout=15, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _is_sqlite(database_url: str) -> bool:
    return database_url.startswith("sqlite:")


def _genuine(body: str, header: str, secret: str) -> bool:
    parts = dict(part.split("=", 1) for part in header.split(","))
    signed = f"{parts['t']}.{body}".encode()
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    recent = abs(time.time() - int(parts["t"])) <= _TOLERANCE
    return hmac.compare_digest(expected, parts["v1"]) and recent


def _sqlite_store(database_url: str) -> Store:
    threads = threading.local()

    def store(row: tuple[str, str, str]) -> None:
        connection = getattr(threads, "connection", None)
        if connection is None:
            connection = threads.connection = connect_sqlite(database_url)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO received VALUES (?, ?, ?)", row)
        connection.execute("COMMIT")

    return store


def _postgres_store(database_url: str) -> Store:
    threads = threading.local()

    def store(row: tuple[str, str, str]) -> None:
        connection = getattr(threads, "connection", None)
        if connection is None:
            connection = threads.connection = psycopg.connect(database_url)
        connection.execute("INSERT INTO received VALUES (%s, %s, %s)", row)
        connection.commit()

    return store
