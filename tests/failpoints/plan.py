"""Which point is visited in which story: every point, and every state that a death can leave.

What a dead process leaves behind is what it had committed and what it had done at Stripe. So each
point is visited in the first story that passes it; and besides, in every story, the point after
each thing that changed the shop or Stripe, unless an earlier story had come the same way so far,
or the story was only making ready what it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.failpoints.shop_process import Point

# A point in a loop is visited so often in a story.
_TIMES = 2
# Stands in a story's way where its preparations are over.
READY = Point("ready", "")


@dataclass(frozen=True)
class Visit:
    """A death at the nth time that the story passes the point; whether no other one visits it."""

    story: str
    point: Point
    nth: int
    only: bool


def visits(passed: Mapping[str, Sequence[Point]], routine: frozenset[Point]) -> list[Visit]:
    """The visits, of what each story passes; `routine` is what jobs pass that find nothing."""
    planned: list[Visit] = []
    points: set[Point] = set()
    ways: set[tuple[Point, ...]] = set()
    for story, way in passed.items():
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
            only, tells = point not in points, _changes(point) and point not in routine
            fresh = tells and prepared and counts[point] <= _TIMES and tuple(so_far) not in ways
            if only or fresh:
                planned.append(Visit(story, point, counts[point], only))
            points.add(point)
            ways.add(tuple(so_far))
    return planned


def _changes(point: Point) -> bool:
    """Whether something has just been done that outlives the process."""
    return point.name.startswith("after") and not point.name.endswith((".retrieve", ".list"))
