"""DB-01: fifty writers for a few seconds; `python -m tests.writers` tries it in full."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.bench_env import DATABASES, open_env
from tests.writers.runner import run

# How long anybody waits is judged where nothing else runs beside it.
_ANY = 1000.0


@pytest.mark.case("DB-01")
@pytest.mark.parametrize("kind", DATABASES, ids=str.lower)
def test_db01_fifty_writers_meet_no_error_and_lose_nothing(kind):
    with open_env() as env:
        result = run(env, kind, 4, _ANY)
    assert result.breaches == []
    written = {"/events/noche-de-boleros/orders", "/stripe_webhook", "/orders/find"}
    written |= {"/stripe_create_payment_intent"}
    assert {f"POST {path}" for path in written} <= set(result.observed.seconds)
    assert re.search(r"^all +\d+", result.table(), re.MULTILINE)
