"""The sandbox as one object: a WSGI application, its store, its delivery threads."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from flask import Flask, Response, request

from tmt.sandbox import webhooks
from tmt.sandbox.api import Api
from tmt.sandbox.console import console
from tmt.sandbox.delivery import Delivery
from tmt.sandbox.pages import pages
from tmt.sandbox.store import Store

# Stripe's test mode sends again three times, over a few hours.
RETRY_DELAYS = (300.0, 3600.0, 10800.0)


@dataclass(frozen=True)
class Endpoint:
    """A webhook receiver and the secret that signs what it is sent."""

    url: str
    secret: str


class Sandbox:
    """A stand-in for Stripe.

    `store` is the path of its SQLite file, created when absent. The endpoints are registered by
    their URL, for all events. Constructing starts no thread; events wait until `start`. With
    `local_only`, only clients on the loopback interface are served, others get 403.
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
            for endpoint in endpoints:
                webhooks.register(self._store, int(time.time()), endpoint.url, endpoint.secret)
        self._delivery = Delivery(self._store, tuple(retry_delays))
        self.wsgi = self._application(local_only)

    def _application(self, local_only: bool) -> Flask:
        app = Flask(__name__, static_folder=None, template_folder="templates")
        app.url_map.strict_slashes = True
        app.register_blueprint(Api(self._store, self.secret_key, self.publishable_key).blueprint())
        app.register_blueprint(pages(self._store))
        app.register_blueprint(console(self._store))
        if local_only:
            app.before_request(_refuse_strangers)
        return app

    def start(self) -> None:
        """Start delivering events."""
        self._delivery.start()

    def close(self) -> None:
        """Stop delivering and close the store."""
        self._delivery.stop()
        self._store.close()


def _refuse_strangers() -> Response | None:
    # A proxy on this machine asks from here too, but says for whom.
    forwarded = request.headers.get("X-Forwarded-For", "")
    askers = [request.remote_addr or "", *filter(None, forwarded.split(","))]
    if all(_is_near(asker.strip()) for asker in askers):
        return None
    return Response("The sandbox answers this machine only.\n", 403, mimetype="text/plain")


def _is_near(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
