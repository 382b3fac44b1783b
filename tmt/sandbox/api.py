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
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request

from tmt.sandbox import clocks, resources
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, problem
from tmt.sandbox.faults import Faults, wait_seconds
from tmt.sandbox.params import nest, read
from tmt.sandbox.shape import ACCOUNT_VERSION, DAY, Json, function, known, same, token
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_LONGEST_BODY = 1 << 20
_KEYS_KEPT_SECONDS = DAY
_FIRST_WITHOUT_TYPES = "2026-09-30"
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version, Client-Secret",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True)
class Route:
    """One method of the API; `browser` ones also serve a publishable key."""

    method: str
    path: str
    handler: Callable[..., Json]
    takes: Json
    browser: bool = False


def routes() -> Iterator[Route]:
    """The methods of data/api.yaml."""
    table = known("api")
    for name, row in table["methods"].items():
        method, path = name.split()
        fixed = {key: row[key] for key in ("kind", "tells") if key in row}
        handler = partial(function(row["does"]), **fixed)
        takes = row.get("takes", {}) | ({**table["page"], **row["lists"]} if "lists" in row else {})
        yield Route(method, path, handler, takes, row.get("browser", False))
    for kind, row in table["reads"].items():
        path, browser = f"/v1/{row['path']}", row.get("browser", False)
        if row.get("lists", True):
            handler = partial(resources.page, kind=kind, url=path)
            yield Route("GET", path, handler, table["page"] | row.get("by", {}))
        secret = {"client_secret": "str"} if browser else {}
        handler = partial(resources.retrieve, kind=kind)
        yield Route("GET", f"{path}/<id>", handler, secret, browser)


