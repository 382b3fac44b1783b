"""`python -m tmt.sandbox` as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import stripe


def test_the_command_serves_and_keeps_its_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "tmt.sandbox", "--port", "0"]
    command += ["--store", str(tmp_path / "own.sqlite"), "--webhook", "http://127.0.0.1:9/hook"]
    printed = []
    for _ in range(2):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Whoever runs the tests in the background has them inherit that it is ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        words = [process.stdout.readline().split()[-1].decode() for _ in range(4)]
        client = stripe.StripeClient(words[1], base_addresses={"api": words[0]})
        client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
        printed.append((words[1:], len(client.v1.payment_intents.list().data)))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(10) == 0
    (first, one), (second, two) = printed
    assert first == second
    assert (one, two) == (1, 2)
