"""The organiser's commands on money: refunds, what a person must see, being in line with Stripe."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import NoReturn

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

from tmt.checkout.models import Order
from tmt.checkout.orders import get_order
from tmt.core.errors import Refusal
from tmt.core.money import format_money, to_minor
from tmt.gateway.contract import GatewayError
from tmt.gateway.extension import gateway as current_gateway
from tmt.payments import audit, notices, returns
from tmt.payments.audit_repair import Breach
from tmt.payments.models import Refund
from tmt.payments.reconcile import reconcile
from tmt.payments.refunds import STRIPE_REASONS
from tmt.shop import Shop
from tmt.web import shop as current_shop


@click.command("refund")
@click.argument("code", metavar="ORDER")
@click.option("--amount", help="Such as 12.50; default: the tickets' price, or all that is left.")
@click.option("--tickets", help="Numbers of the tickets to void, for example 1,3.")
@click.option(
    "--reason",
    type=click.Choice(STRIPE_REASONS),
    default="requested_by_customer",
    show_default=True,
    help="The reason given to Stripe; fraudulent also blocks the card there.",
)
@with_appcontext
def refund_command(code: str, amount: str | None, tickets: str | None, reason: str) -> None:
    """Refunds ORDER (its code) and voids its tickets.

    Without --amount and --tickets all that is left is refunded and the order is closed.
    """
    shop = current_shop()
    try:
        order = _order(shop, code)
        minor = None if amount is None else _minor(amount, order.currency)
        made = returns.give_back(
            shop, order.code, amount=minor, tickets=_numbers(tickets), reason=reason
        )
    except Refusal as error:
        _fail(str(error))
    shop.jobs.run("outbox")
    with shop.db.reading() as session:
        order = get_order(session, order.id)
        for refund in (session.get_one(Refund, one.id) for one in made):
            money = format_money(refund.amount, refund.currency, "en")
            click.echo(f"{money}  {refund.status}  {refund.refund or 'not sent to Stripe yet'}")
    click.echo(f"Order {order.code} is {order.status}.")


notices_commands = AppGroup("notices", help="What needs a person's attention.")


@notices_commands.command("list")
def notices_list() -> None:
    """Open notices, oldest first, each with what to do."""
    with current_shop().db.reading() as session:
        found = notices.open_notices(session)
        codes = {n.id: session.get_one(Order, n.order_id).code for n in found}
    for notice in found:
        what, to_do = notices.KINDS[notice.kind]
        when = f"{notice.created_at:%Y-%m-%d %H:%M}"
        click.echo(f"{notice.id:>5}  {when}  {codes[notice.id]}  {what}")
        click.echo(f"       {to_do}")
    if not found:
        click.echo("nothing")


@notices_commands.command("done")
@click.argument("notice_ids", nargs=-1, required=True, type=int)
def notices_done(notice_ids: tuple[int, ...]) -> None:
    """Marks notices as done."""
    for notice_id in notice_ids:
        try:
            notices.finish(current_shop(), notice_id)
        except Refusal as error:
            _fail(str(error))


@click.command("reconcile")
@click.option("--since", help="For example 30d, 12h or 2026-11-30; by default, the last run.")
@with_appcontext
def reconcile_command(since: str | None) -> None:
    """Checks everything that is open with Stripe, and fetches events that never arrived."""
    shop = current_shop()
    report = reconcile(shop, current_gateway(), _moment(since, shop.clock.now()))
    for duty in ("inbox", "outbox"):
        shop.jobs.run(duty)
    click.echo(
        f"{report.asked} open at Stripe, {report.settled} payments settled, "
        f"{report.booked} refunds and disputes booked, {report.events} events found"
    )
    for text in report.failed:
        click.echo(f"failed: {text}", err=True)
    if not report.complete:
        click.echo("not complete: Stripe is not responding; run it again", err=True)
    if report.failed or not report.complete:
        sys.exit(1)


@click.command("audit")
@click.option("--repair", is_flag=True, help="Repair what is safe to repair, then check again.")
@click.option("--offline", is_flag=True, help="Check the database only.")
@with_appcontext
def audit_command(repair: bool, offline: bool) -> None:
    """Checks orders, money, tickets and stock against each other and against Stripe.

    Prints each breach with what would fix it. Exit code 0: sound; 1: there are breaches;
    2: Stripe could not be reached.
    """
    shop, failed = current_shop(), []
    breaches = _audited(shop, offline)
    if repair and any(breach.repair for breach in breaches):
        failed = audit.repair(shop, current_gateway(), breaches)
        click.echo("\nRepaired what is safe to repair. What is left:\n")
        breaches = _audited(shop, offline)
    for text in failed:
        click.echo(f"could not be repaired: {text}", err=True)
    with shop.db.reading() as session:
        waiting = len(notices.open_notices(session))
    if waiting:
        click.echo(f"{waiting} open notices: flask notices list")
    click.echo(f"{len(breaches)} breaches" if breaches else "sound")
    sys.exit(1 if breaches else 0)


def _audited(shop: Shop, offline: bool) -> list[Breach]:
    """The breaches, each printed as soon as it is found."""
    found = []
    try:
        for breach in audit.audit(shop, None if offline else current_gateway()):
            click.echo(f"{breach.invariant}  {breach.subject}: {breach.what}")
            click.echo(f"    to fix: {breach.mend}")
            found.append(breach)
    except GatewayError as error:
        click.echo(f"Stripe could not be reached: {error.name}: {error}", err=True)
        sys.exit(2)
    return found


def _moment(since: str | None, now: datetime) -> datetime | None:
    """The moment in "30d" before now, "12h", or the beginning of a day (UTC)."""
    if since is None:
        return None
    span = re.fullmatch(r"([0-9]{1,4})([dhm])", since)
    if span:
        unit = {"d": "days", "h": "hours", "m": "minutes"}[span[2]]
        return now - timedelta(**{unit: int(span[1])})
    try:
        return datetime.fromisoformat(since).replace(tzinfo=UTC)
    except ValueError:
        _fail(f"'{since}' is not a time, for example 30d, 12h or 2026-11-30")


def _order(shop: Shop, code: str) -> Order:
    with shop.db.reading() as session:
        order = session.scalar(select(Order).where(Order.code == code.upper()))
    if order is None:
        _fail(f"no order {code[:20]}")
    return order


def _minor(amount: str, currency: str) -> int:
    try:
        value = Decimal(amount)
        minor = to_minor(value, currency)
    except (InvalidOperation, ValueError):
        _fail(f"'{amount}' is not an amount, for example 12.50")
    if not value.is_finite() or value < 0:
        _fail(f"'{amount}' is not an amount, for example 12.50")
    return minor


def _numbers(tickets: str | None) -> list[int]:
    try:
        return [int(part) for part in tickets.split(",")] if tickets else []
    except ValueError:
        _fail(f"'{tickets}' are not ticket numbers, for example 1,3")


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)
