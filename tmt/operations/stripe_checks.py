"""The doctor's look at the Stripe account: keys, webhook, clock, payment methods, fraud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tmt.catalog.models import Event, EventStatus
from tmt.config import Settings
from tmt.gateway.account import Account, WebhookEndpoint
from tmt.gateway.errors import (
    AuthenticationFailed,
    GatewayError,
    PermissionDenied,
    StripeUnreachable,
)
from tmt.gateway.types import API_VERSION
from tmt.operations.doctor import Finding, Level, green, red, run_checks, yellow
from tmt.operations.shop_checks import LOOPBACK
from tmt.shop import Shop

REGISTER = "Run flask stripe register-webhook."
_DASHBOARD = "https://dashboard.stripe.com"
# A webhook's signature is good for five minutes either way.
_CLOCK_WRONG, _CLOCK_OFF = 240.0, 30.0
_WARNED_DAYS = 30
# Methods that take these currencies only; the others take nearly all. By
# https://docs.stripe.com/payments/payment-methods/payment-method-support
_TAKES_ONLY: dict[str, frozenset[str]] = {
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
    """Where Stripe is to send its events."""
    return f"{settings.base_url}/stripe_webhook"


def run_stripe_checks(
    shop: Shop, account: Account, events: Sequence[str]
) -> Iterator[tuple[str, Finding]]:
    """Everything about the Stripe account; `events` are those that the shop acts on.

    When Stripe does not answer or does not take the keys, nothing more is asked.
    """
    settings = shop.settings
    keys, ahead = _keys(settings, account)
    yield "keys", keys
    yield "signing", _signing(settings)
    if keys.level == Level.RED:
        return
    yield from run_checks(
        [
            ("clock", partial(_clock, ahead)),
            ("account", _asked(partial(_account, settings, account))),
            ("webhook", _asked(partial(_webhook, settings, account, events))),
            ("methods", _asked(partial(_methods, shop, account))),
            ("fraud", _asked(partial(_fraud, shop, account))),
        ]
    )


def _keys(settings: Settings, account: Account) -> tuple[Finding, float | None]:
    """What a first call finds; it also tells by how much our clock is ahead of Stripe's."""
    try:
        ahead = account.clock_ahead()
    except PermissionDenied:
        return _RESTRICTED, None
    except GatewayError as error:
        return _refused(settings, error), None
    return green(f"Stripe takes {_shown(settings)}"), ahead


def _refused(settings: Settings, error: GatewayError) -> Finding:
    if isinstance(error, AuthenticationFailed):
        to_do = f"Set STRIPE_SECRET_KEY to a key of {_DASHBOARD}/apikeys that is not revoked."
        return red(f"Stripe refuses {_shown(settings)}", to_do)
    if not isinstance(error, StripeUnreachable):
        return red(f"Stripe answers: {error.user_message or error}", "Look at the keys.")
    if settings.stripe_api_base:
        where = f"nobody answers at {settings.stripe_api_base}"
        return red(where, "Start what is to answer there: flask run, or flask sandbox.")
    to_do = "Look at this machine's way to api.stripe.com, and at https://status.stripe.com"
    return red("Stripe does not answer", to_do)


_RESTRICTED = yellow(
    "a restricted key, which may not read the webhook endpoints",
    "Nothing, if it may write PaymentIntents and Refunds and read Charges, Disputes, Events.",
)


def _asked(check: Callable[[], Finding]) -> Callable[[], Finding]:
    """The check; what Stripe does not let us find out is yellow."""

    def asking() -> Finding:
        try:
            return check()
        except PermissionDenied:
            return yellow("this restricted key may not ask", f"Look at it in {_DASHBOARD}.")
        except GatewayError as error:
            text = f"could not be asked ({error})"
            return yellow(text, f"Try again, or look at it in {_DASHBOARD}.")

    return asking


def _shown(settings: Settings) -> str:
    """The secret key as far as it may be shown."""
    return f"the key {settings.stripe_secret_key[:8]}… ({settings.mode})"


def _signing(settings: Settings) -> Finding:
    if settings.stripe_webhook_secrets:
        count = len(settings.stripe_webhook_secrets)
        one = "a signing secret is" if count == 1 else f"{count} signing secrets are"
        return green(f"{one} set; whether it is the webhook's, Stripe does not tell")
    return red(
        "STRIPE_WEBHOOK_SECRET is not set: every event is refused",
        "Set it to the endpoint's signing secret; flask stripe register-webhook prints one.",
    )


