"""The HTTP side of the API: routes, keys, idempotency, ordered trouble, answers."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, g, request

from tmt.sandbox import clocks, resources
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.faults import Faults
from tmt.sandbox.objects import (
    ACCOUNT_VERSION,
    DAY,
    Json,
    function,
    load_table,
    secrets_match,
    token,
)
from tmt.sandbox.params import nest, read
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

Handler = Callable[..., Json]
log = logging.getLogger(__name__)
_LONGEST_BODY = 1 << 20
_LONGEST_HANG = 120.0
_KEYS_KEPT_SECONDS = DAY
_FIRST_WITHOUT_TYPES = "2026-09-30"
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version, Client-Secret",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Max-Age": "600",
}


class Api:
    """Answers the methods of data/api.yaml for two keys, secret and publishable.

    `flush` delivers the events that are due.
    """

    def __init__(
        self, store: Store, faults: Faults, keys: tuple[str, str], flush: Callable[[], None]
    ) -> None:
        self._store, self._faults, self._keys, self._flush = store, faults, keys, flush
        self._busy: dict[str, threading.Lock] = {}

    def blueprint(self) -> Blueprint:
        """The routes, and Stripe's answer to every other URL."""
        views = Blueprint("api", __name__)
        for number, (name, row) in enumerate(load_table("api")["methods"].items()):
            method, path = name.split()
            fixed = {name: row[name] for name in ("kind", "tells") if name in row}
            handler = partial(function(row["does"]), **fixed)
            view = partial(self._answer, handler, row.get("takes", {}), row.get("browser", False))
            views.add_url_rule(path, f"route_{number}", view, False, methods=[method])
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        for path in ("/v1", "/v1/", "/v1/<path:rest>"):
            views.add_url_rule(path, "other", _other, False, methods=every)
        views.before_request(_name_request)
        views.register_error_handler(ApiError, _error)
        views.after_request(_finish)
        return views

    def _answer(self, handler: Handler, takes: Json, browser: bool, **ids: str) -> Response:
        """One call of the API, with the trouble that is ordered for it."""
        with self._claimed(request.headers.get("Idempotency-Key")):
            trouble = self._faults.take(f"{request.method} {request.path}", "answer")
            if early := _refuse_early(trouble):
                return early
            context = self._call(browser)
            handle = partial(_handle, context, handler, takes, ids)
            answer = self._run(context, _fail if "500" in trouble else handle)
        if "early_webhooks" in trouble:
            self._flush()
        return _hang_up() if "lose_answer" in trouble else answer

    @contextmanager
    def _claimed(self, key: str | None) -> Iterator[None]:
        """Hold the key for the length of one request. Raises ApiError (409) if it is held."""
        if key is None or request.method != "POST":
            yield
            return
        if len(key) > 255:
            raise api_error("too_large_key")
        lock = self._busy.setdefault(key, threading.Lock())
        if not lock.acquire(blocking=False):
            raise api_error("idempotency_key_in_use", key=key)
        try:
            yield
        finally:
            lock.release()

    def _call(self, browser: bool) -> RequestContext:
        """Who asks, and when. Raises ApiError (401, 403, 413) for whom it refuses."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and request.authorization:
            given = request.authorization.username or ""
        if not given:
            raise api_error("no_key")
        secret, publishable = (secrets_match(given, key) for key in self._keys)
        if not secret and not publishable:
            masked = given[:8] + "*" * 8 + given[-4:] if len(given) > 16 else "*" * len(given)
            raise api_error("wrong_key", key=masked)
        if publishable and not browser:
            raise api_error("secret_key_required")
        if (request.content_length or 0) > _LONGEST_BODY:
            raise api_error("too_large")
        clocks.run_due(self._store)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        root, path = request.host_url.rstrip("/") + request.script_root, request.path
        now = int(self._store.now())
        return RequestContext(self._store, now, root, g.id, key, publishable, _version(), path)

    def _run(self, context: RequestContext, handle: Callable[[], Json]) -> Response:
        """The effect of a call and its stored answer are one transaction."""
        key = context.idempotency_key
        with self._store.transaction(write=request.method != "GET"):
            if key and (stored := self._replayed(key, context.now)):
                return stored
            answer, executed = self._attempt(handle)
            if key and executed:
                values = (key, context.now, *_asked(), answer.status_code, answer.get_data(True))
                self._store.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", values)
            return answer

    def _replayed(self, key: str, now: int) -> Response | None:
        """The stored answer. Raises ApiError (400) for another request than the first."""
        self._store.execute("DELETE FROM replies WHERE created < ?", (now - _KEYS_KEPT_SECONDS,))
        for first in self._store.rows("SELECT * FROM replies WHERE key = ?", (key,)):
            endpoint, fingerprint = _asked()
            if first["endpoint"] != endpoint:
                raise api_error("idempotency_other_endpoint", key=key)
            if first["fingerprint"] != fingerprint:
                raise api_error("idempotency_other_parameters", key=key)
            headers = {"Idempotent-Replayed": "true"}
            return Response(first["body"], first["status"], headers, mimetype="application/json")
        return None

    def _attempt(self, handle: Callable[[], Json]) -> tuple[Response, bool]:
        """The answer, and whether the request began to execute; errors undo what they should."""
        try:
            with self._store.savepoint():
                return _json(200, handle()), True
        except ApiError as error:
            return _error(error), error.executed
        except Exception:
            log.exception("The sandbox failed to answer %s %s", request.method, request.path)
            return _error(api_error("internal")), True


def _handle(context: RequestContext, handler: Handler, takes: Json, ids: Json) -> Json:
    raw = request.query_string if request.method == "GET" else request.get_data()
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw))
    except ValueError:
        raise api_error("not_form_encoded") from None
    older = context.version < _FIRST_WITHOUT_TYPES and "allowed_payment_method_types" in takes
    types = {"payment_method_types": "list"} if older else {}
    p = read(nest(pairs), {**takes, **types, "expand": "list"})
    # A browser sends the secret of a GET in a header, so that it appears in no address or log.
    if context.publishable and "Client-Secret" in request.headers:
        p.setdefault("client_secret", request.headers["Client-Secret"])
    paths = p.pop("expand", [])
    return resources.render(context, handler(context=context, p=p, **ids), paths)


def _fail() -> Json:
    raise api_error("outage")


def _other(rest: str = "") -> Response:
    """A browser's preliminary question, or a URL that the API lacks."""
    if request.method == "OPTIONS":
        return Response(status=204, headers=_PREFLIGHT)
    raise api_error("unknown_url", method=request.method, path=request.path)


