"""The HTTP side of the API: routes, keys, idempotency, answers."""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request

from tmt.sandbox import intents, objects, refunds, specs, timers, webhooks
from tmt.sandbox.call import Call
from tmt.sandbox.errors import (
    ApiError,
    internal,
    invalid,
    no_key,
    secret_key_required,
    unknown_url,
    wrong_key,
)
from tmt.sandbox.ids import new_id
from tmt.sandbox.params import Spec, nest, read
from tmt.sandbox.rendering import page, render
from tmt.sandbox.replies import Replies
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_LONGEST_BODY = 1 << 20
Handler = Callable[..., Json]


@dataclass(frozen=True)
class Route:
    """One method of the API; `browser` ones also serve a publishable key."""

    method: str
    path: str
    handler: Handler
    spec: Spec
    browser: bool = False


def _fetch(kind: str, call: Call, p: Json, id: str) -> Json:
    return call.fetch(kind, id)


def _list(kind: str, call: Call, p: Json) -> Json:
    return page(call, kind, p)


def _reading(kind: str, listed: Spec) -> tuple[Route, Route]:
    path = f"/v1/{kind}s"
    return (
        Route("GET", path, partial(_list, kind), listed),
        Route("GET", f"{path}/<id>", partial(_fetch, kind), specs.EXPAND),
    )


_INTENTS, _REFUNDS, _ENDPOINTS = "/v1/payment_intents", "/v1/refunds", "/v1/webhook_endpoints"
ROUTES = (
    Route("POST", _INTENTS, intents.create, specs.INTENT_CREATE),
    Route("GET", _INTENTS, partial(_list, "payment_intent"), specs.INTENT_LIST),
    Route("GET", f"{_INTENTS}/<id>", intents.retrieve, specs.INTENT_RETRIEVE, browser=True),
    Route("POST", f"{_INTENTS}/<id>", intents.update, specs.INTENT_UPDATE),
    Route("POST", f"{_INTENTS}/<id>/confirm", intents.confirm, specs.INTENT_CONFIRM, browser=True),
    Route("POST", f"{_INTENTS}/<id>/cancel", intents.cancel, specs.INTENT_CANCEL),
    Route("POST", f"{_INTENTS}/<id>/capture", intents.capture, specs.INTENT_CAPTURE),
    *_reading("charge", specs.CHARGE_LIST),
    Route("POST", _REFUNDS, refunds.create, specs.REFUND_CREATE),
    Route("POST", f"{_REFUNDS}/<id>", refunds.update, specs.REFUND_UPDATE),
    *_reading("refund", specs.REFUND_LIST),
    *_reading("event", specs.EVENT_LIST),
    *_reading("balance_transaction", specs.BALANCE_LIST),
    Route("POST", _ENDPOINTS, webhooks.create, specs.ENDPOINT_CREATE),
    Route("POST", f"{_ENDPOINTS}/<id>", webhooks.update, specs.ENDPOINT_UPDATE),
    Route("DELETE", f"{_ENDPOINTS}/<id>", webhooks.delete, {}),
    *_reading("webhook_endpoint", specs.PAGE),
    Route("GET", "/v1/payment_methods/<id>", partial(_fetch, "payment_method"), specs.EXPAND),
)


