"""The tables of parameters and objects are those of the installed SDK."""

from __future__ import annotations

from .generate_tables import DATA, generate


def test_the_generated_tables_are_current() -> None:
    stale = [name for name, text in generate().items() if (DATA / name).read_text() != text]
    assert stale == [], "run `python -m tests.sandbox.generate_tables`"
