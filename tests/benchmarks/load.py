"""Puts load on servers, taking turns, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tests.benchmarks.client import Plan, Seen

PROCESSES = 2
ROUNDS = 7
_ROUND_SECONDS = 1.5
_WARM_UP_SECONDS = 1.0
_CLIENT = Path(__file__).with_name("client.py")


class LoadFailed(Exception):
    """A server did not answer with 200, so its speed means nothing."""


def take_turns(plans: Mapping[str, Plan]) -> dict[str, list[float]]:
    """Answers per second of each plan's server, round by round."""
    for plan in plans.values():
        load(replace(plan, seconds=_WARM_UP_SECONDS))
    rates: dict[str, list[float]] = {name: [] for name in plans}
    for _round in range(ROUNDS):
        for name, plan in plans.items():
            rates[name].append(rate(load(replace(plan, seconds=_ROUND_SECONDS))))
    return rates


def rate(seen: list[Seen]) -> float:
    """Answers per second of all clients together."""
    return sum(one.answers / one.seconds for one in seen)


def load(plan: Plan, processes: int = PROCESSES) -> list[Seen]:
    """Carries the plan out in several processes at once; `LoadFailed` on any answer but 200."""
    clients: list[subprocess.Popen[str]] = []
    try:
        for _number in range(processes):
            clients.append(_start(plan))
        for client in clients:
            _line_of(client)
        for client in clients:
            _tell(client, "go")
        seen = [Seen(**json.loads(_line_of(client))) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    for one in seen:
        if one.failures or not one.answers:
            raise LoadFailed(
                f"{one.failures} of {one.answers} answers were not 200: {one.first_failure}"
            )
    return seen


def _start(plan: Plan) -> subprocess.Popen[str]:
    # -S and -E: the client needs no site packages and starts sooner without them.
    client = subprocess.Popen(
        [sys.executable, "-S", "-E", str(_CLIENT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _tell(client, json.dumps(asdict(plan)))
    return client


def _tell(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin
    client.stdin.write(line + "\n")
    client.stdin.flush()


def _line_of(client: subprocess.Popen[str]) -> str:
    assert client.stdout
    line = client.stdout.readline()
    if not line:
        raise LoadFailed("a client ended early; its error stands above")
    return line
