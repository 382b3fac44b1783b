"""Stripe in miniature: its API, its Stripe.js and its webhooks, for a laptop without an account.

It imports nothing of the shop that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from flask import Flask, Response, request

from tmt.sandbox import balance, webhooks
from tmt.sandbox.api import Api
from tmt.sandbox.console import Console
from tmt.sandbox.faults import Faults
from tmt.sandbox.objects import new
from tmt.sandbox.pages import pages
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store
from tmt.sandbox.webhooks import Delivery

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
    `advance` moves the clock, `deliver` returns once what is due has been sent.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        secret_key: str,
        publishable_key: str,
        endpoints: Sequence[Endpoint] = (),
        retry_delays: Sequence[float] = RETRY_DELAYS,
        local_only: bool = True,
    ) -> None:
        self.secret_key = secret_key
        self.publishable_key = publishable_key
        self._store = Store(os.fspath(store))
        with self._store.transaction():
            now = int(self._store.now())
            balance.schedule_daily_closing(RequestContext(self._store, now))
            for kind in ("account", "payment_method_configuration"):
                if not self._store.select(kind):
                    self._store.put(new(kind, now))
            for endpoint in endpoints:
                webhooks.register_endpoint(self._store, now, endpoint.url, endpoint.secret)
        self.faults = Faults(self._store)
        self._delivery = delivery = Delivery(self._store, self.faults, tuple(retry_delays))
        self.start, self.advance, self.deliver = delivery.start, delivery.advance, delivery.flush
        self.ahead = self._store.ahead
        self.wsgi = self._application(local_only)

    def _application(self, local_only: bool) -> Flask:
        app = Flask(__name__, static_folder=None, template_folder="templates")
        app.url_map.strict_slashes = True
        keys = self.secret_key, self.publishable_key
        api = Api(self._store, self.faults, keys, self._delivery.flush)
        app.register_blueprint(api.blueprint())
        app.register_blueprint(pages(self._store))
        console = Console(self._store, self.faults, self.advance, self.secret_key, local_only)
        app.register_blueprint(console.blueprint())
        if local_only:
            app.before_request(_refuse_other_machines)
        return app

    def close(self) -> None:
        """Stop delivering and close the store."""
        self._delivery.stop()
        self._store.close()


def _refuse_other_machines() -> Response | None:
    # A proxy on this machine connects from here too, but names its client.
    forwarded = request.headers.get("X-Forwarded-For", "")
    clients = [request.remote_addr or "", *filter(None, forwarded.split(","))]
    if all(_is_loopback(client.strip()) for client in clients):
        return None
    return Response("The sandbox answers this machine only.\n", 403, mimetype="text/plain")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
