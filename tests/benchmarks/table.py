"""The result: one line a comparison, aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.benchmarks.load import Turns

_HEAD = ("what", "ours", "bare", "ratio", "(rounds)", "by CPU", "goal", "reached")


@dataclass(frozen=True)
class Row:
    """One comparison, as text; `reached` is None where nothing is demanded."""

    what: str
    ours: str
    bare: str
    ratio: str
    spread: str = ""
    by_cpu: str = ""
    goal: str = ""
    reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "yes", False: "NO", None: ""}[self.reached]
        return (
            self.what,
            self.ours,
            self.bare,
            self.ratio,
            self.spread,
            self.by_cpu,
            self.goal,
            verdict,
        )


def rate_row(what: str, ours: Turns, bare: Turns, goal: float) -> Row:
    """Compares rates (more is better) by their medians; the spread is that of the rounds.

    `by CPU` compares the processor time of the program itself: waiting for the disk or for a
    core, and the work of a database server, are not in it. A busy machine still swells it, and
    swells a larger program more.
    """
    ratio = median(ours.rates) / median(bare.rates)
    ratios = [one / other for one, other in zip(ours.rates, bare.rates, strict=True)]
    cost = median(ours.costs)
    return Row(
        what,
        _rate(median(ours.rates)),
        _rate(median(bare.rates)),
        _share(ratio),
        f"{_share(min(ratios))}-{_share(max(ratios))}",
        _share(median(bare.costs) / cost) if cost else "",
        f">= {_share(goal)}",
        ratio >= goal,
    )


def amount_row(
    what: str, ours: Sequence[float], bare: Sequence[float], unit: str, goal: float
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
        goal=f"<= {goal:g} {unit}",
        reached=median(ours) <= goal,
    )


def percentile_row(what: str, ours: Sequence[float], bare: Sequence[float]) -> Row:
    """How long half of them took at most, and how long 95 of a hundred (seconds)."""
    return Row(what, _percentiles(ours), _percentiles(bare), "")


def scaling_row(what: str, ours: Sequence[Sequence[float]], bare: Sequence[Sequence[float]]) -> Row:
    """How many times the rate of few many have: (rates of few, rates of many) of either."""
    mine, other = (median(many) / median(few) for few, many in (ours, bare))
    return Row(what, f"x {mine:.2f}", f"x {other:.2f}", _share(mine / other))


def rendered(rows: Sequence[Row]) -> str:
    """The rows under their heads, numbers to the right."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    first, *others = zip(line, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return "  ".join(cells).rstrip()


def _rate(acts_per_second: float) -> str:
    return f"{acts_per_second:.0f} /s" if acts_per_second >= 50 else f"{acts_per_second:.1f} /s"


def _share(number: float) -> str:
    """Two digits after the point, or as many as show something."""
    return f"{number:.2f}" if number >= 0.1 else f"{number:.4f}"


def _percentiles(seconds: Sequence[float]) -> str:
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"{1000 * cuts[9]:.0f}, {1000 * cuts[18]:.0f} ms"
