"""The commands, and what `flask run` does before the first request."""

from __future__ import annotations

import atexit
import copy
import functools
import http.client
import os
import secrets
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click
import structlog
from flask import Flask
from flask.cli import AppGroup, FlaskGroup, with_appcontext
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import is_running_from_reloader

from tmt.catalog.import_export import seed_demo
from tmt.checkout.commands import order_commands
from tmt.cli_sandbox import sandbox_command
from tmt.core import log, schema
from tmt.core.database_problems import explain
from tmt.core.errors import Unavailable
from tmt.customers.commands import customer_commands
from tmt.environment import LEFT_ADDRESS, leave_address, take_address_back
from tmt.operations.commands import (
    audit_command,
    inbox_commands,
    outbox_commands,
    reconcile_command,
)
from tmt.operations.doctor_commands import doctor_command, stripe_commands
from tmt.operations.own_database import learn_account, start_notes
from tmt.operations.privacy_commands import privacy_commands
from tmt.payments.commands import alerts_commands, notices_commands, refund_command
from tmt.payments.event_commands import catalog_commands, event_commands
from tmt.shop import Shop
from tmt.web import gateway as current_gateway
from tmt.web import shop as current_shop

logger = structlog.get_logger(__name__)

_CARDS = (
    ("4242 4242 4242 4242", "succeeds"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
    ("4000 0027 6000 3184", "asks for 3-D Secure"),
)


@dataclass(frozen=True)
class RunningCommand:
    """The flask command that this process runs, if it runs one.

    `address` is where `flask run` is about to serve, `LEFT_ADDRESS` in its other commands; empty
    outside the flask command.
    `serves` is true in the process that is about to serve; `is_interactive` where a person reads
    the log, which is everywhere but in `flask jobs`.
    """

    address: str = ""
    serves: bool = False
    is_interactive: bool = False


def running_command() -> RunningCommand:
    """Looks at the command line's context for how the application was started."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return RunningCommand()
    if context.info_name != "run":
        return RunningCommand(LEFT_ADDRESS, is_interactive=context.info_name != "jobs")
    host, port = context.params["host"], context.params["port"]
    if not port or host.startswith("unix:"):
        raise click.ClickException(
            "The shop must know its address before it starts: give flask run a --host and a --port."
        )
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared only
    scheme = "https" if context.params.get("cert") else "http"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    reloads = context.params.get("reload")
    if reloads is None:
        reloads = bool(context.find_root().params.get("debug"))
    return RunningCommand(address, not reloads or is_running_from_reloader(), is_interactive=True)


def begin_serving(app: Flask, shop: Shop, address: str, note: str, sandbox_api: str = "") -> None:
    """Under `flask run`: migrates, seeds a sandbox, starts the jobs.

    Once the server answers at `address`, it prints the greeting, with `note`, and leaves the
    address for other commands. `sandbox_api` is the address of the sandbox's own port, if there is
    one. Raises `click.ClickException`.
    """
    with _one_sentence(shop):
        schema.migrate(shop.db)
        if shop.settings.sandbox:
            seed_demo(shop.db, shop.clock.now())
        learn_account(shop, app.extensions["tmt"].gateway.account)
        shop.jobs.start_thread()

    def greet() -> None:
        with suppress(OSError):
            leave_address(shop.settings.instance, address)
            atexit.register(take_address_back, shop.settings.instance, address)
        click.echo(_greeting(shop, address, note, sandbox_api))

    _when_answering(app, address, greet)


def _when_answering(app: Flask, address: str, act: Callable[[], None]) -> None:
    """Has `act` run in a thread as soon as this very process answers requests at the address."""
    path, serve = f"/{secrets.token_hex(16)}", app.wsgi_app

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        # Another program at this port does not know the path.
        if environ.get("PATH_INFO") != path:
            return serve(environ, start_response)
        start_response("204 No Content", [])
        return []

    def wait() -> None:
        url = urlsplit(address)
        context = ssl._create_unverified_context() if url.scheme == "https" else None  # noqa: S323
        for _attempt in range(600):
            connection = (
                http.client.HTTPSConnection(str(url.hostname), url.port, timeout=2, context=context)
                if context
                else http.client.HTTPConnection(str(url.hostname), url.port, timeout=2)
            )
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", path)
                if connection.getresponse().status == http.HTTPStatus.NO_CONTENT:
                    app.wsgi_app = serve  # type: ignore[method-assign]
                    act()
                    return
            connection.close()
            time.sleep(0.1)

    app.wsgi_app = answer  # type: ignore[method-assign]
    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _one_sentence(shop: Shop) -> Iterator[None]:
    """Turns what the database or the disk refuse into a sentence for the operator."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise click.ClickException(explain(shop.db, error)) from None
    except Unavailable as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        _give_up_output()
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}") from None


