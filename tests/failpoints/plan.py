"""Which point is visited in which scenario: every point, and every state that a death can leave.

What a dead process leaves behind is what it had committed and what it had done at Stripe. So each
point is visited in the first scenario that passes it; and besides, in every scenario, the point
after each thing that changed the shop or Stripe, unless an earlier scenario had come the same way,
or the scenario was only making ready what it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.failpoints.shop_process import Point

# A point in a loop is visited so often in a scenario.
_TIMES = 2
# Stands in a scenario's way where its preparations are over.
READY = Point("ready", "")


@dataclass(frozen=True)
class Visit:
    """A death at the nth time that the scenario passes the point; `only` if no other visits it."""

    scenario: str
    point: Point
    nth: int
    only: bool

    @property
    def inside_a_transaction(self) -> bool:
        """Whether the death loses a commit, where no other visit does at this point."""
        return self.only and self.point.name.startswith("before commit of ")


def visits(passed: Mapping[str, Sequence[Point]], routine: frozenset[Point]) -> list[Visit]:
    """The visits, of what each scenario passes; `routine` is what jobs with nothing to do pass."""
    planned: list[Visit] = []
    points: set[Point] = set()
    ways: set[tuple[Point, ...]] = set()
    for scenario, way in passed.items():
        counts: Counter[Point] = Counter()
        prepared = READY not in way
        so_far: list[Point] = []
        for point in way:
            if point == READY:
                prepared = True
                continue
            counts[point] += 1
            if point not in routine:
                so_far.append(point)
            only, changed = point not in points, _changes(point) and point not in routine
            fresh = changed and prepared and counts[point] <= _TIMES and tuple(so_far) not in ways
            if only or fresh:
                planned.append(Visit(scenario, point, counts[point], only))
            points.add(point)
            ways.add(tuple(so_far))
    return planned


def _changes(point: Point) -> bool:
    """Whether something has just been done that outlives the process."""
    return point.name.startswith("after") and not point.name.endswith((".retrieve", ".list"))
