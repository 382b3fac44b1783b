"""News reach the consumer soon, also those that come right after others."""

from __future__ import annotations

import threading

import pytest

from tmt.core.jobs import Jobs


@pytest.fixture
def jobs(tmp_path):
    return Jobs("", tmp_path / "instance")


def test_of_many_nudges_at_once_the_last_is_heard_too(jobs):
    """Each nudge comes after its news; so nothing may have to wait for the next minute."""
    told, seen, news = [], set(), threading.Condition()

    def duty():
        with news:
            seen.update(told)
            news.notify_all()

    jobs.define({"read": duty})
    stop = jobs.start_thread()
    try:
        for number in range(5):
            with news:
                told.append(number)
            jobs.trigger("read")
            with news:
                # The first is heard at once; the others come while it is the last one told.
                assert number or news.wait_for(lambda: 0 in seen, timeout=20)
        with news:
            assert news.wait_for(lambda: seen == set(range(5)), timeout=20)
    finally:
        stop()
