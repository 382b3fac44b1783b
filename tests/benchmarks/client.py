"""The load: a process that keeps connections busy with raw sockets and counts the answers.

Run as a program by `load.py`, several at a time. It reads its plan as a line of JSON, says
"ready", waits for a line, works, and prints what it saw. It imports the standard library only, so
that it starts fast and costs the servers next to nothing of the machine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import selectors
import socket
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from itertools import count

# Stands in a body for something that is different in each request.
UNIQUE = "@UNIQUE@"


@dataclass(frozen=True)
class Plan:
    """What a client sends: one request again and again, for `seconds` or until `most` answers.

    With a `secret` each body is signed as Stripe signs its own, and `UNIQUE` in it is replaced.
    """

    port: int
    head: str
    body: str = ""
    secret: str = ""
    connections: int = 4
    seconds: float = 1.0
    most: int | None = None


@dataclass
class Answers:
    """What a client saw; `cpu` is the processor time in seconds that it took itself."""

    answers: int = 0
    failures: int = 0
    first_failure: str = ""
    seconds: float = 0.0
    cpu: float = 0.0


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, request: bytes) -> None:
        self._buffer = b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, or None as long as some of it is missing."""
        received = self.socket.recv(1 << 17)
        if not received:
            raise ConnectionError(f"closed by the server after {len(self._buffer)} bytes")
        self._buffer += received
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end].lower() + b"\r\n"
        start = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[start : head.index(b"\r\n", start)])
        return self._buffer if len(self._buffer) >= end + 4 + length else None


class Requests:
    """Makes the plan's next request, each with a number of its own."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = count()
        self._prefix = uuid.uuid4().hex[:12]
        self._constant = "" if plan.secret else f"{plan.head}\r\n\r\n"

    def next(self) -> bytes:
        if self._constant:
            return self._constant.encode()
        body = self._plan.body.replace(UNIQUE, f"{self._prefix}{next(self._numbers)}")
        stamp = str(int(time.time()))
        signed = f"{stamp}.{body}".encode()
        signature = hmac.new(self._plan.secret.encode(), signed, hashlib.sha256).hexdigest()
        head = (
            f"{self._plan.head}\r\nContent-Length: {len(body.encode())}\r\n"
            f"Stripe-Signature: t={stamp},v1={signature}\r\n\r\n"
        )
        return (head + body).encode()


def work(plan: Plan, connections: list[Connection]) -> Answers:
    """Carries the plan out on connections that are open already."""
    requests, seen = Requests(plan), Answers()
    selector = selectors.DefaultSelector()
    started, cpu_before = time.perf_counter(), time.process_time()
    end = started + plan.seconds
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests.next())
    while time.perf_counter() < end and (plan.most is None or seen.answers < plan.most):
        for key, _events in selector.select(timeout=0.05):
            _answered(key.data, requests, seen)
    seen.seconds = time.perf_counter() - started
    seen.cpu = time.process_time() - cpu_before
    return seen


def _answered(connection: Connection, requests: Requests, seen: Answers) -> None:
    answer = connection.receive()
    if answer is None:
        return
    seen.answers += 1
    if not answer.startswith(b"HTTP/1.1 200"):
        seen.failures += 1
        seen.first_failure = seen.first_failure or answer[:400].decode(errors="replace")
    connection.send(requests.next())


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))
    connections = [Connection(plan.port) for _number in range(plan.connections)]
    print("ready", flush=True)
    sys.stdin.readline()
    seen = work(plan, connections)
    for connection in connections:
        connection.socket.close()
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    main()