class Api:
    """Answers the routes for one pair of keys over one store."""

    def __init__(self, store: Store, secret_key: str, publishable_key: str) -> None:
        self._store = store
        self._keys = secret_key, publishable_key
        self._replies = Replies(store)

    def blueprint(self) -> Blueprint:
        """The routes, and Stripe's answer to every other URL."""
        views = Blueprint("api", __name__)
        for number, route in enumerate(ROUTES):
            methods = [route.method]
            view = partial(self._answer, route)
            name = f"route_{number}"
            views.add_url_rule(route.path, name, view, False, methods=methods)
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        for path in ("/v1", "/v1/", "/v1/<path:rest>"):
            views.add_url_rule(path, "other", self._other, False, methods=every)
        return views

    def _other(self, rest: str = "") -> Response:
        if request.method == "OPTIONS":
            allowed = {"Allow-Methods": "GET, POST", "Max-Age": "600"}
            allowed["Allow-Headers"] = "Authorization, Content-Type, Stripe-Version, Client-Secret"
            headers = {f"Access-Control-{name}": value for name, value in allowed.items()}
            return _finish(Response(status=204, headers=headers), new_id("req_"))
        id = new_id("req_")
        return _finish(_error(unknown_url(request.method, request.path), id), id)

    def _answer(self, route: Route, **ids: str) -> Response:
        """One call of the API, from headers to headers."""
        request_id = new_id("req_")
        key = request.headers.get("Idempotency-Key") if route.method == "POST" else None
        try:
            publishable = self._authenticate(route)
            if (request.content_length or 0) > _LONGEST_BODY:
                raise ApiError(413, "The request is too large.", executed=False)
            root = request.host_url.rstrip("/") + request.script_root
            version = request.headers.get("Stripe-Version", objects.API_VERSION)
            call = Call(self._store, int(time.time()), root, request_id, key, publishable, version)
            with self._replies.claim(key):
                timers.run_due(self._store, time.time())
                if route.method == "GET":
                    with self._store.transaction(write=False):
                        answer = _json(200, self._run(route, call, ids))
                else:
                    answer = self._write(route, call, ids)
        except ApiError as error:
            answer = _error(error, request_id)
        except Exception:
            log.exception("The sandbox failed to answer %s %s", route.method, route.path)
            answer = _error(internal(), request_id)
        return _finish(answer, request_id)

    def _authenticate(self, route: Route) -> bool:
        """Whether the caller is a browser. Raises ApiError (401, 403)."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and request.authorization:
            given = request.authorization.username or ""
        if not given:
            raise no_key()
        secret, publishable = (hmac.compare_digest(given.encode(), k.encode()) for k in self._keys)
        if not secret and not publishable:
            raise wrong_key(given)
        if publishable and not route.browser:
            raise secret_key_required()
        return publishable

    def _run(self, route: Route, call: Call, ids: Json) -> Json:
        raw = request.query_string if route.method == "GET" else request.get_data()
        try:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw))
        except ValueError:
            raise invalid("Invalid request: the parameters are not form-encoded.") from None
        spec = route.spec
        if call.version < specs.FIRST_WITHOUT_TYPES and "allowed_payment_method_types" in spec:
            spec = {**spec, "payment_method_types": "list"}
        p = read(nest(pairs), spec)
        # A browser sends the secret of a GET in a header, so that it appears in no address or log.
        if call.publishable and "Client-Secret" in request.headers:
            p.setdefault("client_secret", request.headers["Client-Secret"])
        paths = p.pop("expand", [])
        return render(call, route.handler(call, p, **ids), paths)

    def _write(self, route: Route, call: Call, ids: Json) -> Response:
        """Run a changing method; its effect and its stored answer are one transaction."""
        endpoint, body = f"{route.method} {request.path}", request.get_data()
        with self._store.transaction():
            if call.idempotency_key:
                stored = self._replies.find(call.idempotency_key, call.now, endpoint, body)
                if stored:
                    answer = Response(stored[1], stored[0], mimetype="application/json")
                    answer.headers["Idempotent-Replayed"] = "true"
                    return answer
            answer, executed = self._attempt(route, call, ids)
            if call.idempotency_key and executed:
                self._replies.keep(
                    call.idempotency_key,
                    call.now,
                    endpoint,
                    body,
                    answer.status_code,
                    answer.get_data(as_text=True),
                )
            return answer

    def _attempt(self, route: Route, call: Call, ids: Json) -> tuple[Response, bool]:
        """The answer, and whether the request began to execute; errors undo what they should."""
        self._store.execute("SAVEPOINT attempt")
        try:
            answer = _json(200, self._run(route, call, ids))
            self._store.execute("RELEASE attempt")
            return answer, True
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("The sandbox failed to answer %s %s", route.method, route.path)
                error = internal()
            if not error.keep:
                self._store.execute("ROLLBACK TO attempt")
            self._store.execute("RELEASE attempt")
            return _error(error, call.request_id or ""), error.executed


def _json(status: int, body: Any) -> Response:
    return Response(json.dumps(body, indent=2), status, mimetype="application/json")


def _error(error: ApiError, request_id: str) -> Response:
    return _json(error.status, error.body(request_id))


def _finish(answer: Response, request_id: str) -> Response:
    answer.headers["Request-Id"] = request_id
    answer.headers["Stripe-Version"] = request.headers.get("Stripe-Version", objects.API_VERSION)
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
    answer.headers["Cache-Control"] = "no-store"
    if key := request.headers.get("Idempotency-Key"):
        answer.headers["Idempotency-Key"] = key
    return answer
