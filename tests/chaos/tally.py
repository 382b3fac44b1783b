"""What was counted in a trial, and what was seen that must not be."""

from __future__ import annotations

import threading
from collections import Counter

# Calls and deliveries that were to suffer, whether they came or not.
ORDERED = "times ordered"


class Tally:
    """Counters and breaches, for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.breaches: list[str] = []

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def breach(self, text: str) -> None:
        """Something that breaks the promise; the text says where to look."""
        with self._lock:
            self.breaches.append(text)
