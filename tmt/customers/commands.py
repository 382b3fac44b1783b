"""The organiser's commands on customers: `flask customer`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from tmt import web
from tmt.core.email_address import parse_email
from tmt.core.errors import NotFound
from tmt.customers import email_change, sign_in
from tmt.customers.accounts import find_by_email
from tmt.customers.models import Customer
from tmt.customers.views import move_owned

customer_commands = AppGroup("customer", help="Customers.")


@customer_commands.command("sign-out")
@click.argument("email")
def sign_out_command(email: str) -> None:
    """Ends all sessions of the customer with this address, as when a phone was stolen."""
    customer = _find(email)
    sign_in.sign_out_everywhere(web.shop(), customer.id)
    click.echo("The customer is signed out everywhere, and links to sign in have ended.")


@customer_commands.command("change-email")
@click.argument("old")
@click.argument("new")
@click.option("--yes", is_flag=True, help="Do not ask.")
def change_email_command(old: str, new: str, yes: bool) -> None:
    """Changes a customer's address, for who cannot read mails to the OLD one any more.

    Who can read mails to both does it on the account page. Whoever reads mails to NEW has the
    account then, with its orders and tickets: make sure that it is the same person.
    """
    customer, shop = _find(old), web.shop()
    try:
        email = parse_email(new)
    except ValueError as error:
        raise click.ClickException(f"{new} is no e-mail address: {error}") from None
    with shop.db.reading() as session:
        other = find_by_email(session, email)
    if other and other.id != customer.id:
        click.echo(f"{email} is a customer already; the two become one, with the orders of both.")
    if not yes:
        click.confirm(f"Change {customer.email} to {email}, and end all sessions?", abort=True)
    try:
        email_change.change_at_once(shop, customer.id, email, move_owned())
    except NotFound as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"The customer signs in with {email} from now on.")


def _find(email: str) -> Customer:
    with web.shop().db.reading() as session:
        customer = find_by_email(session, email)
    if customer is None:
        raise click.ClickException(f"no customer has the address {email}")
    return customer
