"""A mail server and a Redis that behave as the trial says: the outside parties beside Stripe.

Each speaks as much of its protocol as the shop uses, on a free port of the loopback interface.
"""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from tmt.core.mail_transport import file_name

WORKS, HANGS, REFUSES, SLOW, GONE = "works", "hangs", "refuses", "is slow", "is gone"
_SLOW_SECONDS = 0.4


class _HangUp(Exception):
    """The connection ends here."""


class Party(ABC):
    """A server whose behaviour can be changed; `calls` counts who met it, by behaviour.

    One that is gone closes each connection at once.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._way, self._changed = WORKS, threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def behaving(self, way: str) -> Iterator[None]:
        """The party behaves in this way, with connections that are open too, until the end."""
        self._turn(way)
        try:
            yield
        finally:
            self._turn(WORKS)

    def close(self) -> None:
        self._turn(GONE)
        self._socket.close()

    def _turn(self, way: str) -> None:
        with self._changed:
            self._way = way
            self._changed.notify_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rwb")
        with connection, suppress(OSError, ValueError, _HangUp):
            self._converse(stream)
        with suppress(OSError):
            stream.close()

    @abstractmethod
    def _converse(self, stream: BufferedRWPair) -> None:
        """Answers one connection until it ends."""

    def _meet(self, *ways: str) -> str:
        """What the party does to the caller now; of hanging, refusing and so on only these."""
        way = self._way
        if way not in (*ways, GONE):
            return WORKS
        self.calls[way] += 1
        if way == GONE:
            raise _HangUp
        if way == SLOW:
            time.sleep(_SLOW_SECONDS)
        if way == HANGS:
            with self._changed:
                self._changed.wait_for(lambda: self._way != HANGS)
            raise _HangUp
        return way


class MailServer(Party):
    """Keeps each mail in a folder, named as by the shop when it has no mail server.

    It hangs after it has read the whole mail, which it then does not deliver.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        super().__init__()

    def _converse(self, stream: BufferedRWPair) -> None:
        self._say(stream, b"220 chaos")
        while line := stream.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say(stream, b"354 go on")
                lines = iter(stream.readline, b".\r\n")
                content = b"".join(each.removeprefix(b".") for each in lines)
                self._meet(HANGS)
                self._keep(content)
            self._say(stream, b"221 bye" if verb == b"QUIT" else b"250 ok")
            if verb == b"QUIT":
                return

    def _say(self, stream: BufferedRWPair, answer: bytes) -> None:
        is_refused = self._meet(SLOW, REFUSES) == REFUSES
        stream.write((b"421 not now" if is_refused else answer) + b"\r\n")
        stream.flush()
        if is_refused:
            raise _HangUp

    def _keep(self, content: bytes) -> None:
        name = file_name(str(message_from_bytes(content)["Message-ID"]))
        self.calls["again" if (self._folder / name).exists() else "delivered"] += 1
        (self._folder / name).write_bytes(content)


class Redis(Party):
    """Lists for the jobs and counters for the limits; nothing expires."""

    def __init__(self) -> None:
        self._lists: dict[bytes, list[bytes]] = defaultdict(list)
        self._counters: Counter[bytes] = Counter()
        super().__init__()

    def _converse(self, stream: BufferedRWPair) -> None:
        while line := stream.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int(stream.readline()[1:])
                words.append(stream.read(length + 2)[:length])
            self._meet(HANGS)
            stream.write(_encoded(self._obey(words[0].upper(), words[1:])))
            stream.flush()

    def _obey(self, command: bytes, words: list[bytes]) -> Any:
        with self._changed:
            if command == b"HELLO":
                return {b"proto": 3}
            if command == b"LPUSH":
                self._lists[words[0]].insert(0, words[1])
                self._changed.notify_all()
                return len(self._lists[words[0]])
            if command == b"BRPOP":
                waiting = self._lists[words[0]]
                changed = self._changed.wait_for(
                    lambda: waiting or self._way != WORKS, float(words[1])
                )
                return [words[0], waiting.pop()] if changed and waiting else None
            if command == b"LRANGE":
                return list(self._lists[words[0]])
            if command == b"EVALSHA":
                # The one script that the limits use: count, with the key and how many.
                self._counters[words[2]] += int(words[4])
                return self._counters[words[2]]
            if command == b"GET":
                return str(self._counters[words[0]]).encode()
            return 3600 if command == b"TTL" else b"OK"


def _encoded(answer: Any) -> bytes:
    """An answer in Redis's protocol, its third version."""
    match answer:
        case None:
            return b"_\r\n"
        case int():
            return b":%d\r\n" % answer
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(answer), answer)
        case dict():
            pairs = b"".join(_encoded(each) for pair in answer.items() for each in pair)
            return b"%%%d\r\n%b" % (len(answer), pairs)
        case _:
            return b"*%d\r\n%b" % (len(answer), b"".join(map(_encoded, answer)))
