"""A gunicorn worker whose threads get a request only once all of it has arrived.

gunicorn's own threaded worker gives a thread to a connection with its first byte: a few clients
that send slowly, or stop in the middle, then occupy every thread. Here the worker's event loop
collects head and body, bounded in size and time, and a thread never waits for a client. It is
written for the pinned version of gunicorn; `tests/test_slow_clients.py` shows that it still works.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# How long a client may take to send a request, and then to take each part of the response.
REQUEST_SECONDS = 20.0
# How long a closed connection is read from, so that its client gets the end of the response.
_LINGER_SECONDS = 2.0
_MAX_HEAD = 64 * 1024
# More than the webhook takes, which takes most: it answers 413 without reading the rest.
_MAX_BODY = 4 * 1024 * 1024 + 1
# Chunks have to be counted one by one; neither browsers nor Stripe send any.
_MAX_CHUNKED = 256 * 1024

_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]{0,100}chunked[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-f]{1,16})(?:;[^\r\n]{0,256})?\r\n", re.IGNORECASE)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"


class IncomingRequest:
    """The bytes of a request as far as they have arrived, each of them looked at once.

    `is_complete` is also true of what gunicorn will refuse, `is_too_long` of a body whose rest is
    not worth waiting for, `has_endless_head` of a head beyond all bounds.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_complete = self.is_too_long = self.has_endless_head = False
        self.expects_continue = False
        self._body_start = 0
        self._length = 0
        self._is_chunked = False
        # In a chunked body: where the next chunk begins, or the search for the end goes on.
        self._position = 0
        self._is_last_chunk = False

    def feed(self, data: bytes) -> None:
        """Takes what has arrived next."""
        scanned = max(0, len(self.data) - len(_HEAD_END) + 1)
        self.data += data
        if not self._body_start:
            end = self.data.find(_HEAD_END, scanned)
            self.has_endless_head = end < 0 and len(self.data) > _MAX_HEAD
            if end < 0:
                return
            self._read_head(end + len(_HEAD_END))
        size = len(self.data) - self._body_start
        if self._is_chunked:
            self.is_complete = self._find_last_chunk()
            self.is_too_long = not self.is_complete and size > _MAX_CHUNKED
        else:
            self.is_complete = size >= self._length

    def request(self) -> bytes:
        """What gunicorn is to parse: nothing follows a request that is not read to its end."""
        if not self.is_too_long:
            return bytes(self.data)
        head, body = self.data[: self._body_start - 2], self.data[self._body_start :]
        return bytes(head + b"Connection: close\r\n\r\n" + body)

    def _read_head(self, size: int) -> None:
        head = bytes(self.data[:size])
        self._body_start = self._position = size
        length = _CONTENT_LENGTH.search(head)
        self._length = int(length[1]) if length else 0
        self._is_chunked = _CHUNKED.search(head) is not None
        self.is_too_long = not self._is_chunked and self._length >= _MAX_BODY
        self.expects_continue = _CONTINUE.search(head) is not None

    def _find_last_chunk(self) -> bool:
        """Whether a chunked body has its end, with or without trailers, or is malformed."""
        while not self._is_last_chunk:
            size = _CHUNK_SIZE.match(self.data, self._position)
            if not size:
                line = self.data[self._position : self._position + 300]
                return b"\r\n" in line or len(line) == 300
            if int(size[1], 16) == 0:
                self._is_last_chunk = True
                self._position = size.end() - 2
                break
            after = size.end() + int(size[1], 16) + 2
            if after > len(self.data):
                return False
            self._position = after
        end = self.data.find(_HEAD_END, self._position)
        self._position = max(self._position, len(self.data) - len(_HEAD_END) + 1)
        return end >= 0


class BufferingWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker behind a buffer; `--worker-class` names it by its path."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lingering: deque[tuple[float, Any]] = deque()

    def enqueue_req(self, conn: Any) -> None:
        """Waits for the rest of the request; a thread gets the connection when it is complete.

        gunicorn calls it for a new connection, for a kept one that sends again, and for one whose
        next request has been read along with the last.
        """
        if self.cfg.is_ssl:
            # What is encrypted cannot be collected here: TLS belongs to a proxy.
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            # A thread that sends to a client who does not read stops waiting, too.
            # So does one that reads a body which was too long to be collected.
            span = struct.pack("ll", int(REQUEST_SECONDS), 0)
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                conn.sock.setsockopt(socket.SOL_SOCKET, option, span)
            conn.close = partial(self._close, conn)
        conn.incoming = IncomingRequest()
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + REQUEST_SECONDS
        self.pending_conns.append(conn)
        read = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, read)
        if conn.parser and (read_ahead := conn.parser.unreader.take_buffered()):
            self._collect(conn, read_ahead)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """Collects what has arrived of a request."""
        try:
            data = client.recv(64 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._collect(conn, data)
        else:
            self._stop_waiting(conn)
            self.nr_conns -= 1
            conn.close()

    def murder_pending(self) -> None:
        """Closes the connections whose request, or whose end, does not come."""
        super().murder_pending()
        while self._lingering and self._lingering[0][0] <= time.monotonic():
            self._end(self._lingering.popleft()[1])

    def _collect(self, conn: Any, data: bytes) -> None:
        incoming = conn.incoming
        incoming.feed(data)
        if incoming.has_endless_head:
            self._stop_waiting(conn)
            self.nr_conns -= 1
            with suppress(OSError):
                conn.sock.send(_TOO_LARGE)
            conn.close(graceful=True)
        elif incoming.is_complete or incoming.is_too_long:
            self._stop_waiting(conn)
            conn.data_ready = True
            conn.init()
            conn.parser.unreader.unread(incoming.request())
            super().enqueue_req(conn)
        elif incoming.expects_continue:
            incoming.expects_continue = False
            with suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _stop_waiting(self, conn: Any) -> None:
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """Closes a connection without ever waiting for its client, as gunicorn's own loop does."""
        with suppress(OSError):
            conn.sock.setblocking(False)
            if graceful and self.alive:
                conn.sock.shutdown(socket.SHUT_WR)
                discard = partial(self._discard, conn.sock)
                self.poller.register(conn.sock, selectors.EVENT_READ, discard)
                self._lingering.append((time.monotonic() + _LINGER_SECONDS, conn.sock))
                return
        with suppress(OSError):
            conn.sock.close()

    def _discard(self, sock: Any, _client: Any) -> None:
        try:
            ended = not sock.recv(64 * 1024)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._end(sock)

    def _end(self, sock: Any) -> None:
        with suppress(KeyError, ValueError, OSError):
            self.poller.unregister(sock)
        with suppress(OSError):
            sock.close()
