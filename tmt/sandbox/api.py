"""The HTTP side of the API: routes, keys, idempotency, faults, answers."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, g, request

# Imported for their methods and timers, which register themselves.
from tmt.sandbox import (
    balance,  # noqa: F401
    billing_subscriptions,  # noqa: F401
    clocks,
    confirmation,  # noqa: F401
    credit_notes,  # noqa: F401
    customer_balance,  # noqa: F401
    customer_sources,  # noqa: F401
    customers,  # noqa: F401
    discounts,  # noqa: F401
    intents,  # noqa: F401
    payment_methods,  # noqa: F401
    payouts,  # noqa: F401
    plans,  # noqa: F401
    products,  # noqa: F401
    refunds_disputes,  # noqa: F401
    resources,
    reviews,  # noqa: F401
    search,  # noqa: F401
    subscription_items,  # noqa: F401
    taxes,  # noqa: F401
    tokens,  # noqa: F401
    webhooks,  # noqa: F401
)
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.faults import Faults
from tmt.sandbox.objects import (
    ACCOUNT_VERSION,
    API_VERSION,
    DAY,
    Json,
    load_table,
    secrets_match,
    token,
)
from tmt.sandbox.params import STRINGS, Parameter, method_parameters, nest, parse
from tmt.sandbox.registry import ROUTES, Route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 1 << 20
_MAX_HANG_SECONDS = 120.0
_KEY_RETENTION_SECONDS = DAY
_TEST_KEY = re.compile(r"(sk|rk|pk)_test_\w{1,250}", re.ASCII)
# Parameters and headers of Connect, which the sandbox refuses.
_CONNECT_PARAMS = (
    "application_fee_amount",
    "attach_to_self",
    "connect",
    "customer_account",
    "on_behalf_of",
    "refund_application_fee",
    "reverse_transfer",
    "transfer_data",
)
_CONNECT_HEADERS = ("Stripe-Account", "Stripe-Context")
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version, Client-Secret",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Max-Age": "600",
}


class Api:
    """Answers the registered methods for two keys, secret and publishable, or for `any_key`.

    `flush` delivers the events that are due.
    """

    def __init__(
        self,
        store: Store,
        faults: Faults,
        keys: tuple[str, str],
        any_key: bool,
        flush: Callable[[], None],
    ) -> None:
        self._store, self._faults, self._keys, self._flush = store, faults, keys, flush
        self._any_key = any_key
        self._key_locks: dict[str, threading.Lock] = {}

    def blueprint(self) -> Blueprint:
        """The routes, and Stripe's answer to every other URL."""
        views = Blueprint("api", __name__)
        for number, route in enumerate(ROUTES.values()):
            method, path = route.rule.split()
            view = partial(self._answer, route, method_parameters(route.rule))
            views.add_url_rule(path, f"route_{number}", view, False, methods=[method])
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        for path in ("/v1", "/v1/", "/v1/<path:rest>", "/v2", "/v2/<path:rest>"):
            views.add_url_rule(path, "other", _answer_other_url, False, methods=methods)
        views.register_error_handler(ApiError, _error_response)
        views.after_request(_add_headers)
        return views

    def _answer(self, route: Route, parameters: Mapping[str, Parameter], **ids: str) -> Response:
        """Answer one request, with the faults that are armed for it."""
        with self._locked_key(request.headers.get("Idempotency-Key")):
            faults = self._faults.take(f"{request.method} {request.path}", "answer")
            if response := _early_fault(faults):
                return response
            context = self._context(route)
            if "500" in faults:
                response = self._run(context, _fail)
            else:
                response = self._run(context, partial(_handle, context, route, parameters, ids))
        if "early_webhooks" in faults:
            self._flush()
        return _close_connection() if "lose_answer" in faults else response

    @contextmanager
    def _locked_key(self, key: str | None) -> Iterator[None]:
        """Lock the idempotency key for one request. Raises ApiError (409) if it is locked."""
        if key is None or request.method != "POST":
            yield
            return
        if len(key) > 255:
            raise api_error("too_large_key")
        lock = self._key_locks.setdefault(key, threading.Lock())
        if not lock.acquire(blocking=False):
            raise api_error("idempotency_key_in_use", key=key)
        try:
            yield
        finally:
            lock.release()

    def _context(self, route: Route) -> RequestContext:
        """The context of this request. Raises ApiError (400 to 413) for one that is refused."""
        key = _key()
        if not key:
            raise api_error("no_key")
        is_secret, is_publishable = (secrets_match(key, own) for own in self._keys)
        if self._any_key and (kind := _TEST_KEY.fullmatch(key)):
            is_publishable = kind[1] == "pk"
            is_secret = not is_publishable
        if not is_secret and not is_publishable:
            masked = key[:8] + "*" * 8 + key[-4:] if len(key) > 16 else "*" * len(key)
            raise api_error("wrong_key", key=masked)
        if is_secret and "Origin" in request.headers:
            raise api_error("secret_key_in_browser")
        if is_publishable and not route.publishable:
            raise api_error("secret_key_required")
        if (request.content_length or 0) > _MAX_BODY_BYTES:
            raise api_error("too_large")
        version = _version()
        if version not in load_table("enums")["api_versions"]:
            raise api_error("invalid_version", version=version[:40], current=API_VERSION)
        for account in filter(None, map(request.headers.get, _CONNECT_HEADERS)):
            if self._store.get(account, "account") is None:
                raise api_error("no_such_account", id=account[:40])
        clocks.run_due_timers(self._store)
        is_post = request.method == "POST"
        return RequestContext(
            store=self._store,
            now=int(self._store.now()),
            root=request.host_url.rstrip("/") + request.script_root,
            request_id=_request_id(),
            idempotency_key=request.headers.get("Idempotency-Key") if is_post else None,
            publishable=is_publishable,
            version=version,
            path=request.path,
        )

    def _run(self, context: RequestContext, handle: Callable[[], Json]) -> Response:
        """The effect of a request and its stored answer are one transaction."""
        key = context.idempotency_key
        with self._store.transaction(write=request.method != "GET"):
            if key and (replayed := self._replay(key, context.now)):
                return replayed
            try:
                # A failure undoes what was done so far, unless the error keeps it.
                with self._store.savepoint():
                    response, executed = _json(200, handle()), True
            except ApiError as error:
                response, executed = _error_response(error), error.executed
            except Exception:
                log.exception("The sandbox failed to answer %s %s", request.method, request.path)
                response, executed = _error_response(api_error("internal")), True
            if key and executed:
                body = response.get_data(True)
                values = (key, context.now, *_fingerprint(), response.status_code, body)
                self._store.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", values)
            return response

    def _replay(self, key: str, now: int) -> Response | None:
        """The stored answer. Raises ApiError (400) if the first request was another one."""
        expired = (now - _KEY_RETENTION_SECONDS,)
        self._store.execute("DELETE FROM replies WHERE created < ?", expired)
        for first in self._store.rows("SELECT * FROM replies WHERE key = ?", (key,)):
            endpoint, fingerprint = _fingerprint()
            if first["endpoint"] != endpoint:
                raise api_error("idempotency_other_endpoint", key=key)
            if first["fingerprint"] != fingerprint:
                raise api_error("idempotency_other_parameters", key=key)
            headers = {"Idempotent-Replayed": "true"}
            return Response(first["body"], first["status"], headers, mimetype="application/json")
        return None


