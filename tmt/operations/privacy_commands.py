"""`flask privacy`: what is stored about a person, for that person."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from tmt import web
from tmt.operations import privacy

privacy_commands = AppGroup("privacy", help="What is stored about a person.")


@privacy_commands.command("export")
@click.argument("email")
def export_command(email: str) -> None:
    """Prints all that is stored about an e-mail address, as JSON.

    Without the keys that open orders and admit to events. What Stripe stores is in its dashboard.
    """
    click.echo(json.dumps(privacy.export(web.shop(), email), indent=2, ensure_ascii=False))


@privacy_commands.command("erase")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase_command(email: str, yes: bool) -> None:
    """Blanks name and address in the orders of an e-mail address, and deletes its account.

    Amounts and tickets stay.

    Orders that are not finished, disputed or being refunded, or whose event is not over, are named
    and left as they are. Cannot be undone.
    """
    shop = web.shop()
    codes, others = privacy.erasable(shop, email)
    for code, reason in others.items():
        click.echo(f"{code} stays: {reason}")
    more = [] if others else privacy.other_data(shop, email)
    if not codes and not more:
        raise click.ClickException("there is nothing of this address that can be erased")
    what = f"name and address in {', '.join(codes)}" if codes else " and ".join(more)
    click.echo(f"to be erased: {what}")
    if not yes:
        click.confirm("Erase them? This cannot be undone", abort=True)
    click.echo(f"erased: {', '.join(privacy.erase(shop, email)) or what}")
