"""The operator's commands: `flask reconcile`, `flask audit`, `flask inbox`, `flask outbox`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import click
from flask.cli import AppGroup, with_appcontext

from tmt import web
from tmt.core import outbox
from tmt.core.clock import parse_timespan
from tmt.core.errors import DomainError
from tmt.gateway import inbox
from tmt.gateway.errors import GatewayError
from tmt.operations import audit
from tmt.operations.reconcile import reconcile
from tmt.payments.alerts import open_alerts
from tmt.payments.refusals import is_lasting
from tmt.shop import Shop

T = TypeVar("T")


@click.command("reconcile")
@click.option("--since", help="For example 30d, 12h or 2026-11-30; by default, the last run.")
@with_appcontext
def reconcile_command(since: str | None) -> None:
    """Checks everything that is open with Stripe, and fetches events that never arrived."""
    shop = web.shop()
    start = None if since is None else _parse_since(since, shop.clock.now())
    report = reconcile(shop, web.gateway(), start)
    for job in ("inbox", "outbox"):
        shop.jobs.run(job)
    click.echo(
        f"{report.checked} open at Stripe, {report.synced} payments synced, "
        f"{report.recorded} refunds and disputes recorded, {report.events} events found"
    )
    if report.unknown:
        click.echo(f"{report.unknown} payments at Stripe belong to no order: flask alerts list")
    for text in report.failed:
        click.echo(f"failed: {text}", err=True)
    if not report.complete:
        text = "not complete: Stripe does not respond, or refuses; run it again, or flask doctor"
        click.echo(text, err=True)
    if report.failed or not report.complete:
        sys.exit(1)


@click.command("audit")
@click.option("--repair", is_flag=True, help="Repair what is safe to repair, then check again.")
@click.option(
    "--refund-unknown",
    is_flag=True,
    help="With --repair: refund payments of this shop at Stripe that no order has.",
)
@click.option("--offline", is_flag=True, help="Check the database only.")
@with_appcontext
def audit_command(repair: bool, refund_unknown: bool, offline: bool) -> None:
    """Checks orders, money, tickets and stock against each other and against Stripe.

    Prints each breach with what would fix it. Exit code 0: sound; 1: there are breaches; 2: Stripe
    could not be reached.
    """
    if refund_unknown and (offline or not repair):
        raise click.ClickException("--refund-unknown takes --repair, and no --offline")
    shop, failed = web.shop(), []
    breaches = _print_breaches(shop, offline)
    if repair and any(breach.repair for breach in breaches):
        failed = audit.repair(shop, web.gateway(), breaches, refund_unknown=refund_unknown)
        click.echo("\nRepaired what is safe to repair. What is left:\n")
        breaches = _print_breaches(shop, offline)
    for text in failed:
        click.echo(f"could not be repaired: {text}", err=True)
    with shop.db.reading() as session:
        waiting = len(open_alerts(session))
    if waiting:
        click.echo(f"{waiting} open alerts: flask alerts list")
    click.echo(f"{len(breaches)} breaches" if breaches else "sound")
    sys.exit(1 if breaches else 0)


def _parse_since(text: str, now: datetime) -> datetime:
    """The moment so long before now ("30d", "12h"), or the beginning of a day (UTC)."""
    try:
        return now - parse_timespan(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise click.ClickException(
            f"'{text[:40]}' is not a time, for example 30d, 12h or 2026-11-30"
        ) from None


class _StripeNotReached(click.ClickException):
    exit_code = 2


def _print_breaches(shop: Shop, offline: bool) -> list[audit.Breach]:
    """Runs the audit; each breach is printed as soon as it is found."""
    breaches = []
    try:
        for breach in audit.audit(shop, None if offline else web.gateway()):
            click.echo(f"{breach.invariant}  {breach.subject}: {breach.problem}")
            click.echo(f"    to fix: {breach.how_to_fix}")
            breaches.append(breach)
    except GatewayError as error:
        what = "refuses" if is_lasting(error) else "could not be reached"
        raise _StripeNotReached(f"Stripe {what}: {error.name}: {error}") from None
    return breaches


inbox_commands = AppGroup("inbox", help="Stripe's events, as they were received.")
outbox_commands = AppGroup("outbox", help="Mails and refunds to send.")


@inbox_commands.command("list")
@click.option("--limit", default=50, show_default=True)
@click.option("--open", "only_open", is_flag=True, help="Only what is not done yet.")
def inbox_list(limit: int, only_open: bool) -> None:
    """The newest events, one a line."""
    with web.shop().db.reading() as session:
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
    """One event, with the stored fields of its object and its last error."""
    with web.shop().db.reading() as session:
        try:
            row = inbox.find(session, event_id)
        except DomainError as error:
            raise click.ClickException(str(error)) from None
    fields = {
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
    click.echo(json.dumps(fields, indent=2))


@inbox_commands.command("replay")
@click.argument("event_ids", nargs=-1, required=True)
def inbox_replay(event_ids: tuple[str, ...]) -> None:
    """Handles events again; what an event has done is not done twice."""
    shop = web.shop()
    _for_each(event_ids, partial(inbox.replay, shop))
    shop.jobs.run("inbox")
    for event_id in event_ids:
        with shop.db.reading() as session:
            row = inbox.find(session, event_id)
        click.echo(f"{event_id}  {row.outcome or row.state}  {row.last_error or ''}".rstrip())


@outbox_commands.command("list")
@click.option("--limit", default=50, show_default=True)
@click.option("--open", "only_open", is_flag=True, help="Only what is not done yet.")
def outbox_list(limit: int, only_open: bool) -> None:
    """The newest rows, one a line, with their last error."""
    with web.shop().db.reading() as session:
        rows = outbox.newest(session, limit, only_open)
    for row in rows:
        click.echo(
            f"{row.id:>6}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.state:<8} {row.attempts:>3}"
            f"  {row.kind:<14} {row.last_error or ''}".rstrip()
        )
    if not rows:
        click.echo("no rows")


@inbox_commands.command("discard")
@click.argument("event_ids", nargs=-1, required=True)
def inbox_discard(event_ids: tuple[str, ...]) -> None:
    """Gives events up that could not be handled."""
    _for_each(event_ids, partial(inbox.discard, web.shop()))


@outbox_commands.command("discard")
@click.argument("row_ids", nargs=-1, required=True, type=int)
def outbox_discard(row_ids: tuple[int, ...]) -> None:
    """Gives rows up that failed, such as a mail to an address that does not exist."""
    shop = web.shop()
    _for_each(row_ids, partial(outbox.discard, shop.db, shop.clock))


@outbox_commands.command("retry")
@click.argument("row_ids", nargs=-1, required=True, type=int)
def outbox_retry(row_ids: tuple[int, ...]) -> None:
    """Tries rows again now, also those that are parked."""
    shop = web.shop()
    _for_each(row_ids, partial(outbox.retry, shop.db, shop.clock))
    shop.jobs.run("outbox")


def _for_each(ids: Iterable[T], act: Callable[[T], None]) -> None:
    """Does it for each id, up to one of which the shop says that it cannot be done."""
    for one in ids:
        try:
            act(one)
        except DomainError as error:
            raise click.ClickException(str(error)) from None
