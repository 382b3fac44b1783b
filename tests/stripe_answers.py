"""Answers that the sandbox does not give: a real connection, and what a test puts into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tests.shopfront import Shopfront

if TYPE_CHECKING:
    from tests.failpoints.crash_env import CrashEnv

# What becomes of Stripe's answer: another status and body, or the body changed.
Answer = tuple[int, dict[str, Any]] | Callable[[dict[str, Any]], Any]


class StripeAnswers:
    """`rules` by the beginning of a call, as "POST /v1/refunds", decide on its answer."""

    def __init__(self, front: Shopfront | CrashEnv) -> None:
        self.rules: dict[str, Answer] = {}
        self.calls: list[str] = []
        self._stripe = front.sandbox.wsgi.wsgi_app
        front.sandbox.wsgi.wsgi_app = self._forward

    def refuse(self, call: str, status: int, message: str, code: str | None = None) -> None:
        """Has Stripe refuse the call for good."""
        error = {"type": "invalid_request_error", "message": message}
        self.rules[call] = status, {"error": error | ({"code": code} if code else {})}

    def _forward(self, environ: Any, start: Any) -> Iterable[bytes]:
        call = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.calls.append(call)
        rule = next((one for begin, one in self.rules.items() if call.startswith(begin)), None)
        if rule is None:
            return self._stripe(environ, start)
        if isinstance(rule, tuple):
            status, body = rule
        else:
            status, body = 200, json.loads(b"".join(self._stripe(environ, lambda *_: None)))
            rule(body)
        start(f"{status} Said by a test", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]
