"""Checks of the Stripe account: keys, webhook, clock, payment methods, fraud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tmt.catalog.models import Event, EventStatus
from tmt.config import Settings
from tmt.core.addresses import is_local
from tmt.gateway.account import Account
from tmt.gateway.errors import (
    AuthenticationFailed,
    GatewayError,
    PermissionDenied,
    StripeUnreachable,
)
from tmt.gateway.types import API_VERSION
from tmt.operations.doctor import Finding, Level, green, red, run_checks, yellow
from tmt.shop import Shop

REGISTER = "Run flask stripe register-webhook."
_DASHBOARD = "https://dashboard.stripe.com"
# Seconds. A webhook's signature is valid for five minutes before and after it was made.
_CLOCK_RED, _CLOCK_YELLOW = 240.0, 30.0
_WARNING_DAYS = 30
# Methods that accept these currencies only; the others accept nearly all. By
# https://docs.stripe.com/payments/payment-methods/payment-method-support
_METHOD_CURRENCIES: dict[str, frozenset[str]] = {
    "acss_debit": frozenset({"cad", "usd"}),
    "au_becs_debit": frozenset({"aud"}),
    "bacs_debit": frozenset({"gbp"}),
    "bancontact": frozenset({"eur"}),
    "bizum": frozenset({"eur"}),
    "blik": frozenset({"pln"}),
    "boleto": frozenset({"brl"}),
    "cashapp": frozenset({"usd"}),
    "eps": frozenset({"eur"}),
    "fpx": frozenset({"myr"}),
    "ideal": frozenset({"eur"}),
    "konbini": frozenset({"jpy"}),
    "mb_way": frozenset({"eur"}),
    "multibanco": frozenset({"eur"}),
    "oxxo": frozenset({"mxn"}),
    "p24": frozenset({"eur", "pln"}),
    "pix": frozenset({"brl"}),
    "promptpay": frozenset({"thb"}),
    "sepa_debit": frozenset({"eur"}),
    "swish": frozenset({"sek"}),
    "twint": frozenset({"chf"}),
    "us_bank_account": frozenset({"usd"}),
}


def webhook_url(settings: Settings) -> str:
    """The address that Stripe is to send its events to."""
    return f"{settings.base_url}/stripe_webhook"


def run_stripe_checks(
    shop: Shop, account: Account, events: Sequence[str]
) -> Iterator[tuple[str, Finding]]:
    """Everything about the Stripe account; `events` are those that the shop handles.

    When Stripe does not answer or rejects the keys, nothing more is checked.
    """
    settings = shop.settings
    keys, clock_ahead = _keys(settings, account)
    yield "keys", keys
    yield "signing", _signing(settings)
    if keys.level == Level.RED:
        return
    yield from run_checks(
        [
            ("clock", partial(_clock, clock_ahead)),
            ("account", _tolerant(partial(_account, settings, account))),
            ("webhook", _tolerant(partial(_webhook, settings, account, events))),
            ("methods", _tolerant(partial(_methods, shop, account))),
            ("domains", _tolerant(partial(_domains, settings, account))),
            ("fraud", _tolerant(partial(_fraud, shop, account))),
        ]
    )


def _tolerant(check: Callable[[], Finding]) -> Callable[[], Finding]:
    """The check; it is yellow when Stripe does not allow or answer its calls."""

    def run() -> Finding:
        try:
            return check()
        except PermissionDenied:
            return yellow("this restricted key may not read it", f"Look at it in {_DASHBOARD}.")
        except GatewayError as error:
            text = f"could not be checked ({error})"
            return yellow(text, f"Try again, or look at it in {_DASHBOARD}.")

    return run


def _keys(settings: Settings, account: Account) -> tuple[Finding, float | None]:
    """The result of a first call, and by how many seconds our clock is ahead of Stripe's."""
    # The secret key as far as it may be shown.
    key = f"the key {settings.stripe_secret_key[:8]}… ({settings.mode})"
    try:
        clock_ahead = account.clock_ahead()
    except PermissionDenied:
        finding = yellow(
            "a restricted key, which may not read the webhook endpoints",
            "Nothing, if it may write PaymentIntents, Refunds and read Charges, Disputes, Events.",
        )
    except AuthenticationFailed:
        to_do = f"Set STRIPE_SECRET_KEY to a key of {_DASHBOARD}/apikeys that is not revoked."
        finding = red(f"Stripe rejects {key}", to_do)
    except StripeUnreachable:
        if settings.stripe_api_base:
            to_do = "Start the server that is to answer there: flask run, or flask sandbox."
            finding = red(f"no answer from {settings.stripe_api_base}", to_do)
        else:
            to_do = (
                "Check this machine's connection to api.stripe.com, and https://status.stripe.com"
            )
            finding = red("Stripe does not answer", to_do)
    except GatewayError as error:
        finding = red(f"Stripe answers: {error.user_message or error}", "Look at the keys.")
    else:
        return green(f"Stripe accepts {key}"), clock_ahead
    return finding, None


