"""A bound on the threads that wait for Stripe, so that the others answer what needs no Stripe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tmt.gateway.errors import TooManyCalls

# Seconds. When the newest of the calls under way has waited for this long, Stripe hangs.
_HANGS_AFTER = 2.0


class CallSlots:
    """Places for calls to Stripe. With `most` of them taken, a call waits for its place.

    It waits as long as Stripe answers others, so that a crowd of buyers gets through. When none of
    the calls under way is a new one, Stripe hangs, and no further thread waits for it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started: list[float] = []
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place, for one call; raises `TooManyCalls`."""
        with self._changed:
            while len(self._started) >= self._most:
                left = max(self._started) + _HANGS_AFTER - time.monotonic()
                if left <= 0:
                    raise TooManyCalls(f"{self._most} calls to Stripe are waiting already")
                self._changed.wait(left)
            started = time.monotonic()
            self._started.append(started)
        try:
            yield
        finally:
            with self._changed:
                self._started.remove(started)
                self._changed.notify()
