"""create_app: puts the shop together. The only place that knows everyone."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tmt import cli, health, web
from tmt.catalog.views import catalog
from tmt.checkout.models import Order
from tmt.checkout.views import PLACED, checkout
from tmt.config import Settings, load_settings
from tmt.core import log, metrics, outbox
from tmt.core.clock import Clock
from tmt.core.db import Database
from tmt.core.jobs import Jobs
from tmt.core.letters import Letters
from tmt.core.mail import FolderTransport, MailUnavailable, Message, SmtpTransport, Transport
from tmt.doctor.commands import TRANSPORT
from tmt.gateway import extension, inbox
from tmt.gateway.contract import Gateway
from tmt.gateway.stripe_api import StripeGateway
from tmt.gateway.views import webhook
from tmt.payments import api, declines, handlers, mails
from tmt.payments.api_keys import forget_old_keys
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.notices import send_notice
from tmt.payments.reconcile import reconcile
from tmt.payments.refunds import send_refund
from tmt.payments.start import begin
from tmt.payments.views import payments
from tmt.shop import Shop
from tmt.tickets.mails import send_confirmation, send_found_orders
from tmt.tickets.views import tickets

if TYPE_CHECKING:
    from tmt.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
_MAIL_TIMEOUT = 20.0
_RECONCILED_EVERY = 5


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """The application; `overrides` are settings by field name, which win over the environment.

    Opens the database lazily. Only under `flask run` does it migrate, seed and start threads.
    Raises `SettingsRefused`.
    """
    command = cli.running_command()
    settings = load_settings(overrides, flask_run=command.address)
    told = "log_format" in settings.model_fields_set
    style = "readable" if command.watched and not told else settings.log_format
    log.configure(style, settings.log_level)
    if settings.metrics_folder:
        Path(settings.metrics_folder).mkdir(parents=True, exist_ok=True)
    # Other commands, such as `flask jobs`, reach the sandbox that the server has.
    mounts = settings.sandbox and (command.serves or not command.address)
    box = _open_sandbox(settings) if mounts else None
    shop = Shop(
        settings,
        Database(settings.database_url),
        _following(box) if box else Clock(),
        Jobs(settings.jobs_url, settings.instance),
    )
    gateway = StripeGateway(settings, _count_call)
    shop.jobs.define(_duties(shop, gateway), minutes={"reconcile": _RECONCILED_EVERY})
    app = _flask_app(shop, gateway)
    if box:
        _mount(app, box)
    if command.serves:
        cli.begin_serving(shop)
    return app


def _flask_app(shop: Shop, gateway: Gateway) -> Flask:
    app = Flask("tmt", root_path=str(ROOT), static_folder="static", template_folder="templates")
    web.init_app(app, shop)
    app.extensions[extension.KEY] = gateway
    app.extensions[PLACED] = partial(_placed, shop)
    app.extensions[TRANSPORT] = _transport(shop.settings)
    for blueprint in (catalog, checkout, payments, tickets, webhook, health.health):
        app.register_blueprint(blueprint)
    api.init_app(app)
    cli.init_app(app)
    return app


def _placed(shop: Shop, session: Session, order: Order) -> None:
    now: datetime = shop.clock.now()
    begin(session, shop, order, now)


def _duties(shop: Shop, gateway: Gateway) -> dict[str, Any]:
    """What the jobs do, by name."""
    letters = Letters(_transport(shop.settings), shop.settings.base_url, shop.settings.shop_name)
    outbox_handlers: dict[str, outbox.Handler] = {
        "confirmation": partial(send_confirmation, shop, letters),
        "find_orders": partial(send_found_orders, shop, letters),
        "refunded_late": partial(mails.send_refunded_late, shop, letters),
        "refunded": partial(mails.send_refunded, shop, letters),
        "on_its_way": partial(mails.send_on_its_way, shop, letters),
        "bank_refused": partial(mails.send_bank_refused, shop, letters),
        "notice": partial(send_notice, shop, letters),
        "refund": partial(send_refund, shop, gateway),
    }
    return {
        # First, as the others do what it finds.
        "reconcile": partial(reconcile, shop, gateway),
        "inbox": partial(inbox.drain, shop, gateway, handlers.HANDLERS),
        "outbox": partial(outbox.drain, shop.db, shop.clock, outbox_handlers),
        "holds": partial(end_overdue_holds, shop, gateway),
        "tidy": partial(forget_old_keys, shop),
        "alarm": partial(declines.watch, shop),
        "heartbeat": partial(health.beat, shop),
    }


def _transport(settings: Settings) -> Transport:
    """How mail leaves: to a folder where nothing is real, else by the mail server that is set."""
    sender = settings.mail_sender or f"{settings.shop_name} <tickets@localhost>"
    if settings.mail_server and not settings.sandbox:
        return SmtpTransport(
            settings.mail_server,
            settings.mail_port,
            settings.mail_username,
            settings.mail_password,
            use_tls=settings.mail_use_tls and not settings.mail_use_ssl,
            use_ssl=settings.mail_use_ssl,
            sender=sender,
            timeout=_MAIL_TIMEOUT,
        )
    return _NoMailServer() if settings.livemode else FolderTransport(settings.mail_folder, sender)


class _NoMailServer:
    """Keeps live mails waiting in the outbox until somebody says where to send them."""

    def send(self, message: Message) -> str | None:
        self.check()
        return None

    def check(self) -> None:
        """There is none."""
        raise MailUnavailable("MAIL_SERVER is not set: mails wait in the outbox until it is")


def _open_sandbox(settings: Settings) -> Sandbox:
    # Only a sandbox needs it, and it need not cost the others their start.
    from tmt.sandbox import Endpoint, Sandbox

    settings.instance.mkdir(parents=True, exist_ok=True)
    return Sandbox(
        store=str(settings.instance / "sandbox.sqlite"),
        secret_key=settings.stripe_secret_key,
        publishable_key=settings.stripe_publishable_key,
        endpoints=[
            Endpoint(f"{settings.base_url}/stripe_webhook", settings.stripe_webhook_secrets[0])
        ],
        local_only=not settings.sandbox_public,
    )


def _following(box: Sandbox) -> Clock:
    """A clock that goes with the sandbox's, so that moving that one on lets holds run out too."""
    return Clock(lambda: timedelta(seconds=box.ahead()))


def _mount(app: Flask, box: Sandbox) -> None:
    box.start()
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/sandbox": box.wsgi})  # type: ignore[method-assign]
    app.extensions["tmt.sandbox"] = box


def _count_call(operation: str, outcome: str) -> None:
    metrics.stripe_calls.labels(operation, outcome).inc()