def _signing(settings: Settings) -> Finding:
    count = len(settings.stripe_webhook_secrets)
    if count:
        number = "a signing secret is" if count == 1 else f"{count} signing secrets are"
        return green(f"{number} set; whether it is the webhook's, only the first event shows")
    return red(
        "STRIPE_WEBHOOK_SECRET is not set: every event is rejected",
        "Set it to the endpoint's signing secret; flask stripe register-webhook prints one.",
    )


def _clock(ahead: float | None) -> Finding:
    to_do = "Have the network set it (NTP)."
    if ahead is None:
        return yellow("could not be compared with Stripe's", to_do)
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} Stripe's"
    if abs(ahead) >= _CLOCK_RED:
        return red(f"{text}: webhooks are rejected", to_do)
    if abs(ahead) >= _CLOCK_YELLOW:
        return yellow(text, to_do)
    return green("in line with Stripe's")


def _account(settings: Settings, account: Account) -> Finding:
    status = account.status()
    to_do = f"Complete it in {_DASHBOARD}/account/onboarding."
    if status.charges_enabled and not status.due:
        return green("it may charge, and Stripe requires nothing more")
    if status.charges_enabled:
        text = f"it may charge, but Stripe still requires {', '.join(status.due[:3])}"
        return yellow(text, to_do)
    text = "it may not charge yet" if status.details_submitted else "its details are not complete"
    if status.disabled_reason:
        text += f" ({status.disabled_reason})"
    return red(text, to_do) if settings.livemode else yellow(text, to_do)


def _webhook(settings: Settings, account: Account, events: Sequence[str]) -> Finding:
    url = webhook_url(settings)
    endpoints = [one for one in account.endpoints() if one.url.rstrip("/") == url]
    if not endpoints:
        text = f"no endpoint at Stripe has the address {url}"
        if not settings.livemode and is_local(urlsplit(url).hostname):
            return yellow(text, f"On a laptop: stripe listen --forward-to {url}")
        return red(text, REGISTER)
    enabled = [one for one in endpoints if one.status == "enabled"]
    if not enabled:
        return red(f"{endpoints[0].id} is {endpoints[0].status}: Stripe sends nothing", REGISTER)
    best = min(enabled, key=lambda one: (len(one.misses(events)), one.api_version != API_VERSION))
    missing = best.misses(events)
    if missing:
        return red(f"{best.id} is not subscribed to {', '.join(missing)}", REGISTER)
    if best.api_version != API_VERSION and not settings.sandbox:
        version = best.api_version or "the account's default version"
        return yellow(
            f"{best.id} sends {version}, not {API_VERSION}: each event costs a call to Stripe",
            "A version cannot be changed: flask stripe register-webhook --roll adds an endpoint.",
        )
    if len(enabled) > 1:
        return yellow(
            f"{len(enabled)} endpoints have this address: each event arrives as often",
            f"After a new secret was rolled out, delete the old endpoint in {_DASHBOARD}/webhooks.",
        )
    return green(f"{best.id} sends every event that the shop handles to {url}")


def _methods(shop: Shop, account: Account) -> Finding:
    methods = account.payment_methods()
    to_do = f"Switch some on in {_DASHBOARD}/settings/payment_methods."
    if not methods:
        return red("none is switched on", to_do)
    on_sale = select(Event.currency).where(
        Event.status == EventStatus.PUBLISHED, Event.ends_at > shop.clock.now()
    )
    currencies: list[str] = []
    # A database that does not answer is another check's finding.
    with suppress(SQLAlchemyError), shop.db.reading() as session:
        currencies = sorted(session.scalars(on_sale.distinct()))
    usable = {
        currency: [m for m in methods if currency in _METHOD_CURRENCIES.get(m, {currency})]
        for currency in currencies
    }
    without = [currency for currency, names in usable.items() if not names]
    if without:
        return red(f"none accepts {', '.join(without)}", to_do)
    text = "; ".join(f"{currency}: {', '.join(names)}" for currency, names in usable.items())
    if "card" not in methods:
        return yellow(f"cards are off. {text}", to_do)
    return green(text or ", ".join(methods))


def _domains(settings: Settings, account: Account) -> Finding:
    """Whether Stripe shows Apple Pay, Google Pay and Link on this domain."""
    name = urlsplit(settings.base_url).hostname or ""
    if is_local(name) or not settings.base_url.startswith("https://"):
        return green("wallets need a public https:// address: TMT_BASE_URL is none")
    domain = next((d for d in account.payment_method_domains() if d.name == name), None)
    if domain is None or not domain.enabled:
        text = f"{name} is not registered: Apple Pay and Link are not shown"
        return yellow(text, "Run flask stripe register-domain.")
    if domain.inactive:
        text = f"Stripe could not activate {', '.join(domain.inactive)} for {name}"
        return yellow(text, "Run flask stripe register-domain from a shop that is online.")
    return green(f"{name} is registered for Apple Pay, Google Pay and Link")


def _fraud(shop: Shop, account: Account) -> Finding:
    since = int(shop.clock.now().timestamp()) - _WARNING_DAYS * 86400
    count = account.fraud_warnings(since)
    if count:
        return yellow(
            f"banks warn of {count} payments of the last {_WARNING_DAYS} days",
            f"Consider refunding them before they are disputed: {_DASHBOARD}/radar",
        )
    return green(f"no bank warns of a payment; Radar's rules are shown only in {_DASHBOARD}/radar")
