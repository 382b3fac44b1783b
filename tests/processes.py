"""Names that moved to tests/race_workers.py, for tests that still import them here."""

from tests.race_workers import DIED, die_while_creating

__all__ = ["DIED", "die_while_creating"]
