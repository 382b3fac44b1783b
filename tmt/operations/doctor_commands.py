"""`flask doctor`, and `flask stripe`: the account's webhook endpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import click
from flask.cli import AppGroup, with_appcontext

from tmt import web
from tmt.billing.webhook_handlers import HANDLERS
from tmt.config import Settings
from tmt.core import log
from tmt.core.addresses import is_local
from tmt.gateway.account import ALL_EVENTS, Account, WebhookEndpoint
from tmt.gateway.errors import GatewayError
from tmt.gateway.types import API_VERSION
from tmt.operations.doctor import Finding, Level
from tmt.operations.shop_checks import run_shop_checks
from tmt.operations.stripe_checks import run_stripe_checks, webhook_url

T = TypeVar("T")

_EVENTS = tuple(sorted(HANDLERS))

stripe_commands = AppGroup("stripe", help="The Stripe account's webhook endpoints and domains.")


@click.command("doctor")
@with_appcontext
def doctor_command() -> None:
    """Checks the shop and its Stripe account, and says what to do.

    The exit code is 0 when all is green, 1 when something is yellow, 2 when something is red.
    """
    state = web.state()
    shop = state.shop
    # Log lines would appear between the findings.
    log.configure(shop.settings.log_format, "CRITICAL")
    findings: list[Finding] = []
    for checks in (
        run_shop_checks(shop, state.mail_transport, state.limits),
        run_stripe_checks(shop, state.gateway.account, _EVENTS),
    ):
        for name, finding in checks:
            color = finding.level.name.lower()
            label = click.style(f"{color:<6}", fg=color, bold=True)
            click.echo(f"{label}  {name:<10}  {finding.text}")
            if finding.to_do:
                click.echo(f"{'':<20}→ {finding.to_do}")
            findings.append(finding)
    worst = max(finding.level for finding in findings)
    steps = list(_steps_to_live(shop.settings, findings))
    click.echo("\nBefore going live:" if steps else "\nThis shop is live.")
    for step in steps:
        click.echo(f"  - {step}")
    sys.exit(worst)


def _steps_to_live(settings: Settings, findings: Sequence[Finding]) -> Iterator[str]:
    """What is to be done before the shop sells for real money."""
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
    levels = {finding.level for finding in findings}
    if Level.RED in levels:
        yield "Fix what is red above."
    if Level.YELLOW in levels:
        yield "Look at what is yellow above."


@stripe_commands.command("webhooks")
def webhooks_command() -> None:
    """The account's webhook endpoints, one per line; * marks the shop's own."""
    url = webhook_url(web.shop().settings)
    endpoints = _call(web.gateway().account.endpoints)
    for endpoint in endpoints:
        mark = "*" if endpoint.url.rstrip("/") == url else " "
        is_all = ALL_EVENTS in endpoint.events
        events = "all events" if is_all else f"{len(endpoint.events)} events"
        version = endpoint.api_version or "the account's version"
        click.echo(
            f"{mark} {endpoint.id}  {endpoint.status:<8}  {version}  {events}  {endpoint.url}"
        )
    if not endpoints:
        click.echo("no endpoints")


@stripe_commands.command("register-webhook")
@click.option("--url", help="Where Stripe is to send events.  [default: the shop's own address]")
@click.option("--roll", is_flag=True, help="Create another even if there is one, for a new secret.")
def register_command(url: str | None, roll: bool) -> None:
    """Registers the shop's webhook at Stripe and prints its signing secret, only once."""
    settings, account = web.shop().settings, web.gateway().account
    address = (url or webhook_url(settings)).rstrip("/")
    existing = [e for e in _call(account.endpoints) if e.url.rstrip("/") == address]
    if existing and not roll:
        for endpoint in existing:
            _enable(account, endpoint, settings)
        return
    if settings.sandbox:
        raise click.ClickException("the sandbox sends its events to this shop already")
    description = f"{settings.shop_name} (TMT)"
    created, secret = _call(lambda: account.create_endpoint(address, _EVENTS, description))
    click.echo(f"{created.id} is registered for {created.url}, in version {created.api_version}.")
    click.echo("Its signing secret, which Stripe shows only once:\n")
    click.echo(f"  {secret}\n")
    if existing:
        old = ", ".join(endpoint.id for endpoint in existing)
        click.echo(
            "1. Put it before the old one, comma-separated, into STRIPE_WEBHOOK_SECRET; restart\n"
            "   the shop. Each event arrives twice for now, which does no harm.\n"
            f"2. Delete {old} in Stripe's dashboard, then remove the old secret."
        )
    else:
        click.echo("Set STRIPE_WEBHOOK_SECRET to it and restart the shop, its jobs too.")


@stripe_commands.command("domains")
def domains_command() -> None:
    """The domains on which wallets are shown, one per line; * marks the shop's own."""
    own = urlsplit(web.shop().settings.base_url).hostname
    domains = _call(web.gateway().account.payment_method_domains)
    for domain in domains:
        mark = "*" if domain.name == own else " "
        inactive = f"  without {', '.join(domain.inactive)}" if domain.inactive else ""
        state = "enabled" if domain.enabled else "disabled"
        click.echo(f"{mark} {domain.id}  {state:<8}  {domain.name}{inactive}")
    if not domains:
        click.echo("no domains")


@stripe_commands.command("register-domain")
@click.option("--domain", help="Such as tickets.example.org  [default: that of TMT_BASE_URL]")
def register_domain_command(domain: str | None) -> None:
    """Registers the shop's domain at Stripe, so that Apple Pay, Google Pay and Link are shown."""
    name = (domain or urlsplit(web.shop().settings.base_url).hostname or "").lower()
    if is_local(name) or "." not in name or "/" in name:
        raise click.ClickException(f"'{name[:80]}' is not a public domain: set TMT_BASE_URL")
    account = web.gateway().account
    registered = _call(lambda: account.register_payment_method_domain(name))
    click.echo(f"{registered.id}: {registered.name} is registered.")
    if registered.inactive:
        click.echo(f"Not active on it: {', '.join(registered.inactive)}. Is the shop online there?")


def _enable(account: Account, endpoint: WebhookEndpoint, settings: Settings) -> None:
    """Enables an existing endpoint, and adds the events that the shop handles."""
    events = {*_EVENTS, *endpoint.events}
    subscribed = [ALL_EVENTS] if ALL_EVENTS in events else sorted(events)
    _call(lambda: account.update_endpoint(endpoint.id, subscribed))
    click.echo(f"{endpoint.id} already exists: it is enabled and gets every event it needs.")
    if settings.sandbox:
        return
    click.echo("Its signing secret has not changed. For a new one: --roll")
    if endpoint.api_version != API_VERSION:
        version = endpoint.api_version or "the account's version"
        click.echo(f"It uses {version}, which cannot be changed: --roll creates one that uses")
        click.echo(f"{API_VERSION}.")


def _call(stripe_call: Callable[[], T]) -> T:
    try:
        return stripe_call()
    except GatewayError as error:
        raise click.ClickException(f"Stripe: {error.user_message or error}") from None
