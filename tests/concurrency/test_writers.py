"""DB-01: fifty writers for a few seconds; `python -m tests.writers` tries it in full."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.stage import DATABASES, open_stage
from tests.writers.trial import run

# How long anybody waits is judged where nothing else runs beside it.
_ANY = 1000.0


@pytest.mark.case("DB-01")
@pytest.mark.parametrize("kind", DATABASES, ids=str.lower)
def test_db01_fifty_writers_meet_no_error_and_lose_nothing(kind):
    with open_stage() as stage:
        result = run(stage, kind, 4, _ANY)
    assert result.breaches == []
    assert {"place order", "webhook", "find orders", "create endpoint"} <= set(result.seen.seconds)
    assert re.search(r"^all +\d+", result.table(), re.MULTILINE)
