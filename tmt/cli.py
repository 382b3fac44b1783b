"""The commands, and what `flask run` does before the first request."""

from __future__ import annotations

from dataclasses import dataclass

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup, with_appcontext
from werkzeug.serving import is_running_from_reloader

from tmt.catalog.import_export import seed_demo
from tmt.checkout.commands import order_commands
from tmt.cli_sandbox import sandbox_command
from tmt.core import log, schema
from tmt.operations.commands import (
    audit_command,
    inbox_commands,
    outbox_commands,
    reconcile_command,
)
from tmt.operations.doctor_commands import doctor_command, stripe_commands
from tmt.payments.commands import alerts_commands, notices_commands, refund_command
from tmt.payments.event_commands import catalog_commands, event_commands
from tmt.shop import Shop
from tmt.web import shop as current_shop

_CARDS = (
    ("4242 4242 4242 4242", "succeeds"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
    ("4000 0027 6000 3184", "asks for 3-D Secure"),
)


@dataclass(frozen=True)
class RunningCommand:
    """The flask command that this process runs, if it runs one.

    `address` is where `flask run` serves, or would by default; empty outside the flask command.
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
        return RunningCommand("http://127.0.0.1:5000", is_interactive=context.info_name != "jobs")
    host, port = context.params["host"], context.params["port"]
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared only
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    reloads = context.params.get("reload")
    if reloads is None:
        reloads = bool(context.find_root().params.get("debug"))
    return RunningCommand(address, not reloads or is_running_from_reloader(), is_interactive=True)


def begin_serving(shop: Shop, sandbox_api: str = "") -> None:
    """Under `flask run`: migrates, seeds a sandbox, starts the jobs and prints the greeting.

    `sandbox_api` is the address of the sandbox's own port, if there is one.
    """
    schema.migrate(shop.db)
    if shop.settings.sandbox:
        seed_demo(shop.db, shop.clock.now())
    shop.jobs.start_thread()
    click.echo(_greeting(shop, sandbox_api))


def init_app(app: Flask) -> None:
    """Registers the commands."""
    for command in (
        catalog_commands,
        event_commands,
        inbox_commands,
        outbox_commands,
        db_commands,
        alerts_commands,
        notices_commands,
        order_commands,
        refund_command,
        reconcile_command,
        audit_command,
        doctor_command,
        stripe_commands,
        jobs_command,
        sandbox_command,
    ):
        app.cli.add_command(command)


db_commands = AppGroup("db", help="The database's schema.")


@db_commands.command("upgrade")
def db_upgrade() -> None:
    """Upgrades the database to the newest schema; safe to run with every deployment."""
    shop = current_shop()
    schema.migrate(shop.db)
    click.echo(f"The database is at revision {schema.current_revision(shop.db)}.")


@db_commands.command("revision")
@click.argument("message")
def db_revision(message: str) -> None:
    """Writes a new migration from the changed models (for developers)."""
    schema.write_revision(current_shop().db, message)


@click.command("jobs")
@click.option("--workers", default=3, show_default=True, help="Threads that run jobs.")
@with_appcontext
def jobs_command(workers: int) -> None:
    """Runs the jobs: emails, Stripe's events, expiry. Start as many processes as you like."""
    settings = current_shop().settings
    # Its log is collected, as a server's: the factory did not know the command yet.
    log.configure(settings.log_format, settings.log_level)
    current_shop().jobs.run_forever(workers)


def _greeting(shop: Shop, sandbox_api: str) -> str:
    settings = shop.settings
    lines = ["", f"  {settings.shop_name} is open at {settings.base_url}", ""]
    if settings.mode != "sandbox":
        lines.append(f"  Mode: {settings.mode}, on the Stripe account of STRIPE_SECRET_KEY.")
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
