"""The result: one line a comparison, aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_HEAD = ("what", "ours", "bare", "ratio", "(rounds)", "goal", "reached")


@dataclass(frozen=True)
class Row:
    """One comparison, as text; `reached` is None where nothing is demanded."""

    what: str
    ours: str
    bare: str
    ratio: str
    spread: str = ""
    goal: str = ""
    reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "yes", False: "NO", None: ""}[self.reached]
        return (self.what, self.ours, self.bare, self.ratio, self.spread, self.goal, verdict)


def rate_row(
    what: str, ours: Sequence[float], bare: Sequence[float], goal: float | None
) -> Row:
    """Compares rates (more is better) by their medians; the spread is that of the rounds."""
    ratio = median(ours) / median(bare)
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return Row(
        what,
        f"{median(ours):.0f} /s",
        f"{median(bare):.0f} /s",
        f"{ratio:.2f}",
        f"{min(ratios):.2f}-{max(ratios):.2f}",
        "" if goal is None else f">= {goal:.2f}",
        None if goal is None else ratio >= goal,
    )


def amount_row(
    what: str, ours: Sequence[float], bare: Sequence[float], unit: str, goal: float | None
) -> Row:
    """Compares amounts (less is better) by their medians; the goal is for ours alone."""
    digits = 2 if unit == "s" else 0
    ratio = median(ours) / median(bare)
    return Row(
        what,
        f"{median(ours):.{digits}f} {unit}",
        f"{median(bare):.{digits}f} {unit}",
        f"{ratio:.2f}",
        f"{min(ours):.{digits}f}-{max(ours):.{digits}f}" if len(ours) > 1 else "",
        "" if goal is None else f"<= {goal:g} {unit}",
        None if goal is None else median(ours) <= goal,
    )


def rendered(rows: Sequence[Row]) -> str:
    """The rows under their heads, numbers to the right."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    first, *others = zip(line, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return "  ".join(cells).rstrip()
