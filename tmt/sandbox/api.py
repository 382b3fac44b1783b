"""The HTTP side of the API: routes, keys, idempotency, ordered trouble, answers."""

from __future__ import annotations

import hmac
import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request

from tmt.sandbox import clocks
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, problem
from tmt.sandbox.faults import Faults, wait_seconds
from tmt.sandbox.params import nest, read
from tmt.sandbox.rendering import PAGE, page, render
from tmt.sandbox.replies import Replies
from tmt.sandbox.rules import check_secret
from tmt.sandbox.shape import ACCOUNT_VERSION, Json, function, known, token
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_LONGEST_BODY = 1 << 20
_FIRST_WITHOUT_TYPES = "2026-09-30"


@dataclass(frozen=True)
class Route:
    """One method of the API; `browser` ones also serve a publishable key."""

    method: str
    path: str
    handler: Callable[..., Json]
    takes: Json
    browser: bool = False


def routes() -> list[Route]:
    """The methods of data/api.yaml."""
    table, found = known("api"), []
    for name, row in table["methods"].items():
        does, _, kind = row["does"].partition(" ")
        handler = partial(function(does), **({"kind": kind} if kind else {}))
        takes = row.get("takes", {}) | ({**PAGE, **row["lists"]} if "lists" in row else {})
        method, _, path = name.partition(" ")
        found.append(Route(method, path, handler, takes, row.get("browser", False)))
    for kind, row in table["reads"].items():
        path, browser = f"/v1/{row['path']}", row.get("browser", False)
        listing = partial(page, kind=kind, url=path)
        secret = {"client_secret": "str"} if browser else {}
        if row.get("lists", True):
            found.append(Route("GET", path, listing, PAGE | row.get("by", {})))
        found.append(Route("GET", f"{path}/<id>", partial(_one, kind=kind), secret, browser))
    return found


def _one(call: Call, p: Json, id: str, kind: str) -> Json:
    body = call.store.get(id, kind) or {}
    if body.get("deleted"):
        return {name: body[name] for name in ("id", "object", "deleted")}
    body = call.fetch(kind, id)
    if "client_secret" in body:
        check_secret(call, body, p)
    return body


class Api:
    """Answers the routes for two keys, secret and publishable; `flush` delivers what is due."""

    def __init__(
        self, store: Store, faults: Faults, keys: tuple[str, str], flush: Callable[[], None]
    ) -> None:
        self._store = store
        self._keys = keys
        self._faults = faults
        self._replies = Replies(store)
        self._flush = flush

    def blueprint(self) -> Blueprint:
        """The routes, and Stripe's answer to every other URL."""
        views = Blueprint("api", __name__)
        for number, route in enumerate(routes()):
            view = partial(self._answer, route)
            options = {"methods": [route.method]}
            views.add_url_rule(route.path, f"route_{number}", view, False, **options)
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        for path in ("/v1", "/v1/", "/v1/<path:rest>"):
            views.add_url_rule(path, "other", self._other, False, methods=every)
        return views

    def _other(self, rest: str = "") -> Response:
        id = _request_id()
        if request.method == "OPTIONS":
            allowed = {"Allow-Methods": "GET, POST", "Max-Age": "600"}
            allowed["Allow-Headers"] = "Authorization, Content-Type, Stripe-Version, Client-Secret"
            headers = {f"Access-Control-{name}": value for name, value in allowed.items()}
            return _finish(Response(status=204, headers=headers), id)
        unknown = problem("unknown_url", method=request.method, path=request.path)
        return _finish(_error(unknown, id), id)

    def _answer(self, route: Route, **ids: str) -> Response:
        """One call of the API, from headers to headers."""
        id = _request_id()
        key = request.headers.get("Idempotency-Key") if route.method == "POST" else None
        trouble: dict[str, Json] = {}
        try:
            with self._replies.claim(key):
                trouble = self._faults.take(f"{request.method} {request.path}", "answer")
                answer = _refuse_early(trouble) or self._run(route, id, key, ids, "500" in trouble)
        except ApiError as error:
            answer = _error(error, id)
        except Exception:
            log.exception("The sandbox failed to answer %s %s", route.method, route.path)
            answer = _error(problem("internal"), id)
        if "early_webhooks" in trouble:
            self._flush()
        return _hang_up() if "lose_answer" in trouble else _finish(answer, id)

    def _run(self, route: Route, id: str, key: str | None, ids: Json, outage: bool) -> Response:
        publishable = self._authenticate(route)
        if (request.content_length or 0) > _LONGEST_BODY:
            raise problem("too_large")
        root = request.host_url.rstrip("/") + request.script_root
        clocks.run_due(self._store)
        call = Call(self._store, int(self._store.now()), root, id, key, publishable, _version())
        if route.method == "GET" and not outage:
            with self._store.transaction(write=False):
                return _json(200, self._handle(route, call, ids))
        return self._write(route, call, ids, outage)

    def _authenticate(self, route: Route) -> bool:
        """Whether the caller is a browser. Raises ApiError (401, 403)."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and request.authorization:
            given = request.authorization.username or ""
        if not given:
            raise problem("no_key")
        secret, publishable = (hmac.compare_digest(given.encode(), k.encode()) for k in self._keys)
        if not secret and not publishable:
            masked = given[:8] + "*" * 8 + given[-4:] if len(given) > 16 else "*" * len(given)
            raise problem("wrong_key", key=masked)
        if publishable and not route.browser:
            raise problem("secret_key_required")
        return publishable

    def _handle(self, route: Route, call: Call, ids: Json) -> Json:
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
        return render(call, route.handler(call=call, p=p, **ids), paths)

    def _write(self, route: Route, call: Call, ids: Json, outage: bool) -> Response:
        """Run a changing method; its effect and its stored answer are one transaction."""
        endpoint, body = f"{route.method} {request.path}", request.get_data()
        key = call.idempotency_key
        with self._store.transaction():
            if key and (stored := self._replies.find(key, call.now, endpoint, body)):
                answer = Response(stored[1], stored[0], mimetype="application/json")
                answer.headers["Idempotent-Replayed"] = "true"
                return answer
            answer, executed = self._attempt(route, call, ids, outage)
            if key and executed:
                text = answer.get_data(as_text=True)
                self._replies.keep(key, call.now, endpoint, body, answer.status_code, text)
            return answer

    def _attempt(self, route: Route, call: Call, ids: Json, outage: bool) -> tuple[Response, bool]:
        """The answer, and whether the request began to execute; errors undo what they should."""
        try:
            with self._store.part():
                if outage:
                    raise problem("outage")
                return _json(200, self._handle(route, call, ids)), True
        except ApiError as error:
            return _error(error, call.request_id or ""), error.executed
        except Exception:
            log.exception("The sandbox failed to answer %s %s", route.method, route.path)
            return _error(problem("internal"), call.request_id or ""), True


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
    line: socket.socket | None = next(
        (request.environ[name] for name in ("werkzeug.socket", "gunicorn.socket")
         if name in request.environ), None,
    )  # fmt: skip
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
