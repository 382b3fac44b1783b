"""A proxy between a shop and its Stripe, which can lose calls and answers.

The calls are real and so is the sandbox behind them; only the connection is bad.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import select

from tests.shopfront import Shopfront
from tmt.gateway.inbox import InboxRow

# What becomes of a call: None (it goes through), "refused" (Stripe answers 500 and does nothing),
# "lost" (it never arrives), "unanswered" (Stripe does it, the answer is lost) or "silent" (nobody
# hears anything until `released`).
Fate = str | None


class StripeProxy:
    """Every call of the shop to Stripe, as "POST /v1/payment_intents"; `fate` decides on each."""

    def __init__(self, front: Shopfront) -> None:
        self.calls: list[str] = []
        self.released = threading.Event()
        self.fate: Callable[[str], Fate] = lambda _call: None
        self._stripe = front.sandbox.wsgi.wsgi_app
        front.sandbox.wsgi.wsgi_app = self._forward

    def count(self, call: str) -> int:
        """How often this was called."""
        return self.calls.count(call)

    def _forward(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        call = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.calls.append(call)
        fate = self.fate(call)
        if fate == "refused":
            start_response("500 Internal Server Error", [("Content-Type", "application/json")])
            return [b'{"error": {"type": "api_error", "message": "An error occurred."}}']
        if fate == "silent":
            self.released.wait(60)
        if fate in ("lost", "silent"):
            _hang_up(environ)
        answer = self._stripe(environ, start_response)
        if fate == "unanswered":
            b"".join(answer)
            _hang_up(environ)
        return answer


def _hang_up(environ: Any) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the connection to Stripe is cut")


def wait_for_event(front: Shopfront, type_: str, object_id: str) -> None:
    """Returns once the shop has stored Stripe's event about the object."""
    query = select(InboxRow.id).where(InboxRow.type == type_, InboxRow.object_id == object_id)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with front.shop.db.reading() as session:
            if session.scalar(query):
                return
        time.sleep(0.02)
    raise AssertionError(f"no {type_} arrived about {object_id}")
