"""DB-04: the process is killed before and after every commit and every call to Stripe.

Each story is told once in peace; then once for each visit that the plan has for it, with the
process killed at the point (kill -9), started again, Stripe telling again what was not
acknowledged, and the jobs run. Then the invariants hold; and when the story has been told to its
end, everything is as it was in peace.
"""

from __future__ import annotations

import os
import pickle

import pytest
from filelock import FileLock

from tests.failpoints import plan, sites
from tests.failpoints.end import end_of
from tests.failpoints.front import Death
from tests.failpoints.stories import STORIES

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def passed(fresh, tmp_path_factory):
    """What each story passes in peace; found out once for all workers."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if run else base) / f"passed-{run}.pickle"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_bytes(pickle.dumps({story: points_of(fresh, story) for story in STORIES}))
    return pickle.loads(path.read_bytes())


def points_of(fresh, story):
    with fresh("sqlite") as front:
        told(front, story)
        return front.passed()


def told(front, story):
    STORIES[story](front)
    front.rest()
    front.audit()
    return end_of(front)


@pytest.mark.case("WH-06", "DB-04")
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_db04_killed_at_every_point(fresh, passed, kind, story):
    """On PostgreSQL each point once; on SQLite, which is quicker to set up, each state."""
    visits = plan.visits(passed, frozenset(passed["quiet"]))
    mine = [v for v in visits if v.story == story and (v.only or kind == "sqlite")]
    with fresh(kind) as front:
        peaceful = told(front, story)
    for visit in mine:
        with fresh(kind, Death(visit.point, visit.nth)) as front:
            end = told(front, story)
            assert front.died, f"{visit} was not reached"
        assert end == peaceful, str(visit)


def test_every_commit_and_every_call_is_visited(passed):
    """A commit or a call that is new needs a story that passes it."""
    points = {point for way in passed.values() for point in way} - {plan.READY}
    assert sites.missed(sites.sources(), points) == []
    assert points == {v.point for v in plan.visits(passed, frozenset(passed["quiet"]))}


def test_stripe_is_called_by_one_door_only():
    modules = sites.sources()
    assert {name for source in modules.values() for name in sites.unwatched(source)} == set()
    assert "refunds.create" in sites.operations(modules["tmt/gateway/stripe_api.py"])


def test_a_commit_or_a_call_that_nobody_passes_is_seen():
    source = """
def pay(shop, self):
    shop.db.transaction(lambda session: None)
    self._call("payouts.create", lambda: self._client.v1.payouts.create({}))

def top_up(self):
    self._client.v1.topups.create({})
"""
    assert sites.missed({"tmt/new.py": source}, set()) == [
        "before the commit at tmt/new.py:3",
        "before payouts.create at Stripe",
        "after the commit at tmt/new.py:3",
        "after payouts.create at Stripe",
    ]
    assert sites.unwatched(source) == {"top_up"}
