"""Redaction takes time in proportion to a text's length, whatever that is, and up to a bound."""

from __future__ import annotations

import time

import pytest

from tmt.api.schemas import BadRequest, read_create
from tmt.core import log

BOUND = 16_000
PIECES = ["a", "a@", "a.", "a@b.", "a%40", "pi_", "pi_a_secret", "sk_test_", "whsec_", "1", "1 "]
PIECES += ["/orders/", "DETAIL:", "é", "+-%'", "@", "\n", "://", "://a:", "Bearer ", "-pi_secret"]


def seconds(action, *arguments):
    """The CPU time of a call, the least of several."""
    times = []
    for _try in range(5):
        start = time.process_time()
        action(*arguments)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("piece", PIECES)
def test_a_text_of_twice_the_length_takes_at_most_twice_the_time(piece):
    text = piece * BOUND
    quarter, half, whole = (seconds(log.redact_text, text[: BOUND // n]) for n in (4, 2, 1))
    # Quadratic would be 4 for each doubling.
    assert whole / max(quarter, 1e-4) < 8, (quarter, half, whole)
    assert half / max(quarter, 1e-4) < 3.2, (quarter, half, whole)
    assert seconds(log.redact_text, piece * 1_000_000) < 2 * max(whole, 1e-3)


@pytest.mark.parametrize("amount", ["1" * 60_000 + "x", " " * 60_000, "1." + "1" * 60_000])
def test_an_amount_of_60_kb_is_refused_as_fast_as_a_short_one(amount):
    def read(text):
        with pytest.raises(BadRequest):
            read_create({"amount": text})

    assert seconds(read, amount) < 20 * max(seconds(read, "x"), 1e-4)


@pytest.mark.parametrize("secret", ["ana@example.com", "sk_live_51HxYz", "pi_3Abc_secret_Xyz9"])
def test_no_part_of_a_secret_stays_where_the_text_is_cut(secret):
    for before in range(BOUND // 2 - 24, BOUND // 2 + 2, 2):
        words = "x " * (before // 2) + secret
        for text in (words + " x" * BOUND, "x " * BOUND + secret + " x\nlast"):
            shown = log.redact_text(text)
            assert "Xyz" not in shown.replace("x", "")
            assert "ana" not in shown
            assert "51H" not in shown
    assert shown.endswith("last")


def test_a_large_structure_is_cut_too():
    deep: object = "x"
    for _level in range(5000):
        deep = [deep]
    line = log.redact(None, "", {"deep": deep, "wide": ["x"] * 10**5, "keys": {"a@b.example": 1}})
    assert len(str(line)) < 1000
    assert "a@b" not in str(line)
