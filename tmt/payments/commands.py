"""The organiser's commands on money: `flask refund` and `flask alerts`."""

from __future__ import annotations

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

from tmt import web
from tmt.checkout.models import Order
from tmt.checkout.orders import get_order
from tmt.core.errors import DomainError
from tmt.core.money import format_money, parse_amount
from tmt.payments import alerts
from tmt.payments.models import Refund
from tmt.payments.refunds import STRIPE_REASONS, issue_refund


@click.command("refund")
@click.argument("code", metavar="ORDER")
@click.option("--amount", help="Such as 12.50; default: the tickets' price, or all that is left.")
@click.option("--tickets", help="Numbers of the tickets to void, for example 1,3.")
@click.option(
    "--reason",
    type=click.Choice(STRIPE_REASONS),
    default="requested_by_customer",
    show_default=True,
    help="Sent to Stripe; fraudulent also blocks the card there.",
)
@with_appcontext
def refund_command(code: str, amount: str | None, tickets: str | None, reason: str) -> None:
    """Refunds ORDER (its code) in full or in part and makes tickets void.

    Without --amount and --tickets everything that is left is refunded and the order ends.
    """
    shop = web.shop()
    try:
        numbers = [int(part) for part in tickets.split(",")] if tickets else []
    except ValueError:
        raise click.ClickException(f"'{tickets}' are not ticket numbers such as 1,3") from None
    with shop.db.reading() as session:
        order = session.scalar(select(Order).where(Order.code == code.upper()))
    if order is None:
        raise click.ClickException(f"no order {code[:20]}")
    try:
        minor = None if amount is None else parse_amount(amount, order.currency)
        refund = issue_refund(shop, order.code, amount=minor, tickets=numbers, reason=reason)
    except DomainError as error:
        raise click.ClickException(str(error)) from None
    shop.jobs.run("outbox")
    with shop.db.reading() as session:
        order = get_order(session, order.id)
        if refund:
            refund = session.get_one(Refund, refund.id)
            money = format_money(refund.amount, refund.currency, "en")
            at_stripe = refund.stripe_id or ("not at Stripe yet" if refund.amount else "no money")
            click.echo(f"{money}  {refund.status}  {at_stripe}")
    click.echo(f"Order {order.code} is {order.status}.")


alerts_commands = AppGroup("alerts", help="What a person must see: disputes, failed refunds …")


@alerts_commands.command("list")
def alerts_list() -> None:
    """Alerts that nobody has resolved, oldest first, with what to do."""
    with web.shop().db.reading() as session:
        open_alerts = alerts.open_alerts(session)
        codes = {
            alert.id: session.get_one(Order, alert.order_id).code if alert.order_id else "-"
            for alert in open_alerts
        }
    for alert in open_alerts:
        what, to_do = alerts.KINDS[alert.kind]
        when = f"{alert.created_at:%Y-%m-%d %H:%M}"
        click.echo(f"{alert.id:>5}  {when}  {codes[alert.id]:<8}  {what}")
        click.echo(f"       {to_do}")
    if not open_alerts:
        click.echo("no alerts")


@alerts_commands.command("resolve")
@click.argument("alert_ids", nargs=-1, required=True, type=int)
def alerts_resolve(alert_ids: tuple[int, ...]) -> None:
    """Marks alerts as resolved."""
    for alert_id in alert_ids:
        try:
            alerts.resolve(web.shop(), alert_id)
        except DomainError as error:
            raise click.ClickException(str(error)) from None


# The names of earlier versions, for scripts that have them.
notices_commands = AppGroup("notices", help="Renamed to `flask alerts`.", hidden=True)
notices_commands.add_command(alerts_list, "list")
notices_commands.add_command(alerts_resolve, "done")
