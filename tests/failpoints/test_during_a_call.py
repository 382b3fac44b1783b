"""PAY-13, REF-04: the process is killed (kill -9) while it waits for Stripe's answer.

Stripe has done it by then; nobody has heard. The next process must find out, and do it once.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.failpoints.end import end_of
from tests.failpoints.stories import STORIES

# Each call that changes something at Stripe, in a story that makes it.
CALLS = {
    "POST /v1/payment_intents": "paid_and_told_by_stripe",
    "POST /v1/payment_intents/*/cancel": "given_up",
    "POST /v1/refunds": "given_back_by_ticket",
}


def is_call(made, wanted):
    before, _, after = wanted.partition("*")
    return made == wanted or (after and made.startswith(before) and made.endswith(after))


def kill_when_done(front, call):
    """Kills the shop's process once Stripe has done the call and has not answered yet."""
    stripe, killed = front.sandbox.wsgi.wsgi_app, []

    def carry(environ, start_response):
        made = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        answer = [b"".join(stripe(environ, start_response))]
        if is_call(made, call) and not killed:
            killed.append(made)
            os.kill(front.process.pid, signal.SIGKILL)
        return answer

    front.sandbox.wsgi.wsgi_app = carry
    return killed


@pytest.mark.case("PAY-13", "REF-04")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("call", CALLS)
def test_pay13_killed_while_stripe_does_it(fresh, kind, call):
    story = STORIES[CALLS[call]]
    with fresh(kind) as front:
        story(front)
        front.rest()
        peaceful = end_of(front)
    with fresh(kind) as front:
        killed = kill_when_done(front, call)
        story(front)
        front.rest()
        assert killed
        assert front.died
        front.audit()
        assert end_of(front) == peaceful