def _clock(ahead: float | None) -> Finding:
    if ahead is None:
        return yellow("Stripe's could not be asked for", "Have it set by the network (NTP).")
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} Stripe's"
    if abs(ahead) >= _CLOCK_WRONG:
        return red(f"{text}: webhooks are refused", "Have it set by the network (NTP).")
    if abs(ahead) >= _CLOCK_OFF:
        return yellow(text, "Have it set by the network (NTP).")
    return green("goes with Stripe's")


def _account(settings: Settings, account: Account) -> Finding:
    found = account.status()
    finish = f"Finish it in {_DASHBOARD}/account/onboarding."
    if found.charges_enabled and not found.due:
        return green("it may charge, and Stripe wants to know nothing more")
    if found.charges_enabled:
        text = f"it may charge, but Stripe still wants to know {', '.join(found.due[:3])}"
        return yellow(text, finish)
    text = "it may not charge yet" if found.details_submitted else "its details are not complete"
    if found.disabled_reason:
        text += f" ({found.disabled_reason})"
    return red(text, finish) if settings.livemode else yellow(text, finish)


def _webhook(settings: Settings, account: Account, events: Sequence[str]) -> Finding:
    url = webhook_url(settings)
    ours = [one for one in account.endpoints() if one.url.rstrip("/") == url]
    if not ours:
        return _unregistered(settings, url)
    enabled = [one for one in ours if one.status == "enabled"]
    if not enabled:
        return red(f"{ours[0].id} is {ours[0].status}: Stripe sends nothing", REGISTER)
    best = min(enabled, key=lambda one: (len(one.misses(events)), one.api_version != API_VERSION))
    missing = best.misses(events)
    if missing:
        return red(f"{best.id} is not told of {', '.join(missing)}", REGISTER)
    if best.api_version != API_VERSION and not settings.sandbox:
        return _of_another_version(best)
    if len(enabled) > 1:
        return yellow(
            f"{len(enabled)} endpoints have this address: each event comes as often",
            f"When a secret has been rolled, delete the old one in {_DASHBOARD}/webhooks.",
        )
    return green(f"{best.id} is told of everything at {url}")


def _unregistered(settings: Settings, url: str) -> Finding:
    text = f"no endpoint at Stripe has the address {url}"
    if not settings.livemode and urlsplit(url).hostname in LOOPBACK:
        return yellow(text, f"On a laptop: stripe listen --forward-to {url}")
    return red(text, REGISTER)


def _of_another_version(endpoint: WebhookEndpoint) -> Finding:
    version = endpoint.api_version or "the account's default version"
    return yellow(
        f"{endpoint.id} speaks {version}, not {API_VERSION}: each event costs a call to Stripe",
        "A version cannot be changed: flask stripe register-webhook --roll makes another endpoint.",
    )


def _methods(shop: Shop, account: Account) -> Finding:
    on = account.payment_methods()
    switch = f"Switch some on in {_DASHBOARD}/settings/payment_methods."
    if not on:
        return red("none is switched on", switch)
    usable = {currency: _usable(on, currency) for currency in _currencies(shop)}
    without = [currency for currency, methods in usable.items() if not methods]
    if without:
        return red(f"none takes {', '.join(without)}", switch)
    told = "; ".join(f"{currency}: {', '.join(methods)}" for currency, methods in usable.items())
    if "card" not in on:
        return yellow(f"cards are off. {told}", switch)
    return green(told or ", ".join(on))


def _usable(on: Sequence[str], currency: str) -> list[str]:
    return [name for name in on if currency in _TAKES_ONLY.get(name, {currency})]


def _currencies(shop: Shop) -> list[str]:
    """The currencies of what is on sale; none when the database cannot say."""
    query = select(Event.currency).where(
        Event.status == EventStatus.PUBLISHED, Event.ends_at > shop.clock.now()
    )
    try:
        with shop.db.reading() as session:
            return sorted(session.scalars(query.distinct()))
    except SQLAlchemyError:
        return []


def _fraud(shop: Shop, account: Account) -> Finding:
    since = int(shop.clock.now().timestamp()) - _WARNED_DAYS * 86400
    count = account.fraud_warnings(since)
    if count:
        return yellow(
            f"banks warn of {count} payments of the last {_WARNED_DAYS} days",
            f"Consider refunding them before they are disputed: {_DASHBOARD}/radar",
        )
    return green(f"no bank warns of a payment; Radar's rules are told only in {_DASHBOARD}/radar")
