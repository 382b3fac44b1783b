"""Checks of `flask doctor`: each has a name and a result, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad a finding is; the worst of all is the command's exit code."""

    GREEN = 0
    YELLOW = 1
    RED = 2


@dataclass(frozen=True)
class Finding:
    """The result of one check; `to_do` is empty when there is nothing to do."""

    level: Level
    text: str
    to_do: str = ""


# A check by its name. It may raise: an error is a finding too.
Check = tuple[str, Callable[[], Finding]]


def green(text: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.GREEN, text)


def yellow(text: str, to_do: str) -> Finding:
    """It works, but not as well as it could, or the check was not possible."""
    return Finding(Level.YELLOW, text, to_do)


def red(text: str, to_do: str) -> Finding:
    """It does not work."""
    return Finding(Level.RED, text, to_do)


def run_checks(checks: Sequence[Check]) -> Iterator[tuple[str, Finding]]:
    """Runs every check, each on its own; one that raises is a red finding."""
    for name, check in checks:
        try:
            yield name, check()
        except Exception as error:  # noqa: BLE001 - one failing check must not hide the others
            text = f"could not be checked ({type(error).__name__})"
            yield name, red(text, "Fix what is red above it first, then run this again.")
