"""A gunicorn worker whose threads wait for no client, neither for its request nor for its reading.

gunicorn's own threaded worker gives a thread to a connection from its first byte to the last that
the client takes: a few clients that send or read slowly, or stop in the middle, then occupy every
thread. Here the worker's event loop collects head and body, bounded in size and time, and sends
what the client does not take at once; the next request of a connection is read after that. It is
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

# How long a client may take to send a request.
REQUEST_SECONDS = 20.0
# How long one may take to read a response: so long, and at so many bytes a second beyond that.
_RESPONSE_SECONDS, _SLOWEST_READING = 20.0, 8 * 1024
# How long a closed connection is read from, so that its client gets the end of the response.
_LINGER_SECONDS = 2.0
_MAX_HEAD = 64 * 1024
# More than any page takes, and than the webhook does: they answer 413 without reading the rest.
_MAX_BODY, _MAX_WEBHOOK = 64 * 1024 + 2, 4 * 1024 * 1024 + 1
_WEBHOOK = b"/stripe_webhook"
# What the sizes of chunks may take beside their data; neither browsers nor Stripe send any.
_MAX_FRAMING = 256 * 1024
_SENT_AT_ONCE = 256 * 1024
# One in so many connections makes room when there are as many as the worker may have.
_ROOM = 16

_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]{0,100}chunked[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-f]{1,16})(?:;[^\r\n]{0,256})?\r\n", re.IGNORECASE)
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
_BODY_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n"


class IncomingRequest:
    """The bytes of a request as far as they have arrived, each of them looked at once.

    `is_complete` is also true of what gunicorn will refuse, `is_too_long` of a body whose rest is
    not worth waiting for, as what is there shows it. `refusal` is the answer to what is beyond all
    bounds.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_complete = self.is_too_long = self.expects_continue = False
        self.refusal = b""
        self._max_body = _MAX_BODY
        self._body_start = 0
        # As announced; of a chunked body, as far as it has arrived.
        self._length = 0
        self._is_chunked = False
        # In a chunked body: where the next chunk begins, or the search for the end goes on.
        self._position = 0
        self._chunks_before = 0
        self._is_last_chunk = False

    def feed(self, data: bytes) -> None:
        """Takes what has arrived next."""
        scanned = max(0, len(self.data) - len(_HEAD_END) + 1)
        self.data += data
        if not self._body_start:
            end = self.data.find(_HEAD_END, scanned)
            if end < 0:
                self.refusal = _HEAD_TOO_LARGE if len(self.data) > _MAX_HEAD else b""
                return
            self._read_head(end + len(_HEAD_END))
        size = len(self.data) - self._body_start
        if self._is_chunked:
            self.is_complete = self._find_last_chunk()
            # What is there of a longer body is enough for its 413: no thread waits for the rest.
            self.is_too_long = not self.is_complete and self._length >= self._max_body
            if not self.is_complete and size - self._length > _MAX_FRAMING:
                self.refusal = _BODY_TOO_LARGE
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
        path = head.partition(b"\r\n")[0].partition(b" ")[2].partition(b" ")[0].partition(b"?")[0]
        if path.endswith(_WEBHOOK):
            self._max_body = _MAX_WEBHOOK
        self.is_too_long = not self._is_chunked and self._length >= self._max_body
        self.expects_continue = _CONTINUE.search(head) is not None

    def _find_last_chunk(self) -> bool:
        """Whether a chunked body has its end, with or without trailers, or is malformed."""
        while not self._is_last_chunk:
            size = _CHUNK_SIZE.match(self.data, self._position)
            if not size:
                line = self.data[self._position : self._position + 300]
                self.refusal = _BODY_TOO_LARGE if len(line) == 300 and b"\r\n" not in line else b""
                return b"\r\n" in line
            length = int(size[1], 16)
            self._length = self._chunks_before + min(length, len(self.data) - size.end())
            if length == 0:
                self._is_last_chunk = True
                self._position = size.end() - 2
                break
            after = size.end() + length + 2
            if after > len(self.data):
                return False
            self._position, self._chunks_before = after, self._length
        end = self.data.find(_HEAD_END, self._position)
        self._position = max(self._position, len(self.data) - len(_HEAD_END) + 1)
        return end >= 0


class OutgoingSocket(socket.socket):
    """A connection that takes what a thread sends at once, and keeps what is not read yet."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self.unsent = bytearray()

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Never waits; raises `OSError` where the client has gone."""
        view = memoryview(data).cast("B")
        sent = 0
        if not self.unsent:
            with suppress(BlockingIOError):
                while sent < len(view):
                    sent += self.send(view[sent:], flags | socket.MSG_DONTWAIT)
        self.unsent += view[sent:]

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """The same for a part of a file."""
        file.seek(offset)
        data = file.read() if count is None else file.read(count)
        self.sendall(data)
        return len(data)

    def send_unsent(self) -> None:
        """Sends what the client takes now; raises `OSError`."""
        while self.unsent:
            del self.unsent[: self.send(self.unsent[:_SENT_AT_ONCE], socket.MSG_DONTWAIT)]


class BufferingWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker behind a buffer; `--worker-class` names it by its path."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lingering: deque[tuple[float, Any]] = deque()
        # Connections whose response is not read yet, the oldest first, with what their thread did.
        self._sending: dict[Any, Any] = {}

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
            conn.sock = OutgoingSocket(conn.sock)
            # A thread that reads on beyond what was collected does not wait for ever.
            span = struct.pack("ll", int(REQUEST_SECONDS), 0)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
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

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Sends the rest of a response before anything else happens on its connection."""
        unsent = getattr(conn.sock, "unsent", None)
        if not unsent:
            super().finish_request(conn, fs)
            return
        conn.sock.setblocking(False)
        seconds = _RESPONSE_SECONDS + len(unsent) / _SLOWEST_READING
        conn.timeout = time.monotonic() + seconds
        self._sending[conn] = fs
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._send_rest, conn))

    def murder_pending(self) -> None:
        """Closes connections whose request, or whose end, does not come, and that are not read.

        The oldest that wait for their client make room when there are as many as there may be.
        """
        super().murder_pending()
        now = time.monotonic()
        while self._lingering and self._lingering[0][0] <= now:
            self._end(self._lingering.popleft()[1])
        for conn in [conn for conn in self._sending if conn.timeout <= now]:
            self._drop(conn)
        if self.nr_conns >= self.worker_connections:
            waiting = [*self.keepalived_conns, *self.pending_conns, *self._sending]
            for conn in waiting[: max(1, self.worker_connections // _ROOM)]:
                self._drop(conn)

    def _send_rest(self, conn: Any, client: OutgoingSocket) -> None:
        try:
            client.send_unsent()
        except BlockingIOError:
            return
        except OSError:
            self._drop(conn)
            return
        self.poller.unregister(client)
        super().finish_request(conn, self._sending.pop(conn))

    def _drop(self, conn: Any) -> None:
        """Closes a connection that waits for its client."""
        self._sending.pop(conn, None)
        for waiting in (self.keepalived_conns, self.pending_conns):
            with suppress(ValueError):
                waiting.remove(conn)
        with suppress(KeyError, ValueError, OSError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _collect(self, conn: Any, data: bytes) -> None:
        incoming = conn.incoming
        incoming.feed(data)
        if incoming.refusal:
            self._stop_waiting(conn)
            self.nr_conns -= 1
            with suppress(OSError):
                conn.sock.send(incoming.refusal)
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
