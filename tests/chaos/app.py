"""The shop of a run: TMT itself, with a clock that goes with its Stripe's.

Time flies at this Stripe (its sandbox's clock is moved on), and a shop whose clock stayed behind
would never see a hold run out.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from tmt import factory
from tmt.shop import Shop

STORE = "CHAOS_STRIPE_STORE"


def set_clock_error(store: Path, seconds: float) -> None:
    """Has every clock of the shop be wrong by so many seconds, until it is set again."""
    new = clock_error_file(store).with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(clock_error_file(store))


def clock_error_file(store: Path) -> Path:
    return store.with_name("clock-error")


class StripeTime:
    """By how much the shop's clock is ahead of the machine's.

    As much as the clock of the sandbox with this store, and by the clock error of the trial.
    """

    def __init__(self, store: Path) -> None:
        self._lock = threading.Lock()
        self._error = clock_error_file(store)
        address = f"{store.as_uri()}?mode=ro"
        self._store = sqlite3.connect(address, uri=True, timeout=20, check_same_thread=False)

    def __call__(self) -> timedelta:
        with self._lock:
            (ahead,) = self._store.execute("SELECT ahead FROM clock").fetchone()
        error = float(self._error.read_text()) if self._error.exists() else 0.0
        return timedelta(seconds=ahead + error)


def create_app(overrides: dict[str, Any] | None = None, store: Path | None = None) -> Flask:
    """TMT's application; the store is named by the environment unless it is given."""
    app = factory.create_app(overrides)
    shop: Shop = app.extensions["tmt"].shop
    # The parts of the shop were handed this clock: it is led, not replaced.
    shop.clock._offset = StripeTime(store or Path(os.environ[STORE]))
    return app