def _give_up_output() -> None:
    """Drops what the standard output has not taken: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _guarded(command: click.Command, shop: Shop, *, names_database: bool) -> click.Command:
    """The command, which names the database that it uses and never ends with a traceback of it."""
    guarded = copy.copy(command)
    if isinstance(guarded, click.Group):
        guarded.commands = {
            name: _guarded(child, shop, names_database=names_database)
            for name, child in guarded.commands.items()
        }
    if guarded.callback is None:
        return guarded
    callback = guarded.callback

    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        # Not where a test runs the command: it would find the line in the output.
        if names_database and isinstance(context.find_root().command, FlaskGroup):
            click.echo(f"Database: {shop.db.label} ({shop.db.account.rstrip(':')})", err=True)
        with _one_sentence(shop):
            return callback(*args, **kwargs)

    guarded.callback = run
    return guarded


def init_app(app: Flask, shop: Shop | None = None) -> None:
    """Registers the commands; those of a shop name their database and end with one sentence."""
    for command in (
        catalog_commands,
        event_commands,
        inbox_commands,
        outbox_commands,
        db_commands,
        alerts_commands,
        notices_commands,
        order_commands,
        customer_commands,
        refund_command,
        reconcile_command,
        audit_command,
        doctor_command,
        stripe_commands,
        privacy_commands,
        jobs_command,
        sandbox_command,
    ):
        # The log of the jobs is collected, and the sandbox has no database of the shop's.
        named = command not in (jobs_command, sandbox_command)
        app.cli.add_command(_guarded(command, shop, names_database=named) if shop else command)


db_commands = AppGroup("db", help="The database's schema.")


@db_commands.command("upgrade")
def db_upgrade() -> None:
    """Upgrades the database to the newest schema; safe to run with every deployment."""
    shop = current_shop()
    schema.migrate(shop.db)
    learn_account(shop, current_gateway().account)
    click.echo(f"The database is at revision {schema.current_revision(shop.db)}.")


@db_commands.command("revision")
@click.argument("message")
def db_revision(message: str) -> None:
    """Writes a new migration from the changed models (for developers)."""
    schema.write_revision(current_shop().db, message)


@click.command("jobs")
@click.option("--workers", default=None, type=int, hidden=True)
@with_appcontext
def jobs_command(workers: int | None) -> None:
    """Runs the jobs: emails, Stripe's events, expiry. Start as many processes as you like."""
    if workers is not None:
        click.echo("--workers has no effect any more: each job has a thread of its own", err=True)
    shop = current_shop()
    # Its log is collected, as a server's: the factory did not know the command yet.
    log.configure(shop.settings.log_format, shop.settings.log_level)
    learn_account(shop, current_gateway().account)
    logger.info("jobs.started", database=shop.db.label, account=shop.db.account)
    shop.jobs.run_forever()


def _greeting(shop: Shop, address: str, note: str, sandbox_api: str) -> str:
    settings = shop.settings
    lines = ["", f"  {settings.shop_name} is open at {address}", ""]
    if settings.base_url != address:
        lines += [f"  Its public address is {settings.base_url}", ""]
    notes = [sentence for sentence in (note, *start_notes(shop)) if sentence]
    lines += [f"  Note: {sentence}" for sentence in notes] + [""] * bool(notes)
    lines.append(f"  Database: {shop.db.label}")
    if settings.mode != "sandbox":
        account = shop.db.account.partition(":")[2] or "of STRIPE_SECRET_KEY"
        lines.append(f"  Mode: {settings.mode}, on the Stripe account {account}.")
        return "\n".join([*lines, ""])
    lines += [
        "  Mode: sandbox. No Stripe key is set, so a local stand-in answers for Stripe.",
        f"  Sandbox dashboard: {settings.stripe_api_base}/",
        f"  The sandbox for other programs (Stripe's SDKs and CLI): {sandbox_api}",
        f"  Emails are written to {settings.mail_folder}",
        "",
        "  Test cards, with any future expiration date and any three-digit code:",
        *(f"    {number}  {what}" for number, what in _CARDS),
        "",
    ]
    return "\n".join(lines)
