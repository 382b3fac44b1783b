"""The doctor's look at the shop itself: settings, mail, database, disk, jobs, what piles up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.config import Settings
from tmt.core import queued_rows
from tmt.core.limits import Limits
from tmt.core.mail_transport import MailUnavailable, Transport
from tmt.gateway.inbox import InboxRow
from tmt.operations import health
from tmt.operations.doctor import Check, Finding, Level, green, red, run_checks, yellow
from tmt.payments import alerts, card_testing
from tmt.payments.models import Payment
from tmt.shop import Shop

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LONG_SECRET, _FEW_CHARACTERS = 32, 10
_JOBS_RUN_EVERY = timedelta(minutes=3)
_DAY = timedelta(days=1)
# Stripe tells of a payment within seconds; what came later was asked for by the shop itself.
_AT_ONCE = timedelta(minutes=1)
_MOST = 200


def run_shop_checks(
    shop: Shop, transport: Transport, limits: Limits
) -> Iterator[tuple[str, Finding]]:
    """Everything about the shop that can be found out without Stripe."""
    settings = shop.settings
    yield from run_checks(
        [
            ("mode", partial(_mode, settings)),
            ("secret key", partial(_secret_key, settings)),
            ("address", partial(_address, settings)),
            ("proxies", partial(_proxies, settings)),
            ("mail", partial(_mail, settings, transport)),
            ("organiser", partial(_organiser, settings)),
            ("limits", partial(_limits, settings, limits)),
            ("disk", partial(_disk, shop)),
        ]
    )
    database = _database(shop)
    yield "database", database
    if database.level != Level.RED:
        yield from run_checks(_kept_checks(shop))


def _kept_checks(shop: Shop) -> list[Check]:
    queues: list[Check] = [
        (name, partial(_queue, shop, name, kind)) for name, kind in health.QUEUES.items()
    ]
    return [
        ("jobs", partial(_jobs, shop)),
        *queues,
        ("notices", partial(_notices, shop)),
        ("declines", partial(_declines, shop)),
        ("silence", partial(_silence, shop)),
    ]


def _mode(settings: Settings) -> Finding:
    if settings.sandbox:
        return green("sandbox: a local stand-in answers for Stripe, no real charges")
    if settings.stripe_api_base:
        return green(f"test: {settings.stripe_api_base} answers for Stripe, no real charges")
    return green("live: real money" if settings.livemode else "test: Stripe's test mode")


def _secret_key(settings: Settings) -> Finding:
    key = settings.secret_key
    if len(key) >= _LONG_SECRET and len(set(key)) >= _FEW_CHARACTERS:
        return green("SECRET_KEY is long enough")
    make = 'python -c "import secrets; print(secrets.token_hex(32))"'
    return yellow("SECRET_KEY is short or easy to guess", f"Set it to what this prints: {make}")


def _address(settings: Settings) -> Finding:
    if settings.base_url.startswith("https://"):
        return green(settings.base_url)
    if settings.sandbox and urlsplit(settings.base_url).hostname in LOOPBACK:
        return green(f"{settings.base_url}, for this machine only")
    return yellow(
        f"{settings.base_url} is not encrypted",
        "Put a proxy with a certificate in front and set TMT_BASE_URL to its https:// address.",
    )


def _proxies(settings: Settings) -> Finding:
    if settings.trusted_proxies or not settings.base_url.startswith("https://"):
        return green(f"{settings.trusted_proxies} in front are trusted to say who the client is")
    return yellow(
        "none is trusted, although something in front of the shop must serve https",
        "Set TMT_TRUSTED_PROXIES to their number: otherwise all buyers share one limit.",
    )


def _mail(settings: Settings, transport: Transport) -> Finding:
    try:
        transport.check()
    except MailUnavailable as error:
        return red(str(error), "Emails wait in the outbox in the meantime: none is lost.")
    if settings.sandbox or not settings.mail_server:
        return green(f"written to {settings.mail_folder}, as nothing is real here")
    where = f"{settings.mail_server}:{settings.mail_port}"
    if not settings.mail_sender:
        return yellow(
            f"{where} accepts emails, but they come from tickets@localhost",
            "Set MAIL_DEFAULT_SENDER, such as: Teatro Central <entradas@example.org>",
        )
    how = "takes the login" if settings.mail_username else "answers; no login is set"
    return green(f"{where} {how}")


def _organiser(settings: Settings) -> Finding:
    if settings.organiser_email:
        return green("TMT_ORGANISER_EMAIL gets notices that need attention")
    return yellow(
        "nobody is mailed about disputes, failed refunds and the like",
        "Set TMT_ORGANISER_EMAIL; until then look at flask alerts list.",
    )


def _limits(settings: Settings, limits: Limits) -> Finding:
    if limits.works():
        where = "in Redis" if settings.limits_url else "on this machine"
        return green(f"counted {where}")
    return red(
        "cannot be counted: nothing stops card testing",
        f"Look at {'TMT_LIMITS_URL' if settings.limits_url else settings.instance}.",
    )


def _disk(shop: Shop) -> Finding:
    told = health.disk(shop)
    if told == "ok":
        return green(f"enough free space in {shop.settings.instance}")
    return red(told, f"Free some disk space for {shop.settings.instance}.")


def _database(shop: Shop) -> Finding:
    upgrade = "Run flask db upgrade."
    file = shop.db.engine.url.database
    if shop.db.is_sqlite and not Path(str(file)).exists():
        return red("there is no database yet", f"{upgrade} flask run does it by itself.")
    try:
        told = health.database(shop)
    except SQLAlchemyError as error:
        return red(f"does not answer ({type(error).__name__})", "Look at DATABASE_URL.")
    if told != "ok":
        return red(told, upgrade)
    if not shop.db.is_sqlite:
        return green("PostgreSQL, with the newest schema")
    if shop.settings.jobs_url or shop.settings.limits_url:
        return yellow(
            "SQLite, which only one machine can use, beside TMT_JOBS_URL or TMT_LIMITS_URL",
            "For several machines set DATABASE_URL to a PostgreSQL.",
        )
    return green("SQLite, for one machine, with the newest schema")


def _jobs(shop: Shop) -> Finding:
    start = "Start flask jobs; under flask run they are part of the server."
    last = health.last_heartbeat(shop)
    if last is None:
        return red("never ran", start)
    since = shop.clock.now() - last
    if since > _JOBS_RUN_EVERY:
        return red(f"no sign of life since {last:%Y-%m-%d %H:%M} UTC", start)
    return green("at work")


def _queue(shop: Shop, name: str, kind: type[queued_rows.QueuedRow]) -> Finding:
    with shop.db.reading() as session:
        standing = queued_rows.backlog(session, kind, shop.clock.now())
    look = f"Look at flask {name} list --open."
    if standing.parked:
        return red(f"{standing.parked} rows failed too often and wait for a person", look)
    if standing.unclaimed > health.STALE_AFTER:
        return red(f"the oldest row has waited {standing.unclaimed}", "Start flask jobs.")
    if standing.failing:
        return yellow(f"{standing.failing} rows fail and will be retried", look)
    return green("nothing is waiting")


def _notices(shop: Shop) -> Finding:
    with shop.db.reading() as session:
        count = len(alerts.open_alerts(session))
    if count:
        return yellow(f"{count} wait for a person", "Look at flask alerts list.")
    return green("none is open")


def _declines(shop: Shop) -> Finding:
    with shop.db.reading() as session:
        outcomes = card_testing.outcomes_last_hour(session, shop.clock.now())
    told = f"{outcomes.failed} failed and {outcomes.succeeded} succeeded within the last hour"
    if card_testing.exceeds_alert_threshold(shop, outcomes):
        return red(
            told, "Somebody may be testing cards: look at the payments in Stripe's dashboard."
        )
    return green(told)


def _silence(shop: Shop) -> Finding:
    """Whether Stripe tells of payments, or the shop has to find them out by asking."""
    with shop.db.reading() as session:
        paid = _paid_lately(session, shop)
        told = _told_at_once(session, paid)
    silent = len(paid) - told
    if not silent:
        return green(f"Stripe told of each payment of the last day ({told})")
    text = f"Stripe told of {told} of {len(paid)} payments of the last day; the shop had to ask"
    to_do = "Look at the webhook below, and at its deliveries in Stripe's dashboard."
    return red(text, to_do) if silent * 2 > len(paid) else yellow(text, to_do)


def _paid_lately(session: Session, shop: Shop) -> list[str]:
    """The PaymentIntents of the last day, but for those that Stripe may still tell of."""
    now = shop.clock.now()
    query = (
        select(Payment.payment_intent_id)
        .join(Order, Order.id == Payment.order_id)
        .where(Payment.succeeded_at.between(now - _DAY, now - health.STALE_AFTER))
        .where(Order.livemode == shop.settings.livemode)
    )
    found = session.scalars(query.order_by(Payment.id.desc()).limit(_MOST))
    return [payment_intent for payment_intent in found if payment_intent]


def _told_at_once(session: Session, paid: list[str]) -> int:
    query = select(InboxRow.object_id, InboxRow.stripe_created, InboxRow.created_at).where(
        InboxRow.object_id.in_(paid), InboxRow.type == card_testing.SUCCEEDED_EVENT
    )
    rows = session.execute(query)
    return len({name for name, created, stored in rows if stored - created <= _AT_ONCE})
