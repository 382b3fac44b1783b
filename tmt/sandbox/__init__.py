"""Stripe in miniature: its API, its Stripe.js and its webhooks, for a laptop without an account.

It imports nothing of the shop that uses it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, request

from tmt.sandbox import payouts, webhooks
from tmt.sandbox.api import Api
from tmt.sandbox.billing_pages import invoice_pages
from tmt.sandbox.console import Console
from tmt.sandbox.faults import Faults
from tmt.sandbox.objects import new
from tmt.sandbox.pages import pages
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store
from tmt.sandbox.webhooks import Delivery

_log = logging.getLogger(__name__)
_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
# Headers that say that a proxy has passed a request on, by their names in a WSGI environment.
_FORWARDING = re.compile(
    r"HTTP_(?:FORWARDED|VIA|X_REAL_IP|X_REMOTE_(?:IP|ADDR)|(?:\w+_)?CLIENT_?IP|CDN_LOOP"
    r"|X_FORWARDED\w*|X_ORIGINAL_\w+|X_PROXY\w*|X_VARNISH|X_ARR_\w+|X_ENVOY_\w+|X_AMZN?_\w+"
    r"|X_AZURE_\w+|X_APPENGINE_\w+|(?:CF|FLY|FASTLY|AKAMAI|INCAP|TAILSCALE|NGROK)_\w+)"
)
_MINUTE, _HOUR = 60.0, 3600.0
# As in live mode: at growing intervals, for three days.
RETRY_DELAYS = (
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    *[10 * _HOUR] * 2,
    *[14 * _HOUR] * 3,
)


@dataclass(frozen=True)
class Endpoint:
    """A webhook receiver and the secret that signs what it is sent."""

    url: str
    secret: str


class Sandbox:
    """A WSGI application (`wsgi`) and its SQLite file, whose path is `store`.

    The endpoints are registered by their URL, for all events, which wait until `start`. With
    `local_only`, only clients on the loopback interface are served. `faults` arms faults,
    `advance` moves the clock, `deliver` returns once what is due has been sent. With `any_key`,
    every key of Stripe's test mode opens the sandbox, not only its own two.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        secret_key: str,
        publishable_key: str,
        endpoints: Sequence[Endpoint] = (),
        retry_delays: Sequence[float] = RETRY_DELAYS,
        local_only: bool = True,
        any_key: bool = False,
    ) -> None:
        self.secret_key = secret_key
        self.publishable_key = publishable_key
        self._store = Store(os.fspath(store))
        with self._store.transaction():
            now = int(self._store.now())
            payouts.schedule_daily_closing(RequestContext(self._store, now))
            for kind in ("account", "payment_method_configuration"):
                if not self._store.select(kind):
                    self._store.put(new(kind, now))
            for endpoint in endpoints:
                webhooks.register_endpoint(self._store, now, endpoint.url, endpoint.secret)
        self.faults = Faults(self._store)
        self._delivery = delivery = Delivery(self._store, self.faults, tuple(retry_delays))
        self.start, self.advance, self.deliver = delivery.start, delivery.advance, delivery.flush
        self.ahead = self._store.ahead
        self._local_only = local_only
        self.wsgi = self.application(any_key)

    def application(self, any_key: bool) -> Flask:
        """A WSGI application of this sandbox, for its own two keys or for every test key."""
        app = Flask(__name__, static_folder=None, template_folder="templates")
        app.url_map.strict_slashes = True
        keys = self.secret_key, self.publishable_key
        api = Api(self._store, self.faults, keys, any_key, self._delivery.flush)
        app.register_blueprint(api.blueprint())
        app.register_blueprint(pages(self._store))
        app.register_blueprint(invoice_pages(self._store))
        console = Console(self._store, self.faults, self.advance, self.secret_key, self._local_only)
        app.register_blueprint(console.blueprint())
        if self._local_only:
            app.before_request(_refuse_other_machines)
        return app

    def close(self) -> None:
        """Stop delivering and close the store."""
        self._delivery.stop()
        self._store.close()


def _refuse_other_machines() -> Response | None:
    """Answers only what a program on this machine has sent itself, to one of the machine's names.

    A proxy on this machine connects from here too, but adds headers, passes on another host, or
    speaks HTTP/1.0; a page whose name was made to resolve to this machine sends that name, and a
    browser names the page that asks.
    """
    passed_on = sorted(filter(_FORWARDING.fullmatch, request.environ))
    if passed_on or request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        how = passed_on[0][5:].replace("_", "-").title() if passed_on else "HTTP/1.0"
        text = f"The sandbox answers this machine only, and a proxy passed this on ({how})."
        _log.warning("%s", text)
        return Response(f"{text}\nThe shop's TMT_SANDBOX_PUBLIC=1 opens it.\n", 400, _PLAIN)
    if not _is_loopback(request.remote_addr or ""):
        return Response("The sandbox answers this machine only.\n", 403, _PLAIN)
    if not _is_own_name(f"//{request.headers.get('Host', '')}"):
        return Response("The sandbox answers to this machine's own names only.\n", 400, _PLAIN)
    pages = (request.headers.get("Origin"), request.headers.get("Referer"))
    if any(page and page != "null" and not _is_own_name(page) for page in pages):
        return Response("The sandbox answers pages of this machine only.\n", 403, _PLAIN)
    return None


def _is_own_name(url: str) -> bool:
    """Whether the URL's host is this machine's own name or address."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == "localhost" or host.endswith(".localhost") or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
