"""The organiser's commands on money: `flask refund` and `flask alerts`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt import web
from tmt.checkout.commands import order_commands
from tmt.checkout.models import Order
from tmt.checkout.orders import account_of_order, get_order, is_own_order
from tmt.checkout.states import Trigger
from tmt.core.errors import DomainError
from tmt.core.i18n import format_datetime, use_locale
from tmt.core.money import InvalidAmount, format_code, parse_amount
from tmt.payments import alerts
from tmt.payments.balances import get_payment, get_refunds, remaining
from tmt.payments.foreign_holds import end_elsewhere
from tmt.payments.models import Refund
from tmt.payments.refunds import STRIPE_REASONS, RefundPlan, issue_refund, plan_refund
from tmt.tickets.issue import get_tickets


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
@click.option("--yes", is_flag=True, help="Refund without being asked.")
@with_appcontext
def refund_command(
    code: str, amount: str | None, tickets: str | None, reason: str, yes: bool
) -> None:
    """Refunds ORDER (its code) in full or in part and makes tickets void.

    Without --amount and --tickets everything that is left is refunded and the order ends. Shows the
    order and what will happen, and asks.
    """
    shop = web.shop()
    try:
        numbers = [] if tickets is None else [_number(part) for part in tickets.split(",")]
    except ValueError:
        raise click.ClickException(f"'{tickets}' are not ticket numbers such as 1,3") from None
    try:
        with shop.db.reading() as session:
            order = session.scalar(select(Order).where(Order.code == _plain_code(code)))
            if order is None:
                raise click.ClickException(f"no order {code[:20]}")
            for line in _order_lines(session, order):
                click.echo(line)
            payment = get_payment(session, order.id)
            # What was received is refunded, also in a currency that was not the order's.
            currency = (payment.received_currency if payment else None) or order.currency
            minor = None if amount is None else _parse_money(amount, currency)
            plan = plan_refund(session, order, amount=minor, tickets=numbers)
        click.echo(_plan_text(order, plan))
        if not yes:
            ask("Refund this?")
        refund = issue_refund(shop, order.code, amount=minor, tickets=numbers, reason=reason)
    except DomainError as error:
        raise click.ClickException(str(error)) from None
    shop.jobs.run("outbox")
    with shop.db.reading() as session:
        order = get_order(session, order.id)
        if refund:
            click.echo(_refund_text(session.get_one(Refund, refund.id)))
    click.echo(f"Order {order.code} is {order.status}.")


def ask(question: str) -> None:
    """Asks on the terminal; ends the command with nothing done unless the answer is yes."""
    try:
        agreed = click.confirm(question)
    except click.Abort:
        # There is nobody to ask, or they pressed Ctrl-C.
        agreed = False
        click.echo()
    if not agreed:
        raise click.ClickException("nothing was done; --yes does it without asking")


def date_text(moment: datetime, zone: str) -> str:
    """A time for operators, whose language is English."""
    with use_locale("en"):
        return format_datetime(moment, zone)


def _plain_code(code: str) -> str:
    """A code as people type it: spaces, hyphens and small letters do no harm."""
    return "".join(code.split()).replace("-", "").upper()


def _number(text: str) -> int:
    """A ticket number in plain digits; raises `ValueError`."""
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise ValueError(text)
    return int(text)


def _parse_money(text: str, currency: str) -> int:
    """Minor units of '12.50', '12.50 EUR' or 'EUR 12.50'; another currency is `InvalidAmount`."""
    words = text.upper().split()
    number = " ".join(word for word in words if word != currency.upper())
    if len(words) == 2 and number == text.upper().strip():
        raise InvalidAmount(f"'{text[:40]}' is not in {currency.upper()}, the order's currency")
    return parse_amount(number, currency)


def _order_lines(session: Session, order: Order) -> Iterator[str]:
    """The order for whoever is about to refund it: tickets, money, earlier refunds."""
    event = order.event
    when = date_text(event.starts_at, event.time_zone)
    yield f"Order {order.code} is {order.status}: {event.title}, {when}, {event.status}"
    for ticket in get_tickets(session, order.id):
        price = format_code(ticket.price, order.currency)
        yield f"  ticket {ticket.number}: {ticket.type_name}, {price}, {ticket.status}"
    payment = get_payment(session, order.id)
    if payment:
        currency = payment.received_currency or payment.currency
        left = format_code(remaining(session, payment), currency)
        yield f"  paid {format_code(payment.amount_received, currency)}, left {left}"
    for refund in get_refunds(session, order.id):
        yield f"  refund: {_refund_text(refund)}"


def _refund_text(refund: Refund) -> str:
    at_stripe = refund.stripe_id or ("not at Stripe" if refund.amount else "no money")
    return f"{format_code(refund.amount, refund.currency)}, {refund.status}, {at_stripe}"


def _plan_text(order: Order, plan: RefundPlan) -> str:
    money = format_code(plan.amount, plan.currency) if plan.amount else "no money"
    left = format_code(plan.left - plan.amount, plan.currency)
    if plan.is_everything:
        tickets = f"all its valid tickets ({len(plan.tickets)}) become void, and the order ends"
    elif plan.tickets:
        numbers = ", ".join(map(str, plan.tickets))
        tickets = f"void from now on: {numbers}; {left} stay paid"
    else:
        tickets = f"the tickets stay valid, {left} stay paid"
    if plan.by_hand:
        return (
            f"Stripe refunds no {plan.by_hand} payments, and nothing is sent to it: you have to pay"
            f" {money} back yourself; {tickets}. The buyer gets a mail that you will get in touch."
        )
    return f"To be refunded: {money}; {tickets}."


@order_commands.command("release")
@click.argument("code", metavar="ORDER")
@click.option("--yes", is_flag=True, help="Release without being asked.")
def release_command(code: str, yes: bool) -> None:
    """Ends the reservation of ORDER at once, if it belongs to another mode or Stripe account.

    Those of the keys in use end by themselves, or with their buyer. A payment that succeeds later
    all the same gets tickets if there are any left, and is refunded otherwise.
    """
    shop = web.shop()
    with shop.db.reading() as session:
        order = session.scalar(select(Order).where(Order.code == _plain_code(code)))
        if order is None:
            raise click.ClickException(f"no order {code[:20]}")
        is_own = is_own_order(session, order.id)
        tickets = sum(order.quantities.values())
        for line in _order_lines(session, order):
            click.echo(line)
    if not order.status.holds_stock:
        raise click.ClickException(f"order {order.code} is {order.status} and reserves nothing")
    if is_own:
        raise click.ClickException(
            f"order {order.code} is of the keys in use, and its reservation ends by itself"
        )
    owner = account_of_order(order).rstrip(":")
    click.echo(f"It is of {owner}, and reserves {tickets} tickets, which go on sale again.")
    if not yes:
        ask("Release them?")
    if not end_elsewhere(shop, order.id, Trigger.STAFF):
        raise click.ClickException(
            f"order {order.code} keeps its tickets: its payment is processing at a bank, or its"
            " reservation has just ended"
        )
    click.echo(f"Order {order.code} is canceled.")


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
