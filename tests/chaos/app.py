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


class StripeTime:
    """By how much the clock of the sandbox with this store is ahead of the machine's."""

    def __init__(self, store: Path) -> None:
        self._lock = threading.Lock()
        address = f"{store.as_uri()}?mode=ro"
        self._store = sqlite3.connect(address, uri=True, timeout=20, check_same_thread=False)

    def __call__(self) -> timedelta:
        with self._lock:
            (ahead,) = self._store.execute("SELECT ahead FROM clock").fetchone()
        return timedelta(seconds=ahead)


def create_app(overrides: dict[str, Any] | None = None, store: Path | None = None) -> Flask:
    """TMT's application; the store is named by the environment unless it is given."""
    app = factory.create_app(overrides)
    shop: Shop = app.extensions["tmt"].shop
    # The parts of the shop were handed this clock: it is led, not replaced.
    shop.clock._offset = StripeTime(store or Path(os.environ[STORE]))
    return app
