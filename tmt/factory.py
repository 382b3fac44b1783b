"""create_app: puts the shop together. The only place that knows everyone.

`load_app` and `check_start` are for `app.py`: they end the process with one sentence when the shop
cannot start.
"""

from __future__ import annotations

import sqlite3
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tmt import cli, web
from tmt.api import views as api
from tmt.api.idempotency_keys import purge_expired_keys
from tmt.catalog.views import catalog
from tmt.checkout.views import checkout
from tmt.config import (
    ROOT,
    InvalidSettings,
    Settings,
    load_settings,
    renamed_settings,
    unknown_settings,
)
from tmt.core import log, metrics, outbox
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.database_problems import problem_at_start
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
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.views import webhook
from tmt.operations import health
from tmt.operations.own_database import learn_account, own_database, start_notes
from tmt.operations.reconcile import reconcile
from tmt.payments import alerts, card_testing, mails, webhook_handlers
from tmt.payments.expiry import end_overdue_holds
from tmt.payments.refunds import send_refund
from tmt.payments.views import payments
from tmt.shop import Shop
from tmt.tickets.mails import send_confirmation, send_found_orders
from tmt.tickets.views import tickets

if TYPE_CHECKING:
    from tmt.sandbox import Sandbox

logger = structlog.get_logger(__name__)

_MAIL_TIMEOUT = 20.0
_GUNICORN_APP_LOAD_ERROR = 4
_RECONCILE_MINUTES = 5


def load_app() -> Flask:
    """The application for `app.py`; ends the process with a sentence when it cannot start."""
    try:
        return create_app()
    except click.ClickException as error:
        # Not raised again: Flask would print a traceback, or that there is no such command.
        sys.stderr.write(f"Error: {error.message}\n")
        # Gunicorn starts a worker that ends with another code again, for ever.
        sys.exit(_GUNICORN_APP_LOAD_ERROR if "gunicorn.arbiter" in sys.modules else 1)


def check_start() -> None:
    """Ends the process with 1 and a sentence when a server could not start; else says what it saw.

    For `python app.py`, which `gunicorn.conf.py` runs first.
    """
    try:
        settings = load_settings()
        gateway = Gateway(settings, lambda _operation, _outcome: None)
        own = own_database(settings, gateway.account)
        db = Database(own.url, own.account)
        if problem := problem_at_start(db):
            raise click.ClickException(problem)
    except click.ClickException as error:
        sys.exit(f"Error: {error.message}")
    shop = Shop(settings, db, Clock(), Jobs(settings.jobs_url, settings.instance))
    learn_account(shop, gateway.account)
    notes = [note for note in (own.note, *unknown_settings(), *start_notes(shop)) if note]
    lines = [f"Database: {db.label} ({db.account.rstrip(':')})", *(f"Note: {n}" for n in notes)]
    sys.stderr.write("\n".join(lines) + "\n")


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """The application; `overrides` are settings by field name, which win over the environment.

    Opens the database lazily. Only under `flask run` does it migrate, seed and start threads.
    Raises `InvalidSettings`, or another `click.ClickException` with a sentence for the operator.
    """
    command = cli.running_command()
    settings = load_settings(overrides, flask_run=command.address)
    format_is_set = "log_format" in settings.model_fields_set
    log_format = settings.log_format
    if command.is_interactive and not format_is_set:
        log_format = "readable"
    log.configure(log_format, settings.log_level)
    for sentence in renamed_settings():
        logger.warning("settings.renamed", text=sentence)
    for sentence in unknown_settings():
        logger.warning("settings.unknown", text=sentence)
    if settings.metrics_folder:
        Path(settings.metrics_folder).mkdir(parents=True, exist_ok=True)
    gateway = Gateway(settings, _count_stripe_call)
    own = own_database(settings, gateway.account)
    settings = settings.model_copy(update={"database_url": own.url})
    # Other commands, such as `flask jobs`, call the sandbox of the process that serves.
    mounts = settings.sandbox and (command.serves or not command.address)
    sandbox = _open_sandbox(settings) if mounts else None
    shop = Shop(
        settings,
        Database(own.url, own.account),
        # Follows the sandbox's clock, so that moving that one on also ends holds.
        Clock(lambda: timedelta(seconds=sandbox.ahead())) if sandbox else Clock(),
        Jobs(settings.jobs_url, settings.instance),
    )
    learn_account(shop, None)
    # Sockets to a database must not be shared with processes that are forked later.
    shop.db.close()
    transport = _mail_transport(settings)
    shop.jobs.define(_jobs(shop, gateway, transport), minutes={"reconcile": _RECONCILE_MINUTES})

    app = Flask("tmt", root_path=str(ROOT), static_folder="static", template_folder="templates")
    limits = Limits(settings.limits_url, settings.instance)
    web.init_app(app, web.AppState(shop, gateway, transport, limits))
    for blueprint in (catalog, checkout, payments, tickets, webhook, health.health):
        app.register_blueprint(blueprint)
    api.init_app(app)
    cli.init_app(app, shop)
    if sandbox:
        sandbox.start()
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/sandbox": sandbox.wsgi})  # type: ignore[method-assign]
        app.extensions["tmt.sandbox"] = sandbox
    if command.serves:
        cli.begin_serving(app, shop, command.address, own.note)
    return app


def _jobs(shop: Shop, gateway: Gateway, transport: Transport) -> dict[str, Job]:
    """What the jobs do, by name."""
    mailer = Mailer(transport, shop.settings.base_url, shop.settings.shop_name)
    outbox_handlers: dict[str, outbox.Handler] = {
        "confirmation": partial(send_confirmation, shop, mailer),
        "find_orders": partial(send_found_orders, shop, mailer),
        "refunded_late": partial(mails.send_refunded_late, shop, mailer),
        "refunded": partial(mails.send_refunded, shop, mailer),
        "payment_processing": partial(mails.send_payment_processing, shop, mailer),
        "payment_failed": partial(mails.send_payment_failed, shop, mailer),
        "operator_alert": partial(alerts.send_alert, shop, mailer),
        "refund": partial(send_refund, shop, gateway),
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
            use_tls=settings.mail_use_tls and not settings.mail_uses_ssl,
            use_ssl=settings.mail_uses_ssl,
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

    store = settings.instance / "sandbox.sqlite"
    webhook = Endpoint(f"{settings.base_url}/stripe_webhook", settings.stripe_webhook_secrets[0])
    try:
        return Sandbox(
            store=str(store),
            secret_key=settings.stripe_secret_key,
            publishable_key=settings.stripe_publishable_key,
            endpoints=[webhook],
            local_only=not settings.sandbox_public,
        )
    except sqlite3.Error as error:
        raise InvalidSettings(
            f"{store} cannot be used ({error}). TMT_INSTANCE must be a folder that this user may"
            " write to and that has free space."
        ) from None


def _count_stripe_call(operation: str, outcome: str) -> None:
    metrics.stripe_calls.labels(operation, outcome).inc()
