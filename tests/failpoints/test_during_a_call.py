"""PAY-13, REF-04: the process is killed (kill -9) while it waits for Stripe's answer.

Stripe has done it by then; nobody knows. The next process must find out, and do it once.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.failpoints.organiser_scenarios import SCENARIOS
from tests.failpoints.snapshot import snapshot

# Each call that changes something at Stripe, in a scenario that makes it.
CALLS = {
    "POST /v1/payment_intents": "paid_and_webhook_received",
    "POST /v1/payment_intents/*/cancel": "canceled",
    "POST /v1/refunds": "refunded_by_ticket",
}


def matches(made, pattern):
    before, _, after = pattern.partition("*")
    return made == pattern or (after and made.startswith(before) and made.endswith(after))


def kill_when_done(env, call):
    """Kills the shop's process once Stripe has done the call and has not answered yet."""
    stripe, killed = env.sandbox.wsgi.wsgi_app, []

    def carry(environ, start_response):
        made = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        answer = [b"".join(stripe(environ, start_response))]
        if matches(made, call) and not killed:
            killed.append(made)
            os.kill(env.process.pid, signal.SIGKILL)
        return answer

    env.sandbox.wsgi.wsgi_app = carry
    return killed


@pytest.mark.case("PAY-13", "REF-04")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("call", CALLS)
def test_pay13_killed_while_stripe_does_it(fresh, kind, call):
    scenario = SCENARIOS[CALLS[call]]
    with fresh(kind) as env:
        scenario(env)
        env.drain()
        peaceful = snapshot(env)
    with fresh(kind) as env:
        killed = kill_when_done(env, call)
        scenario(env)
        env.drain()
        assert killed
        assert env.died
        env.audit()
        assert snapshot(env) == peaceful
