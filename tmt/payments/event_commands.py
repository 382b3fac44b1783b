"""The organiser's commands on events: `flask catalog` and `flask event`.

They are up here because a change of an event concerns its orders and their money.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt import web
from tmt.catalog.changes import Appointment, changes_of
from tmt.catalog.file_format import Catalogue, CatalogueError, read_catalogue
from tmt.catalog.import_export import ImportResult, export_catalogue, import_catalogue
from tmt.catalog.models import ChangeKind, Event, EventChange
from tmt.catalog.plans import Counts
from tmt.catalog.yaml_lines import MAX_BYTES
from tmt.checkout.models import OrderStatus
from tmt.core.errors import DomainError
from tmt.core.money import format_code
from tmt.payments import event_changes
from tmt.payments.commands import ask, date_text
from tmt.shop import Shop

# Each command of an AppGroup runs in an application context.
catalog_commands: click.Group = AppGroup(
    "catalog", help="Import events and plans from a YAML file, or export them to one."
)
event_commands: click.Group = AppGroup(
    "event", help="Cancel an event, and see how far its refunds and mails are."
)
_yes = click.option("--yes", is_flag=True, help="Do it without being asked.")


@catalog_commands.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check the file and show what it would do, only.")
@click.option("--no-mail", is_flag=True, help="Change events without a mail to their buyers.")
@_yes
def import_command(file: IO[bytes], dry_run: bool, no_mail: bool, yes: bool) -> None:
    """Create and update events and plans from the YAML file FILE ("-" is the standard input).

    An event or a plan is concerned by its slug. Either the whole file is imported or, on any error,
    nothing. Where it cancels or moves an event that people have tickets for, it shows what follows
    and asks.
    """
    shop = web.shop()
    now = shop.clock.now()
    try:
        catalogue = _read(file)
        events, planned = catalogue.events, catalogue.plans
        result = import_catalogue(shop.db, events, now, planned=planned, dry_run=True)
        with shop.db.reading() as session:
            lines = list(_change_lines(session, shop, result, with_mail=not no_mail))
        for line in lines:
            click.echo(line)
        if not dry_run:
            if lines and not yes:
                ask("Import the file and do this?")
            expected = result.changes
            result = import_catalogue(
                shop.db,
                events,
                now,
                planned=planned,
                with_mail=not no_mail,
                expected=expected,
            )
    except CatalogueError as error:
        raise click.ClickException(str(error)) from error
    counts = _counts_text(result)
    if planned:
        counts = f"events: {counts}; plans: {_counts_text(result.plans)}"
    click.echo(f"{counts} (dry run: nothing was imported)" if dry_run else counts)
    if (lines or planned) and not dry_run:
        shop.jobs.trigger("outbox")
    if lines and not dry_run:
        click.echo("The jobs do the rest: flask event status SLUG shows how far they are.")


@catalog_commands.command("export")
@click.argument(
    "file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-"
)
def export_command(file: Path) -> None:
    """Write all events and plans, drafts and past ones too, to FILE or to the standard output.

    FILE is replaced when all of it has been written; until then it is what it was.
    """
    with web.shop().db.reading() as session:
        text = export_catalogue(session)
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        _replace(file.resolve(), text)
    except OSError as error:
        raise click.ClickException(
            f"{file} could not be written ({error.strerror or error}); nothing was exported"
        ) from None


def _replace(file: Path, text: str) -> None:
    """Writes a file whole or not at all; what is no file, such as a pipe, takes the text as it is.

    Raises `OSError`.
    """
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return
    number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    draft = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as output:
            output.write(text)
            output.flush()
            os.fsync(number)
        if file.exists():
            draft.chmod(stat.S_IMODE(file.stat().st_mode))
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@event_commands.command("cancel")
@click.argument("slug")
@click.option("--message", default="", help="Your own words to the buyers, in the mail and pages.")
@_yes
def cancel_command(slug: str, message: str, yes: bool) -> None:
    """Cancel the event SLUG: refund every order in full and inform its buyers.

    Shows what will happen and asks. The jobs do it; run it again, or flask event status, to see how
    far they are.
    """
    shop = web.shop()
    with shop.db.reading() as session:
        event, changes = _find(session, slug)
        is_begun = any(change.kind == ChangeKind.CANCELED for change in changes)
        if not is_begun:
            click.echo(f"{event.title}, {_when_and_where(Appointment.of(event))}")
            if event.ends_at <= shop.clock.now():
                click.echo("  The event is over.")
            for line in _consequence_lines(session, shop, event.id, ChangeKind.CANCELED, True):
                click.echo(f"  {line}")
    if not is_begun and not yes:
        ask("Cancel the event and do this?")
    try:
        event_changes.cancel_event(shop, slug, message[:2000])
    except DomainError as error:
        raise click.ClickException(str(error)) from None
    _show_status(shop, slug)


@event_commands.command("status")
@click.argument("slug")
def status_command(slug: str) -> None:
    """Show the event SLUG: its orders and how far the work of a change is."""
    _show_status(web.shop(), slug)


def _show_status(shop: Shop, slug: str) -> None:
    with shop.db.reading() as session:
        event, changes = _find(session, slug)
        click.echo(f"{event.title} is {event.status}, {_when_and_where(Appointment.of(event))}")
        concerned = event_changes.consequences(session, shop, event.id)
        click.echo(f"  open orders: {_orders_text(concerned)}")
        for change in changes:
            click.echo(f"  {change.kind} on {date_text(change.created_at, event.time_zone)}")
            for line in _progress_lines(change, event_changes.progress(session, change)):
                click.echo(f"    {line}")


def _progress_lines(change: EventChange, now: event_changes.Progress) -> Iterator[str]:
    more = "" if now.all_queued else ", more to come"
    if change.kind == ChangeKind.CANCELED:
        yield f"orders: {now.handled} of {now.orders} done{more}, {now.waiting} waiting"
    else:
        yield f"orders: {now.orders}{more}"
    for (status, currency), (number, amount) in sorted(now.refunds.items()):
        yield f"refunds: {number} {status}, {format_code(amount, currency)}"
    yield f"mails: {now.mails_sent} sent, {now.mails_waiting} waiting"
    if now.parked:
        yield f"given up: {now.parked}; see flask outbox list"


def _change_lines(
    session: Session, shop: Shop, result: ImportResult, *, with_mail: bool
) -> Iterator[str]:
    """What each change of an import means, for whoever is asked."""
    for change in result.changes:
        if change.kind == ChangeKind.CANCELED:
            yield f"{change.slug}: canceled"
        else:
            yield f"{change.slug}: from {_when_and_where(change.before)}"
            yield f"{' ' * len(change.slug)}    to {_when_and_where(change.after)}"
        for line in _consequence_lines(session, shop, change.event_id, change.kind, with_mail):
            yield f"  {line}"


def _consequence_lines(
    session: Session, shop: Shop, event_id: int, kind: ChangeKind, with_mail: bool
) -> Iterator[str]:
    concerned = event_changes.consequences(session, shop, event_id)
    yield f"{_orders_text(concerned)}, {concerned.tickets} tickets"
    if kind == ChangeKind.CANCELED:
        for currency, amount in sorted(concerned.left.items()):
            yield f"{format_code(amount, currency)} are refunded"
        held, processing = (concerned.orders[s] for s in (OrderStatus.HELD, OrderStatus.PROCESSING))
        if held:
            yield f"{held} reservations end"
        if processing:
            yield f"{processing} payments on their way: refunded on arrival"
        if concerned.disputed:
            yield f"{concerned.disputed} disputed orders: refunded when their dispute is decided"
    yield f"{concerned.mails} mails" if with_mail else "no mails"
    if concerned.elsewhere:
        yield f"besides, {concerned.elsewhere} orders of other Stripe keys, which wait for those"


def _orders_text(concerned: event_changes.Consequences) -> str:
    counts = (f"{number} {status}" for status, number in sorted(concerned.orders.items()))
    return (
        f"{concerned.orders.total()} orders ({', '.join(counts)})"
        if concerned.orders
        else "0 orders"
    )


def _when_and_where(appointment: Appointment) -> str:
    when = date_text(appointment.starts_at, appointment.time_zone)
    places = (appointment.venue, appointment.address, appointment.city)
    place = ", ".join(part for part in places if part) or "online"
    return f"{when}, {place}"


def _find(session: Session, slug: str) -> tuple[Event, list[EventChange]]:
    event = session.scalar(select(Event).where(Event.slug == slug))
    if event is None:
        raise click.ClickException(f"no event '{slug[:80]}': flask catalog export lists them all")
    return event, list(changes_of(session, event.id))


def _counts_text(counts: ImportResult | Counts) -> str:
    return f"{counts.created} created, {counts.updated} updated, {counts.unchanged} unchanged"


def _read(file: IO[bytes]) -> Catalogue:
    # One byte over the limit is enough for the refusal; the rest of it need not be read.
    content = file.read(MAX_BYTES + 1)
    name = str(getattr(file, "name", "<stdin>"))
    try:
        text = content.decode("utf-8-sig", "strict" if len(content) <= MAX_BYTES else "replace")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogueError([f"{name}:{line}: is not UTF-8 text: save it as UTF-8"]) from error
    return read_catalogue(text, name, web.shop().clock.now())
