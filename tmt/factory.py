"""create_app: puts the shop together. The only place that knows everyone.

`load_app` and `check_start` are for `app.py`: they end the process with one sentence when the shop
cannot start.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tmt import cli, web
from tmt.api import views as api
from tmt.billing import views as billing
from tmt.billing.benefits import benefits_for
from tmt.billing.joining import send_end
from tmt.billing.memberships import move_memberships
from tmt.billing.plans import send_plan
from tmt.billing.webhook_handlers import HANDLERS
from tmt.catalog.views import catalog
from tmt.checkout import views as checkout
from tmt.checkout.orders import move_orders
from tmt.config import InvalidSettings, Settings
from tmt.core import log, metrics, outbox
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.database_problems import problem_at_start
from tmt.core.job_runs import Run
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
from tmt.core.queued_rows import Drain
from tmt.customers import views as customers
from tmt.customers.email_change import send_email_change
from tmt.customers.sign_in import send_sign_in
from tmt.environment import ROOT, load_settings, renamed_settings, unknown_settings
from tmt.gateway import inbox
from tmt.gateway.errors import GatewayError
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.views import webhook
from tmt.operations import health
from tmt.operations.own_database import learn_account, own_database, start_notes
from tmt.operations.privacy import purge
from tmt.operations.reconcile import reconcile
from tmt.payments import alerts, card_testing, event_changes, mails, refusals
from tmt.payments.confirm_email import send_confirm_email
from tmt.payments.declines import send_payment_declined
from tmt.payments.expiry import end_overdue_holds, has_overdue_holds
from tmt.payments.refunds import send_refund
from tmt.payments.views import payments
from tmt.shop import Shop
from tmt.tickets.mails import send_confirmation, send_found_orders
from tmt.tickets.views import account, tickets

if TYPE_CHECKING:
    from tmt.sandbox import Sandbox

logger = structlog.get_logger(__name__)

_GUNICORN_APP_LOAD_ERROR = 4
_RECONCILE_MINUTES, _PURGE_MINUTES = 5, 60


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
        gateway = Gateway(settings, _ignore_call)
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
    # Whatever this process writes, its owner alone may read.
    os.umask(0o077)
    settings = load_settings(overrides, flask_run=command.address)
    _close_to_others(settings.instance)
    _begin_log(settings, is_interactive=command.is_interactive)
    if settings.metrics_folder:
        Path(settings.metrics_folder).mkdir(parents=True, exist_ok=True)
    own = own_database(settings, Gateway(settings, _ignore_call).account)
    settings = settings.model_copy(update={"database_url": own.url})
    # Other commands, such as `flask jobs`, call the sandbox of the process that serves.
    mounts = settings.sandbox and (command.serves or not command.address)
    sandbox = _open_sandbox(settings) if mounts else None
    db = Database(own.url, own.account)
    # Follows the sandbox's clock, so that moving that one on also ends holds.
    clock = Clock(lambda: timedelta(seconds=sandbox.ahead())) if sandbox else Clock()
    shop = Shop(settings, db, clock, Jobs(settings.jobs_url, settings.instance, db, clock))
    learn_account(shop, None)
    # Sockets to a database must not be shared with processes that are forked later.
    shop.db.close()
    noted = partial(_note_stripe_call, shop)
    # Jobs have no page that waits behind them, and must not be kept out by pages.
    job_gateway = Gateway(settings, noted)
    page_gateway = Gateway(settings, noted, most_waiting=settings.stripe_calls)
    transport = _mail_transport(settings)
    limits = Limits(settings.limits_url, settings.instance)
    shop.jobs.define(
        _jobs(shop, job_gateway, transport, limits),
        groups={"outbox": tuple(outbox.lanes())},
        on_start=partial(health.begin_heartbeats, shop),
        on_stop=partial(health.end_heartbeats, shop),
    )

    app = Flask("tmt", root_path=str(ROOT), static_folder="static", template_folder="templates")
    web.init_app(app, web.AppState(shop, page_gateway, transport, limits))
    for blueprint in (catalog, payments, tickets, account, webhook, health.health):
        app.register_blueprint(blueprint)
    checkout.init_app(app, benefits_for)
    billing.init_app(app)
    customers.init_app(app, _move_owned)
    api.init_app(app)
    cli.init_app(app, shop)
    if sandbox:
        sandbox.start()
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/sandbox": sandbox.wsgi})  # type: ignore[method-assign]
        app.extensions["tmt.sandbox"] = sandbox
    web.mount(app, settings)
    if command.serves:
        sandbox_api = _listen(sandbox, settings) if sandbox else ""
        cli.begin_serving(app, shop, command.address, own.note, sandbox_api)
    return app


def _move_owned(session: Session, from_id: int, to_id: int) -> None:
    """Makes what one customer has another's, who is the same person."""
    move_orders(session, from_id, to_id)
    move_memberships(session, from_id, to_id)


