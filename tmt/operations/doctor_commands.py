"""`flask doctor`, and `flask stripe`: the account's webhook endpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TypeVar

import click
from flask.cli import AppGroup, with_appcontext

from tmt.config import Settings
from tmt.core import log
from tmt.gateway.account import ALL_EVENTS, Account, WebhookEndpoint
from tmt.gateway.errors import GatewayError
from tmt.gateway.types import API_VERSION
from tmt.operations import shop_checks, stripe_checks
from tmt.operations.doctor import Finding, Level
from tmt.payments.webhook_handlers import HANDLERS
from tmt.web import gateway, limits, state
from tmt.web import shop as current_shop

T = TypeVar("T")

_COLOURS = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "red"}
_EVENTS = tuple(sorted(HANDLERS))

stripe_commands = AppGroup("stripe", help="The Stripe account's webhook endpoints.")


@click.command("doctor")
@with_appcontext
def doctor_command() -> None:
    """Checks the shop and its Stripe account, and says what to do.

    The exit code is 0 when all is green, 1 when something is yellow, 2 when something is red.
    """
    shop = current_shop()
    # What is logged meanwhile would stand between the lines.
    log.configure(shop.settings.log_format, "CRITICAL")
    transport = state().mail_transport
    found: list[tuple[str, Finding]] = []
    for examined in (
        shop_checks.run_shop_checks(shop, transport, limits()),
        stripe_checks.run_stripe_checks(shop, _account(), _EVENTS),
    ):
        for name, finding in examined:
            click.echo(_line(name, finding))
            found.append((name, finding))
    left = list(_still_to_do(shop.settings, [finding for _name, finding in found]))
    click.echo("\nBefore going live:" if left else "\nThis shop is live.")
    for step in left:
        click.echo(f"  - {step}")
    sys.exit(max(finding.level for _name, finding in found))


@stripe_commands.command("webhooks")
def webhooks_command() -> None:
    """The account's webhook endpoints, one a line; * are the shop's own."""
    url = stripe_checks.webhook_url(current_shop().settings)
    found = _or_fail(_account().endpoints)
    for one in found:
        mark = "*" if one.url.rstrip("/") == url else " "
        events = "all events" if ALL_EVENTS in one.events else f"{len(one.events)} events"
        version = one.api_version or "the account's version"
        click.echo(f"{mark} {one.id}  {one.status:<8}  {version}  {events}  {one.url}")
    if not found:
        click.echo("no endpoints")


@stripe_commands.command("register-webhook")
@click.option("--url", help="Where Stripe is to send events.  [default: the shop's own address]")
@click.option("--roll", is_flag=True, help="Create another even if there is one, for a new secret.")
def register_command(url: str | None, roll: bool) -> None:
    """Registers the shop's webhook at Stripe and prints its signing secret, only once."""
    settings = current_shop().settings
    address = (url or stripe_checks.webhook_url(settings)).rstrip("/")
    account = _account()
    standing = [e for e in _or_fail(account.endpoints) if e.url.rstrip("/") == address]
    if standing and not roll:
        for endpoint in standing:
            _refresh(account, endpoint)
        return
    if settings.sandbox:
        raise click.ClickException("the sandbox sends its events to this shop already")
    description = f"{settings.shop_name} (TMT)"
    made, secret = _or_fail(lambda: account.create_endpoint(address, _EVENTS, description))
    click.echo(f"{made.id} is registered for {made.url}, in version {made.api_version}.")
    click.echo("Its signing secret, which Stripe shows only once:\n")
    click.echo(f"  {secret}\n")
    if standing:
        click.echo(_how_to_roll([endpoint.id for endpoint in standing]))
    else:
        click.echo("Set STRIPE_WEBHOOK_SECRET to it and restart the shop, its jobs too.")


def _refresh(account: Account, endpoint: WebhookEndpoint) -> None:
    """Enables an endpoint that stands already, and has it told of all that the shop acts on."""
    wanted = set(_EVENTS) | set(endpoint.events)
    events = [ALL_EVENTS] if ALL_EVENTS in wanted else sorted(wanted)
    _or_fail(lambda: account.update_endpoint(endpoint.id, events))
    click.echo(f"{endpoint.id} already exists: it is enabled and gets every event it needs.")
    if current_shop().settings.sandbox:
        return
    click.echo("Its signing secret has not changed. For a new one: --roll")
    if endpoint.api_version != API_VERSION:
        version = endpoint.api_version or "the account's version"
        click.echo(f"It uses {version}, which cannot be changed: --roll creates one that uses")
        click.echo(f"{API_VERSION}.")


def _how_to_roll(old: Sequence[str]) -> str:
    return (
        "1. Put it before the old one, comma-separated, into STRIPE_WEBHOOK_SECRET; restart the\n"
        "   shop. Each event comes twice for now, which does no harm.\n"
        f"2. Delete {', '.join(old)} in Stripe's dashboard, and then take the old secret out."
    )


def _still_to_do(settings: Settings, found: Sequence[Finding]) -> Iterator[str]:
    """What stands between this shop and selling for real money."""
    if settings.sandbox:
        yield "Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY: test keys first, then live keys."
    elif not settings.livemode:
        yield "Replace the test keys with live keys (sk_live_…, pk_live_…)."
    if not settings.livemode:
        yield "Register the webhook with live keys too: flask stripe register-webhook"
    if settings.stripe_api_base and not settings.sandbox:
        yield "Unset STRIPE_API_BASE."
    if not settings.base_url.startswith("https://"):
        yield "Set TMT_BASE_URL to the shop's public https:// address."
    if not settings.mail_server:
        yield "Set MAIL_SERVER and the settings around it: tickets are sent by email."
    if settings.sandbox:
        yield "Set your own SECRET_KEY, and run gunicorn and flask jobs instead of flask run."
    for level, colour in ((Level.RED, "red"), (Level.YELLOW, "yellow")):
        if any(finding.level == level for finding in found):
            verb = "Fix" if level == Level.RED else "Look at"
            yield f"{verb} what is {colour} above."


def _line(name: str, finding: Finding) -> str:
    colour = _COLOURS[finding.level]
    line = f"{click.style(f'{colour:<6}', fg=colour, bold=True)}  {name:<10}  {finding.text}"
    return f"{line}\n{'':<20}→ {finding.to_do}" if finding.to_do else line


def _account() -> Account:
    return gateway().account


def _or_fail(call: Callable[[], T]) -> T:
    try:
        return call()
    except GatewayError as error:
        _fail(error)


def _fail(error: GatewayError) -> NoReturn:
    raise click.ClickException(f"Stripe: {error.user_message or error}")
