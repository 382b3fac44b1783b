"""The organiser's commands on orders: `flask order`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from tmt import web
from tmt.checkout.orders import order_url, renew_token
from tmt.core.errors import NotFound

order_commands = AppGroup("order", help="Orders.")


@order_commands.command("renew-link")
@click.argument("code", metavar="ORDER")
def renew_link_command(code: str) -> None:
    """Gives ORDER (its code) a new link, for a buyer whose link somebody else has.

    The old link opens nothing any more. The codes on the tickets stay as they are.
    """
    shop = web.shop()
    try:
        order = renew_token(shop, code)
    except NotFound as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Order {order.code} is now at this address, and at no other:")
    click.echo(order_url(shop.settings, order))
