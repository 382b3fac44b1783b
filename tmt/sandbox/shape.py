"""The sandbox's two smallest notions: a JSON object, and a list of names written as one text."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def names(text: str) -> list[str]:
    """The names in a text, split at white space."""
    return text.split()