class Api:
    """Answers the routes for two keys, secret and publishable; `flush` delivers what is due."""

    def __init__(
        self, store: Store, faults: Faults, keys: tuple[str, str], flush: Callable[[], None]
    ) -> None:
        self._store = store
        self._keys = keys
        self._faults = faults
        self._flush = flush
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def blueprint(self) -> Blueprint:
        """The routes, and Stripe's answer to every other URL."""
        views = Blueprint("api", __name__)
        for number, route in enumerate(routes()):
            view = partial(self._answer, route)
            options = {"methods": [route.method]}
            views.add_url_rule(route.path, f"route_{number}", view, False, **options)
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        for path in ("/v1", "/v1/", "/v1/<path:rest>"):
            views.add_url_rule(path, "other", _other, False, methods=every)
        return views

    def _answer(self, route: Route, **ids: str) -> Response:
        """One call of the API, from headers to headers."""
        id = _request_id()
        trouble: dict[str, Json] = {}
        try:
            with self._claimed(request.headers.get("Idempotency-Key")):
                trouble = self._faults.take(f"{request.method} {request.path}", "answer")
                answer = _refuse_early(trouble) or self._run(route, id, ids, "500" in trouble)
        except ApiError as error:
            answer = _error(error, id)
        if "early_webhooks" in trouble:
            self._flush()
        return _hang_up() if "lose_answer" in trouble else _finish(answer, id)

    @contextmanager
    def _claimed(self, key: str | None) -> Iterator[None]:
        """Hold the key for the length of one request. Raises ApiError (409) if it is held."""
        if key is None or request.method != "POST":
            yield
            return
        if len(key) > 255:
            raise problem("too_large_key")
        with self._lock:
            if key in self._running:
                raise problem("idempotency_key_in_use", key=key)
            self._running.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)

    def _run(self, route: Route, id: str, ids: Json, outage: bool) -> Response:
        publishable = self._authenticate(route)
        if (request.content_length or 0) > _LONGEST_BODY:
            raise problem("too_large")
        clocks.run_due(self._store)
        writes = route.method != "GET"
        key = request.headers.get("Idempotency-Key") if route.method == "POST" else None
        root = request.host_url.rstrip("/") + request.script_root
        call = Call(self._store, int(self._store.now()), root, id, key, publishable, _version())
        # The effect of a call and its stored answer are one transaction.
        with self._store.transaction(write=writes):
            if key and (stored := self._replayed(key, call.now)):
                return stored
            answer, executed = self._attempt(route, call, ids, outage)
            if key and executed:
                values = (key, call.now, *_asked(), answer.status_code, answer.get_data(True))
                self._store.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", values)
            return answer

    def _authenticate(self, route: Route) -> bool:
        """Whether the caller is a browser. Raises ApiError (401, 403)."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and request.authorization:
            given = request.authorization.username or ""
        if not given:
            raise problem("no_key")
        secret, publishable = (same(given, key) for key in self._keys)
        if not secret and not publishable:
            masked = given[:8] + "*" * 8 + given[-4:] if len(given) > 16 else "*" * len(given)
            raise problem("wrong_key", key=masked)
        if publishable and not route.browser:
            raise problem("secret_key_required")
        return publishable

    def _replayed(self, key: str, now: int) -> Response | None:
        """The stored answer. Raises ApiError (400) for another request than the first."""
        self._store.execute("DELETE FROM replies WHERE created < ?", (now - _KEYS_KEPT_SECONDS,))
        for first in self._store.rows("SELECT * FROM replies WHERE key = ?", (key,)):
            endpoint, fingerprint = _asked()
            if first["endpoint"] != endpoint:
                raise problem("idempotency_other_endpoint", key=key)
            if first["fingerprint"] != fingerprint:
                raise problem("idempotency_other_parameters", key=key)
            headers = {"Idempotent-Replayed": "true"}
            return Response(first["body"], first["status"], headers, mimetype="application/json")
        return None

    def _attempt(self, route: Route, call: Call, ids: Json, outage: bool) -> tuple[Response, bool]:
        """The answer, and whether the request began to execute; errors undo what they should."""
        try:
            with self._store.part():
                if outage:
                    raise problem("outage")
                return _json(200, _handle(route, call, ids)), True
        except ApiError as error:
            return _error(error, call.request_id or ""), error.executed
        except Exception:
            log.exception("The sandbox failed to answer %s %s", route.method, route.path)
            return _error(problem("internal"), call.request_id or ""), True


def _handle(route: Route, call: Call, ids: Json) -> Json:
    raw = request.query_string if route.method == "GET" else request.get_data()
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw))
    except ValueError:
        raise problem("not_form_encoded") from None
    takes = {**route.takes, "expand": "list"}
    if call.version < _FIRST_WITHOUT_TYPES and "allowed_payment_method_types" in takes:
        takes["payment_method_types"] = "list"
    p = read(nest(pairs), takes)
    # A browser sends the secret of a GET in a header, so that it appears in no address or log.
    if call.publishable and "Client-Secret" in request.headers:
        p.setdefault("client_secret", request.headers["Client-Secret"])
    paths = p.pop("expand", [])
    return resources.render(call, route.handler(call=call, p=p, **ids), paths)


def _other(rest: str = "") -> Response:
    """A browser's preliminary question, or a URL that the API lacks."""
    id = _request_id()
    if request.method == "OPTIONS":
        return _finish(Response(status=204, headers=_PREFLIGHT), id)
    unknown = problem("unknown_url", method=request.method, path=request.path)
    return _finish(_error(unknown, id), id)


def _asked() -> tuple[str, str]:
    """The endpoint, and the fingerprint of the parameters."""
    fingerprint = hashlib.sha256(request.get_data()).hexdigest()
    return f"{request.method} {request.path}", fingerprint


def _request_id() -> str:
    return f"req_{token(14)}"


def _version() -> str:
    return request.headers.get("Stripe-Version", ACCOUNT_VERSION)


def _refuse_early(trouble: dict[str, Json]) -> Response | None:
    """The trouble that strikes before anything is done or looked at."""
    if "hang" in trouble:
        time.sleep(wait_seconds(trouble["hang"]))
    if "hang" in trouble or "reset" in trouble:
        return _hang_up()
    if "502" in trouble:
        return Response("<html><h1>502 Bad Gateway</h1></html>", 502, mimetype="text/html")
    if "429" in trouble:
        raise problem("rate_limit")
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


def _error(error: ApiError, request_id: str) -> Response:
    return _json(error.status, error.body(request_id))


def _finish(answer: Response, request_id: str) -> Response:
    answer.headers["Request-Id"] = request_id
    answer.headers["Stripe-Version"] = _version()
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
    answer.headers["Cache-Control"] = "no-store"
    if key := request.headers.get("Idempotency-Key"):
        answer.headers["Idempotency-Key"] = key
    return answer