def _begin_log(settings: Settings, *, is_interactive: bool) -> None:
    """Sets the log up; its first lines are about settings whose names are wrong."""
    format_is_set = "log_format" in settings.model_fields_set
    readable = is_interactive and not format_is_set
    log.configure("readable" if readable else settings.log_format, settings.log_level)
    for sentence in renamed_settings():
        logger.warning("settings.renamed", text=sentence)
    for sentence in unknown_settings():
        logger.warning("settings.unknown", text=sentence)


def _close_to_others(folder: Path) -> None:
    """Takes the rights of other users off a folder that an earlier version made."""
    with suppress(OSError):
        mode = folder.stat().st_mode & 0o777
        if mode & 0o007:
            folder.chmod(mode & 0o770)


def _jobs(shop: Shop, gateway: Gateway, transport: Transport, limits: Limits) -> dict[str, Job]:
    """What the jobs do, by name. Those that need Stripe, the mail server or neither are apart, so
    that none waits for what another one is waiting for."""
    mailer = Mailer(
        transport, shop.settings.base_url, shop.settings.shop_name, shop.settings.seller
    )

    def mail_handlers(run: Run) -> dict[str, outbox.Handler]:
        run_mailer = mailer.for_run(run)
        return {
            "confirmation": partial(send_confirmation, shop, run_mailer),
            "tickets_again": partial(send_confirmation, shop, run_mailer),
            "confirm_email": partial(send_confirm_email, shop, run_mailer),
            "find_orders": partial(send_found_orders, shop, run_mailer),
            "sign_in": partial(send_sign_in, shop, run_mailer),
            "email_change": partial(send_email_change, shop, run_mailer),
            "refunded_late": partial(mails.send_refunded_late, shop, run_mailer),
            "refunded": partial(mails.send_refunded, shop, run_mailer),
            "payment_processing": partial(mails.send_payment_processing, shop, run_mailer),
            "payment_slip": partial(mails.send_payment_slip, shop, run_mailer),
            "payment_failed": partial(mails.send_payment_failed, shop, run_mailer),
            "payment_declined": partial(send_payment_declined, shop, run_mailer),
            "operator_alert": partial(alerts.send_alert, shop, run_mailer),
            "event_mail": partial(event_changes.send_event_mail, shop, run_mailer),
        }

    on_parked = partial(alerts.raise_parked, shop)

    def refund_handlers(run: Run) -> dict[str, outbox.Handler]:
        run_gateway = gateway.for_run(run)
        return {
            "refund": partial(send_refund, shop, run_gateway),
            "event_change": partial(event_changes.queue_orders, shop),
            "event_order": partial(event_changes.cancel_order, shop, run_gateway),
            "plan": partial(send_plan, shop, run_gateway),
            "end_membership": partial(send_end, shop, run_gateway),
        }

    def outbox_job(lane: str, handlers: Callable[[Run], dict[str, outbox.Handler]]) -> Job:
        condition = outbox.lanes()[lane]

        def work(run: Run) -> int:
            drain = outbox.drain(shop.db, shop.clock, handlers(run), condition, on_parked)
            return drain.run(run)

        is_due = outbox.drain(shop.db, shop.clock, {}, condition).is_due
        return Job(work, is_due=is_due, needs_party=True)

    def inbox_drain(run: Run) -> Drain[inbox.InboxRow]:
        return inbox.drain(shop, gateway.for_run(run), HANDLERS, on_parked)

    return {
        # First, as the others handle what it finds.
        "reconcile": Job(
            lambda run: reconcile(shop, gateway.for_run(run, patience=3)),
            minutes=_RECONCILE_MINUTES,
            needs_party=True,
        ),
        "inbox": Job(lambda run: inbox_drain(run).run(run), is_due=inbox_drain(Run()).is_due),
        "refunds": outbox_job("refunds", refund_handlers),
        "alerts": outbox_job("alerts", mail_handlers),
        "mails": outbox_job("mails", mail_handlers),
        "holds": Job(
            lambda run: end_overdue_holds(shop, gateway.for_run(run, patience=2)),
            is_due=partial(has_overdue_holds, shop),
        ),
        "purge": Job(lambda _run: purge(shop, limits), minutes=_PURGE_MINUTES),
        "decline_check": Job(lambda _run: card_testing.check_decline_rate(shop)),
        "heartbeat": Job(lambda _run: health.record_heartbeat(shop), in_each_process=True),
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
            timeout=settings.mail_timeout,
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


def _ignore_call(_operation: str, _error: GatewayError | None) -> None:
    """For the call that finds the database, without which nothing can be noted."""


def _listen(sandbox: Sandbox, settings: Settings) -> str:
    """Serves the sandbox's API on a port of its own too, to this machine alone."""
    from tmt.sandbox.server import listen

    return listen(sandbox, any_key=not settings.sandbox_public)


def _note_stripe_call(shop: Shop, operation: str, error: GatewayError | None) -> None:
    metrics.stripe_calls.labels(operation, error.name if error else "ok").inc()
    refusals.observe(shop, operation, error)
