"""The commands, and what `flask run` does before the first request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup, with_appcontext
from werkzeug.serving import is_running_from_reloader

from tmt.catalog.commands import catalog_commands
from tmt.catalog.exchange import seed_demo
from tmt.cli_sandbox import sandbox_command
from tmt.core import log, outbox, schema
from tmt.core.errors import Refusal
from tmt.doctor.commands import doctor_command, stripe_commands
from tmt.gateway import inbox
from tmt.payments.commands import (
    audit_command,
    notices_commands,
    reconcile_command,
    refund_command,
)
from tmt.shop import Shop
from tmt.web import shop as current_shop

T = TypeVar("T")

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
    `serves` is true in the process that is about to serve; `watched` where a person reads the
    log, which is everywhere but in `flask jobs`, a server's companion.
    """

    address: str = ""
    serves: bool = False
    watched: bool = False


def running_command() -> RunningCommand:
    """Looks at the command line's context for how the application was started."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return RunningCommand()
    if context.info_name != "run":
        return RunningCommand("http://127.0.0.1:5000", watched=context.info_name != "jobs")
    host, port = context.params["host"], context.params["port"]
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared only
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    reloads = context.params.get("reload")
    if reloads is None:
        reloads = bool(context.find_root().params.get("debug"))
    return RunningCommand(address, not reloads or is_running_from_reloader(), watched=True)


def begin_serving(shop: Shop) -> None:
    """Under `flask run`: a database to sell from, the jobs beside the server, a word on both."""
    schema.migrate(shop.db)
    if shop.settings.sandbox:
        seed_demo(shop.db, shop.clock.now())
    shop.jobs.start_thread()
    click.echo(_greeting(shop))


def init_app(app: Flask) -> None:
    """Registers the commands."""
    for group in (catalog_commands, inbox_commands, outbox_commands, db_commands):
        app.cli.add_command(group)
    app.cli.add_command(notices_commands)
    app.cli.add_command(refund_command)
    app.cli.add_command(reconcile_command)
    app.cli.add_command(audit_command)
    app.cli.add_command(doctor_command)
    app.cli.add_command(stripe_commands)
    app.cli.add_command(jobs_command)
    app.cli.add_command(sandbox_command)


inbox_commands = AppGroup("inbox", help="The events that Stripe has sent.")
outbox_commands = AppGroup("outbox", help="Emails and refunds that are to go out.")
db_commands = AppGroup("db", help="The database's schema.")


@inbox_commands.command("list")
@click.option("--limit", default=50, show_default=True)
@click.option("--open", "only_open", is_flag=True, help="Only those that are not done yet.")
def inbox_list(limit: int, only_open: bool) -> None:
    """The newest events, one per line."""
    with current_shop().db.reading() as session:
        rows = inbox.newest(session, limit, only_open)
    for row in rows:
        state = row.outcome or row.state
        click.echo(
            f"{row.created_at:%Y-%m-%d %H:%M:%S}  {state:<10} {row.attempts:>3}"
            f"  {row.type:<40} {row.object_id:<32} {row.event_id}"
        )
    if not rows:
        click.echo("no events")


@inbox_commands.command("show")
@click.argument("event_id")
def inbox_show(event_id: str) -> None:
    """One event, with its stored object and its last error."""
    with current_shop().db.reading() as session:
        row = _or_fail(lambda: inbox.find(session, event_id))
    told = {
        "event": row.event_id,
        "type": row.type,
        "api_version": row.api_version,
        "livemode": row.livemode,
        "created": row.stripe_created.isoformat(),
        "received": row.created_at.isoformat(),
        "state": row.state,
        "outcome": row.outcome,
        "attempts": row.attempts,
        "next_attempt": None if row.done_at else row.due_at.isoformat(),
        "last_error": row.last_error,
        "object": row.object,
    }
    click.echo(json.dumps(told, indent=2))


@inbox_commands.command("replay")
@click.argument("event_ids", nargs=-1, required=True)
def inbox_replay(event_ids: tuple[str, ...]) -> None:
    """Processes events again; nothing happens twice."""
    shop = current_shop()
    for event_id in event_ids:
        _or_fail(partial(inbox.replay, shop, event_id))
    shop.jobs.run("inbox")
    for event_id in event_ids:
        with shop.db.reading() as session:
            row = inbox.find(session, event_id)
        click.echo(f"{event_id}  {row.outcome or row.state}  {row.last_error or ''}".rstrip())


@outbox_commands.command("list")
@click.option("--limit", default=50, show_default=True)
@click.option("--open", "only_open", is_flag=True, help="Only those that are not done yet.")
def outbox_list(limit: int, only_open: bool) -> None:
    """The newest rows, one per line, with their last error."""
    with current_shop().db.reading() as session:
        rows = outbox.newest(session, limit, only_open)
    for row in rows:
        click.echo(
            f"{row.id:>6}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.state:<8} {row.attempts:>3}"
            f"  {row.kind:<14} {row.last_error or ''}".rstrip()
        )
    if not rows:
        click.echo("nothing")


@outbox_commands.command("retry")
@click.argument("row_ids", nargs=-1, required=True, type=int)
def outbox_retry(row_ids: tuple[int, ...]) -> None:
    """Tries rows again now, also those that were given up."""
    shop = current_shop()
    for row_id in row_ids:
        _or_fail(partial(outbox.retry, shop.db, shop.clock, row_id))
    shop.jobs.run("outbox")


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
    # A server's companion, whose log is collected: it was not known yet when the shop was made.
    log.configure(settings.log_format, settings.log_level)
    current_shop().jobs.run_forever(workers)


def _or_fail(call: Callable[[], T]) -> T:
    try:
        return call()
    except Refusal as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _greeting(shop: Shop) -> str:
    settings = shop.settings
    lines = ["", f"  {settings.shop_name} is open at {settings.base_url}", ""]
    if settings.mode != "sandbox":
        lines.append(f"  Mode: {settings.mode}, on the Stripe account of STRIPE_SECRET_KEY.")
        return "\n".join([*lines, ""])
    lines += [
        "  Mode: sandbox. No Stripe key is set, so a local stand-in answers for Stripe.",
        f"  Sandbox dashboard: {settings.stripe_api_base}/",
        f"  Emails are written to {settings.mail_folder}",
        "",
        "  Test cards, with any future expiration date and any three-digit code:",
        *(f"    {number}  {what}" for number, what in _CARDS),
        "",
    ]
    return "\n".join(lines)
