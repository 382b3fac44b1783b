"""create_app: puts the shop together. The only place that knows everyone."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tmt import cli, web
from tmt.api import views as api
from tmt.api.idempotency_keys import purge_expired_keys
from tmt.catalog.views import catalog
from tmt.checkout.views import checkout
from tmt.config import Settings, load_settings, renamed_settings
from tmt.core import log, metrics, outbox
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.jobs import Job, Jobs
from tmt.core.limits import Limits
from tmt.core.mail_transport import (
    FolderTransport,
    MailUnavailable,
    Message,
    SmtpTransport,
    Transport,
)
from tmt.core.mailer import Mailer
from tmt.gateway import inbox
from tmt.gateway.errors import GatewayError
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.views import webhook
from tmt.operations import health
from tmt.operations.reconcile import reconcile
from tmt.payments import alerts, card_testing, event_changes, mails, refusals, webhook_handlers
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.refunds import send_refund
from tmt.payments.views import payments
from tmt.shop import Shop
from tmt.tickets.mails import send_confirmation, send_found_orders
from tmt.tickets.views import tickets

if TYPE_CHECKING:
    from tmt.sandbox import Sandbox

logger = structlog.get_logger(__name__)

ROOT = Path(__file__).parent.parent
_MAIL_TIMEOUT = 20.0
_RECONCILE_MINUTES = 5


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """The application; `overrides` are settings by field name, which win over the environment.

    Opens the database lazily. Only under `flask run` does it migrate, seed and start threads.
    Raises `InvalidSettings`.
    """
    command = cli.running_command()
    # Whatever this process writes, its owner alone may read.
    os.umask(0o077)
    settings = load_settings(overrides, flask_run=command.address)
    _close_to_others(settings.instance)
    format_is_set = "log_format" in settings.model_fields_set
    log_format = settings.log_format
    if command.is_interactive and not format_is_set:
        log_format = "readable"
    log.configure(log_format, settings.log_level)
    for sentence in renamed_settings():
        logger.warning("settings.renamed", text=sentence)
    if settings.metrics_folder:
        Path(settings.metrics_folder).mkdir(parents=True, exist_ok=True)
    # Other commands, such as `flask jobs`, call the sandbox of the process that serves.
    mounts = settings.sandbox and (command.serves or not command.address)
    sandbox = _open_sandbox(settings) if mounts else None
    shop = Shop(
        settings,
        Database(settings.database_url),
        # Follows the sandbox's clock, so that moving that one on also ends holds.
        Clock(lambda: timedelta(seconds=sandbox.ahead())) if sandbox else Clock(),
        Jobs(settings.jobs_url, settings.instance),
    )
    noted = partial(_note_stripe_call, shop)
    # Jobs have no page that waits behind them, and must not be kept out by pages.
    job_gateway = Gateway(settings, noted)
    page_gateway = Gateway(settings, noted, most_waiting=settings.stripe_calls)
    transport = _mail_transport(settings)
    shop.jobs.define(_jobs(shop, job_gateway, transport), minutes={"reconcile": _RECONCILE_MINUTES})

    app = Flask("tmt", root_path=str(ROOT), static_folder="static", template_folder="templates")
    limits = Limits(settings.limits_url, settings.instance)
    web.init_app(app, web.AppState(shop, page_gateway, transport, limits))
    for blueprint in (catalog, checkout, payments, tickets, webhook, health.health):
        app.register_blueprint(blueprint)
    api.init_app(app)
    cli.init_app(app)
    if sandbox:
        sandbox.start()
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/sandbox": sandbox.wsgi})  # type: ignore[method-assign]
        app.extensions["tmt.sandbox"] = sandbox
    if command.serves:
        cli.begin_serving(shop, _listen(sandbox, settings) if sandbox else "")
    return app


def _close_to_others(folder: Path) -> None:
    """Takes the rights of other users off a folder that an earlier version made."""
    with suppress(OSError):
        mode = folder.stat().st_mode & 0o777
        if mode & 0o007:
            folder.chmod(mode & 0o770)


def _jobs(shop: Shop, gateway: Gateway, transport: Transport) -> dict[str, Job]:
    """What the jobs do, by name."""
    mailer = Mailer(
        transport, shop.settings.base_url, shop.settings.shop_name, shop.settings.seller
    )
    outbox_handlers: dict[str, outbox.Handler] = {
        "confirmation": partial(send_confirmation, shop, mailer),
        "tickets_again": partial(send_confirmation, shop, mailer),
        "find_orders": partial(send_found_orders, shop, mailer),
        "refunded_late": partial(mails.send_refunded_late, shop, mailer),
        "refunded": partial(mails.send_refunded, shop, mailer),
        "payment_processing": partial(mails.send_payment_processing, shop, mailer),
        "payment_slip": partial(mails.send_payment_slip, shop, mailer),
        "payment_failed": partial(mails.send_payment_failed, shop, mailer),
        "operator_alert": partial(alerts.send_alert, shop, mailer),
        "refund": partial(send_refund, shop, gateway),
        "event_change": partial(event_changes.queue_orders, shop),
        "event_order": partial(event_changes.cancel_order, shop, gateway),
        "event_mail": partial(event_changes.send_event_mail, shop, mailer),
    }
    return {
        # First, as the others handle what it finds.
        "reconcile": partial(reconcile, shop, gateway),
        "inbox": partial(inbox.run_due, shop, gateway, webhook_handlers.HANDLERS),
        "outbox": partial(outbox.run_due, shop.db, shop.clock, outbox_handlers),
        "holds": partial(end_overdue_holds, shop, gateway),
        "purge": partial(purge_expired_keys, shop),
        "decline_check": partial(card_testing.check_decline_rate, shop),
        "heartbeat": partial(health.record_heartbeat, shop),
    }


def _mail_transport(settings: Settings) -> Transport:
    """SMTP where a mail server is set, a folder where nothing is real."""
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
    """Keeps live mails in the outbox until a mail server is set."""

    def send(self, message: Message) -> str | None:
        self.check()
        return None

    def check(self) -> None:
        """Raises `MailUnavailable`."""
        raise MailUnavailable("MAIL_SERVER is not set: mails wait in the outbox until it is")


def _open_sandbox(settings: Settings) -> Sandbox:
    # Imported only where it is used: it costs time at start and memory.
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


def _listen(sandbox: Sandbox, settings: Settings) -> str:
    """Serves the sandbox's API on a port of its own too, to this machine alone."""
    from tmt.sandbox.server import listen

    return listen(sandbox, any_key=not settings.sandbox_public)


def _note_stripe_call(shop: Shop, operation: str, error: GatewayError | None) -> None:
    metrics.stripe_calls.labels(operation, error.name if error else "ok").inc()
    refusals.observe(shop, operation, error)
