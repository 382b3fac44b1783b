"""The catalogue on the command line: `flask catalog import FILE`, `flask catalog export [FILE]`."""

from __future__ import annotations

from typing import IO

import click
from flask.cli import AppGroup

from tmt.catalog.file_format import CatalogueError, EventData, parse_catalogue
from tmt.catalog.import_export import export_catalogue, import_catalogue
from tmt.catalog.yaml_lines import MAX_BYTES
from tmt.web import shop

# Each command of an AppGroup runs in an application context.
catalog_commands: click.Group = AppGroup(
    "catalog", help="Import events from a YAML file, or export them to one."
)


@catalog_commands.command("import")
@click.argument("file", type=click.File("rb"))
def import_command(file: IO[bytes]) -> None:
    """Create and update events from the YAML file FILE ("-" is the standard input).

    An event is found by its slug. Either the whole file is imported or, on any error, nothing.
    """
    now = shop().clock.now()
    try:
        result = import_catalogue(shop().db, _read(file), now)
    except CatalogueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{result.created} created, {result.updated} updated")


@catalog_commands.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8", atomic=True), default="-")
def export_command(file: IO[str]) -> None:
    """Write all events, drafts and past ones too, to FILE or to the standard output."""
    with shop().db.reading() as session:
        file.write(export_catalogue(session))


def _read(file: IO[bytes]) -> list[EventData]:
    # One byte over the limit is enough for the refusal; the rest of it need not be read.
    content = file.read(MAX_BYTES + 1)
    name = str(getattr(file, "name", "<stdin>"))
    try:
        text = content.decode("utf-8-sig", "strict" if len(content) <= MAX_BYTES else "replace")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogueError([f"{name}:{line}: is not UTF-8 text: save it as UTF-8"]) from error
    return parse_catalogue(text, name, shop().clock.now())