def _handle(
    context: RequestContext, route: Route, parameters: Mapping[str, Parameter], ids: Json
) -> Json:
    raw = request.query_string if request.method == "GET" else request.get_data()
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw))
    except ValueError:
        raise api_error("not_form_encoded") from None
    accepted = {name: p for name, p in parameters.items() if p.exists_in(context.version)}
    params = parse(nest(pairs), {**accepted, "expand": STRINGS})
    for name in _CONNECT_PARAMS:
        # What is cleared or false asks for nothing; a fee of 0 is one all the same.
        value = params.get(name)
        if value is not None and value is not False:
            raise api_error("connect", name)
    # A browser sends the secret of a GET in a header, so that it appears in no address or log.
    if context.publishable and "Client-Secret" in request.headers:
        params.setdefault("client_secret", request.headers["Client-Secret"])
    paths = params.pop("expand", [])
    return resources.render(context, route.handler(context=context, params=params, **ids), paths)


def _fail() -> Json:
    raise api_error("outage")


def _answer_other_url(rest: str = "") -> Response:
    """Answer a browser's preflight request, or say that the API lacks this URL."""
    if request.method == "OPTIONS":
        return Response(status=204, headers=_PREFLIGHT_HEADERS)
    raise api_error("unknown_url", method=request.method, path=request.path)


def _fingerprint() -> tuple[str, str]:
    """The endpoint, and the hash of the parameters."""
    parameters = hashlib.sha256(request.get_data()).hexdigest()
    return f"{request.method} {request.path}", parameters


def _request_id() -> str:
    """The request's id; also of one that was refused before it came to this blueprint."""
    id: str = g.setdefault("id", f"req_{token(14)}")
    return id


def _key() -> str:
    """The key of the request; empty without one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic" and request.authorization:
        key = request.authorization.username or ""
    return key


def _version() -> str:
    return request.headers.get("Stripe-Version", ACCOUNT_VERSION)


def _early_fault(faults: Mapping[str, Json]) -> Response | None:
    """The answer of a fault that comes before anything is done or checked."""
    if "hang" in faults:
        time.sleep(min(float(faults["hang"].get("seconds", 30)), _MAX_HANG_SECONDS))
    if "hang" in faults or "reset" in faults:
        return _close_connection()
    if "502" in faults:
        return Response("<html><h1>502 Bad Gateway</h1></html>", 502, mimetype="text/html")
    if "429" in faults:
        raise api_error("rate_limit")
    return None


def _close_connection() -> Response:
    """Close the connection to the client; the response that is returned reaches nobody."""
    for name in ("werkzeug.socket", "gunicorn.socket"):
        connection: socket.socket | None = request.environ.get(name)
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)
    headers = {"Connection": "close"}
    return Response("The connection was closed.\n", 502, headers, mimetype="text/plain")


def _json(status: int, body: Any) -> Response:
    return Response(json.dumps(body, indent=2), status, mimetype="application/json")


def _error_response(error: ApiError) -> Response:
    return _json(error.status, error.body(_request_id()))


def _add_headers(response: Response) -> Response:
    response.headers["Request-Id"] = _request_id()
    response.headers["Stripe-Version"] = _version()
    # A page reads what is for browsers: with a secret key every page could read all the rest.
    if request.method == "OPTIONS" or _key().startswith("pk_"):
        response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
    response.headers["Cache-Control"] = "no-store"
    if key := request.headers.get("Idempotency-Key"):
        response.headers["Idempotency-Key"] = key
    return response
