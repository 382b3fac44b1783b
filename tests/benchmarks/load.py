"""Puts load on servers, taking turns, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.client import Answers, Plan
from tests.servers import ROOT

PROCESSES = 2
ROUNDS = 7
_ROUND_SECONDS = 1.5
_WARM_UP_SECONDS = 1.0
_CLIENT = Path(__file__).with_name("client.py")


class LoadFailed(Exception):
    """A server did not answer with 200, so its speed means nothing."""


@dataclass
class Turns:
    """What the rounds showed: acts per second, and processor seconds that each act took."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def note(self, acts: int, seconds: float, processor_seconds: float) -> None:
        self.rates.append(acts / seconds)
        self.costs.append(processor_seconds / acts)


@dataclass(frozen=True)
class Target:
    """A server under load; `processor_seconds` tells what its workers have used so far."""

    plan: Plan
    processor_seconds: Callable[[], float]


def take_turns(targets: Mapping[str, Target]) -> dict[str, Turns]:
    """Loads one target after the other, in several rounds."""
    for target in targets.values():
        load(replace(target.plan, seconds=_WARM_UP_SECONDS))
    turns = {name: Turns() for name in targets}
    for _round in range(ROUNDS):
        for name, target in targets.items():
            before = target.processor_seconds()
            answers = load(replace(target.plan, seconds=_ROUND_SECONDS))
            used = target.processor_seconds() - before
            seconds = max(one.seconds for one in answers)
            turns[name].note(sum(one.answers for one in answers), seconds, used)
    return turns


def load(plan: Plan, processes: int = PROCESSES) -> list[Answers]:
    """Carries the plan out in several processes at once; `LoadFailed` on any answer but 200."""
    # -S and -E: the client needs no site packages and starts sooner without them.
    command = [sys.executable, "-S", "-E", str(_CLIENT)]
    answers = [Answers(**one) for one in carried_out(command, asdict(plan), processes)]
    for one in answers:
        if one.failures or not one.answers:
            raise LoadFailed(
                f"{one.failures} of {one.answers} answers were not 200: {one.first_failure}"
            )
    return answers


def carried_out(
    command: Sequence[str], plan: Mapping[str, Any], processes: int = PROCESSES
) -> list[dict[str, Any]]:
    """Runs the command several times at once; what each reports of the plan. `LoadFailed`.

    Each reads the plan as a line of JSON, says "ready", waits for a line so that all begin at
    once, works, and prints what it saw as a line of JSON.
    """
    clients: list[subprocess.Popen[str]] = []
    try:
        for _number in range(processes):
            clients.append(_start(command, plan))
        for client in clients:
            _line_of(client)
        for client in clients:
            _send(client, "go")
        return [json.loads(_line_of(client)) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def _start(command: Sequence[str], plan: Mapping[str, Any]) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    _send(client, json.dumps(plan))
    return client


def _send(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin
    client.stdin.write(line + "\n")
    client.stdin.flush()


def _line_of(client: subprocess.Popen[str]) -> str:
    assert client.stdout
    line = client.stdout.readline()
    if not line:
        raise LoadFailed("a client ended early; its error stands above")
    return line
