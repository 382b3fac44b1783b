"""A triggered job runs soon, also when triggers follow each other quickly."""

from __future__ import annotations

import threading

import pytest

from tmt.core.jobs import Job, Jobs


@pytest.fixture
def jobs(tmp_path):
    return Jobs("", tmp_path / "instance")


def test_the_last_of_many_triggers_runs_the_job_too(jobs):
    """Work is added before its trigger, so none may have to wait for the next minute."""
    added, handled, condition = [], set(), threading.Condition()

    def job(_run):
        with condition:
            handled.update(added)
            condition.notify_all()

    jobs.define({"read": Job(job)})
    stop = jobs.start_thread()
    try:
        for number in range(5):
            with condition:
                added.append(number)
            jobs.trigger("read")
            with condition:
                # The first runs at once; the others follow within the trigger interval.
                assert number or condition.wait_for(lambda: 0 in handled, timeout=20)
        with condition:
            assert condition.wait_for(lambda: handled == set(range(5)), timeout=20)
    finally:
        stop()
