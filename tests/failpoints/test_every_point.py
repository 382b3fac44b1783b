"""DB-04: the process is killed before and after every commit and every call to Stripe.

Each scenario runs once undisturbed; then once for each visit that the plan has for it, with the
process killed at the point (kill -9), started again, Stripe delivering again what was not
acknowledged, and the jobs run. Then the invariants hold; and when the scenario has run to its
end, everything is as it was undisturbed.
"""

from __future__ import annotations

import os
import pickle

import pytest
from filelock import FileLock, Timeout

from tests.conftest import DATABASES
from tests.failpoints import plan, sites
from tests.failpoints.crash_env import Death
from tests.failpoints.organiser_scenarios import SCENARIOS
from tests.failpoints.snapshot import snapshot


@pytest.fixture(scope="session")
def undisturbed(fresh, tmp_path_factory):
    """What each scenario passes undisturbed, and how it ends; the workers share the scenarios."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if run else base) / f"undisturbed-{run}"
    folder.mkdir(exist_ok=True)
    # First those that no other worker has begun; then the rest, when the other one is done.
    for blocking in (False, True):
        for name in SCENARIOS:
            path = folder / f"{name}.pickle"
            try:
                with FileLock(f"{path}.lock", blocking=blocking):
                    if not path.exists():
                        path.write_bytes(pickle.dumps(observe(fresh, name)))
            except Timeout:
                continue
    return {name: pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in SCENARIOS}


@pytest.fixture(scope="session")
def passed(undisturbed):
    return {name: points for name, (points, _end) in undisturbed.items()}


@pytest.fixture(scope="session")
def visits(passed):
    return plan.visits(passed, frozenset(passed["quiet"]))


def observe(fresh, name):
    with fresh("sqlite") as env:
        end = play(env, name)
        return env.passed(), end


def play(env, name):
    SCENARIOS[name](env)
    env.drain()
    env.audit()
    return snapshot(env)


@pytest.mark.case("WH-06", "DB-04")
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("kind", DATABASES)
def test_db04_killed_at_every_point(fresh, undisturbed, visits, kind, name):
    """On SQLite every visit. On PostgreSQL each commit once, killed inside its transaction.

    Elsewhere nothing is open in the database, and it makes no difference which one it is.
    """
    for visit in visits:
        if visit.scenario != name or not (kind == "sqlite" or visit.inside_a_transaction):
            continue
        with fresh(kind, Death(visit.point, visit.nth)) as env:
            end = play(env, name)
            assert env.died, f"{visit} was not reached"
        assert end == undisturbed[name][1], str(visit)


def test_every_commit_and_every_call_is_visited(passed, visits):
    """A commit or a call that is new needs a scenario that passes it."""
    points = {point for way in passed.values() for point in way} - {plan.READY}
    assert sites.missed(sites.sources(), points) == []
    assert points == {visit.point for visit in visits}


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