def _asked() -> tuple[str, str]:
    """The endpoint, and the fingerprint of the parameters."""
    fingerprint = hashlib.sha256(request.get_data()).hexdigest()
    return f"{request.method} {request.path}", fingerprint


def _name_request() -> None:
    g.id = f"req_{token(14)}"


def _version() -> str:
    return request.headers.get("Stripe-Version", ACCOUNT_VERSION)


def _refuse_early(trouble: dict[str, Json]) -> Response | None:
    """The trouble that strikes before anything is done or looked at."""
    if "hang" in trouble:
        time.sleep(min(float(trouble["hang"].get("seconds", 30)), _LONGEST_HANG))
    if "hang" in trouble or "reset" in trouble:
        return _hang_up()
    if "502" in trouble:
        return Response("<html><h1>502 Bad Gateway</h1></html>", 502, mimetype="text/html")
    if "429" in trouble:
        raise api_error("rate_limit")
    return None


def _hang_up() -> Response:
    """Cut the line to the caller; what is returned then reaches nobody."""
    for name in ("werkzeug.socket", "gunicorn.socket"):
        line: socket.socket | None = request.environ.get(name)
        if line is not None:
            line.shutdown(socket.SHUT_RDWR)
    closing = {"Connection": "close"}
    return Response("The line was cut.\n", 502, closing, mimetype="text/plain")


def _json(status: int, body: Any) -> Response:
    return Response(json.dumps(body, indent=2), status, mimetype="application/json")


def _error(error: ApiError) -> Response:
    return _json(error.status, error.body(g.id))


def _finish(answer: Response) -> Response:
    answer.headers["Request-Id"] = g.id
    answer.headers["Stripe-Version"] = _version()
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
    answer.headers["Cache-Control"] = "no-store"
    if key := request.headers.get("Idempotency-Key"):
        answer.headers["Idempotency-Key"] = key
    return answer
