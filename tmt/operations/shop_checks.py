"""Checks of the shop itself: settings, mail, database, disk, jobs, and what piles up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.checkout.orders import own_orders
from tmt.config import Settings
from tmt.core.addresses import is_local
from tmt.core.limits import Limits
from tmt.core.mail_transport import MailUnavailable, Transport
from tmt.environment import unknown_settings
from tmt.gateway.inbox import InboxRow
from tmt.operations import health, own_database
from tmt.operations.doctor import Finding, Level, green, red, run_checks, yellow
from tmt.operations.public_address import check_public_address
from tmt.payments import alerts, card_testing, refusals
from tmt.payments.models import Payment
from tmt.shop import Shop
from tmt.tickets.fonts import letters_of

_MIN_SECRET_LENGTH, _MIN_DIFFERENT_CHARACTERS = 32, 10
_MAX_HEARTBEAT_AGE = timedelta(minutes=3)
_DAY = timedelta(days=1)
# Stripe sends the event of a payment within seconds; one that was stored later than this after
# it was created is one that the shop had to ask for.
_MAX_EVENT_DELAY = timedelta(minutes=1)
# Only so many of the newest payments are looked at.
_MAX_PAYMENTS = 200


def run_shop_checks(
    shop: Shop, transport: Transport, limits: Limits
) -> Iterator[tuple[str, Finding]]:
    """Everything about the shop that can be checked without Stripe."""
    settings = shop.settings
    yield from run_checks(
        [
            ("mode", partial(_mode, settings)),
            ("settings", _settings),
            ("secret key", partial(_secret_key, settings)),
            ("address", partial(_address, settings)),
            ("proxies", partial(_proxies, settings)),
            ("metrics", partial(_metrics, settings)),
            ("mail", partial(_mail, settings, transport)),
            ("organiser", partial(_organiser, settings)),
            ("limits", partial(_limits, settings, limits)),
            ("JSON endpoints", partial(_json_endpoints, settings)),
            ("disk", partial(_disk, shop)),
        ]
    )
    database = _database(shop)
    yield "database", database
    if database.level != Level.RED:
        yield from run_checks(
            [
                ("modes", partial(_modes, shop)),
                ("jobs", partial(_jobs, shop)),
                *((name, partial(_queue, shop, name)) for name in health.QUEUES),
                ("refusals", partial(_refusals, shop)),
                ("alerts", partial(_alerts, shop)),
                ("declines", partial(_declines, shop)),
                ("deliveries", partial(_deliveries, shop)),
                ("letters", partial(_letters, shop)),
            ]
        )


def _mode(settings: Settings) -> Finding:
    if settings.sandbox:
        return green("sandbox: a local stand-in answers for Stripe, no real charges")
    if settings.stripe_api_base:
        return green(f"test: {settings.stripe_api_base} answers for Stripe, no real charges")
    return green("live: real money" if settings.livemode else "test: Stripe's test mode")


def _settings() -> Finding:
    unknown = unknown_settings()
    if unknown:
        return yellow("; ".join(unknown), "Correct or remove it.")
    return green("no variable is misspelt")


def _modes(shop: Shop) -> Finding:
    """Whether the database is this mode's and account's alone."""
    with shop.db.reading() as session:
        foreign = [str(orders) for orders in own_database.foreign_orders(session)]
        if rows := own_database.foreign_rows(session):
            foreign.append(f"{rows} mails and refunds that wait for other keys")
    if foreign:
        to_do = "Give each mode a database of its own: unset DATABASE_URL, or name another one."
        return yellow(f"the database also has {'; '.join(foreign)}", to_do)
    return green("the database is this mode's and account's alone")


def _secret_key(settings: Settings) -> Finding:
    key = settings.secret_key
    if len(key) >= _MIN_SECRET_LENGTH and len(set(key)) >= _MIN_DIFFERENT_CHARACTERS:
        return green("SECRET_KEY is long enough")
    command = 'python -c "import secrets; print(secrets.token_hex(32))"'
    return yellow("SECRET_KEY is short or easy to guess", f"Set it to what this prints: {command}")


def _address(settings: Settings) -> Finding:
    if settings.base_url.startswith("https://"):
        return green(settings.base_url)
    if settings.sandbox and is_local(urlsplit(settings.base_url).hostname):
        return green(f"{settings.base_url}, for this machine only")
    return yellow(
        f"{settings.base_url} is not encrypted",
        "Put a proxy with a certificate in front and set TMT_BASE_URL to its https:// address.",
    )


def _proxies(settings: Settings) -> Finding:
    if is_local(urlsplit(settings.base_url).hostname):
        return green(f"{settings.trusted_proxies} proxies in front of the shop are trusted")
    return check_public_address(settings)


def _metrics(settings: Settings) -> Finding:
    if settings.metrics_token:
        return green("/metrics answers who has TMT_METRICS_TOKEN")
    if is_local(urlsplit(settings.base_url).hostname):
        return green("/metrics answers this machine")
    return green("/metrics is closed; TMT_METRICS_TOKEN opens it")


def _mail(settings: Settings, transport: Transport) -> Finding:
    try:
        transport.check()
    except MailUnavailable as error:
        return red(str(error), "Emails wait in the outbox in the meantime: none is lost.")
    if settings.sandbox or not settings.mail_server:
        return green(f"emails are written to {settings.mail_folder} and not sent")
    server = f"{settings.mail_server}:{settings.mail_port}"
    if not settings.mail_sender:
        return yellow(
            f"{server} accepts emails, but they come from tickets@localhost",
            "Set MAIL_DEFAULT_SENDER, such as: Teatro Central <entradas@example.org>",
        )
    login = "accepts the login" if settings.mail_username else "answers; no login is set"
    return green(f"{server} {login}")


def _organiser(settings: Settings) -> Finding:
    if settings.organiser_email:
        return green("TMT_ORGANISER_EMAIL gets every alert")
    return yellow(
        "nobody gets an email about disputes, failed refunds and other alerts",
        "Set TMT_ORGANISER_EMAIL; until then, check flask alerts list.",
    )


def _limits(settings: Settings, limits: Limits) -> Finding:
    if limits.works():
        return green("counted in Redis" if settings.limits_url else "counted on this machine")
    return red(
        "cannot be counted: nothing stops card testing",
        f"Look at {'TMT_LIMITS_URL' if settings.limits_url else settings.instance}.",
    )


def _json_endpoints(settings: Settings) -> Finding:
    if settings.api == "off":
        return green("TMT_API is off: no program can create payments")
    if settings.api_token:
        return green("only who has TMT_API_TOKEN can call them")
    if not settings.livemode:
        return green("anybody can call them, and no real money is charged")
    return yellow(
        "anybody can create payments, and try stolen cards with them",
        "Set TMT_API=off if no program calls them, else TMT_API_TOKEN; see also TMT_API_FLOOR.",
    )


def _disk(shop: Shop) -> Finding:
    status = health.disk_status(shop)
    if status == "ok":
        return green(f"enough free space in {shop.settings.instance}")
    return red(status, f"Free some disk space for {shop.settings.instance}.")


def _database(shop: Shop) -> Finding:
    upgrade = "Run flask db upgrade."
    file = shop.db.engine.url.database
    if shop.db.is_sqlite and not Path(str(file)).exists():
        return red("there is no database yet", f"{upgrade} flask run does it by itself.")
    try:
        status = health.database_status(shop)
    except SQLAlchemyError as error:
        return red(f"does not answer ({type(error).__name__})", "Look at DATABASE_URL.")
    if status != "ok":
        return red(status, upgrade)
    if not shop.db.is_sqlite:
        return green("PostgreSQL, with the newest schema")
    if shop.settings.jobs_url or shop.settings.limits_url:
        return yellow(
            "SQLite, which only one machine can use, but TMT_JOBS_URL or TMT_LIMITS_URL is set",
            "For several machines set DATABASE_URL to a PostgreSQL database.",
        )
    return green("SQLite, for one machine, with the newest schema")


def _jobs(shop: Shop) -> Finding:
    start = "Start flask jobs; under flask run they are part of the server."
    last = health.last_heartbeat(shop)
    if last is None:
        return red("never ran", start)
    if shop.clock.now() - last > _MAX_HEARTBEAT_AGE:
        return red(f"no sign of life since {last:%Y-%m-%d %H:%M} UTC", start)
    if silent := health.silent_workers(shop):
        names = ", ".join(f"{w.name} since {w.seen_at:%Y-%m-%d %H:%M} UTC" for w in silent)
        to_do = "Start it again if it is missed; it is forgotten after a day."
        return yellow(f"running, but no sign of life of {names}", to_do)
    return green("running")


def _queue(shop: Shop, name: str) -> Finding:
    look = f"Look at flask {name} list --open."
    stop, problem = health.queue_status(shop, name)
    if stop != "ok":
        return red(stop, "Start flask jobs.")
    if "wait for a person" in problem:
        return red(problem, look)
    return yellow(problem, look) if problem else green("nothing is waiting")


def _refusals(shop: Shop) -> Finding:
    with shop.db.reading() as session:
        refused = refusals.open_refusals(session)
    if not refused:
        return green("Stripe accepts the shop's calls")
    newest = refused[-1]
    text, to_do = alerts.KINDS[newest.kind]
    if reason := newest.details.get("reason"):
        text += f" It says: {reason}"
    return red(text, to_do)


def _alerts(shop: Shop) -> Finding:
    with shop.db.reading() as session:
        count = len(alerts.open_alerts(session))
    if count:
        return yellow(f"{count} need attention", "Look at flask alerts list.")
    return green("no open alerts")


def _declines(shop: Shop) -> Finding:
    with shop.db.reading() as session:
        outcomes = card_testing.outcomes_last_hour(session, shop.clock.now())
    text = f"{outcomes.failed} payments failed and {outcomes.succeeded} succeeded in the last hour"
    if card_testing.exceeds_alert_threshold(shop, outcomes):
        to_do = "Somebody may be testing stolen cards: look at the payments in Stripe's dashboard."
        return red(text, to_do)
    return green(text)


def _deliveries(shop: Shop) -> Finding:
    """Whether Stripe's webhook reports payments, or the shop has to ask for them."""
    now = shop.clock.now()
    # The newest payments are left out: their events may still arrive.
    recent = (
        select(Payment.payment_intent_id)
        .join(Order, Order.id == Payment.order_id)
        .where(Payment.succeeded_at.between(now - _DAY, now - health.STALE_AFTER))
        .where(own_orders(shop.db.account), Payment.payment_intent_id.is_not(None))
        .order_by(Payment.id.desc())
        .limit(_MAX_PAYMENTS)
    )
    with shop.db.reading() as session:
        paid = session.scalars(recent).all()
        events = session.execute(
            select(InboxRow.object_id, InboxRow.stripe_created, InboxRow.created_at).where(
                InboxRow.object_id.in_(paid), InboxRow.type == card_testing.SUCCEEDED_EVENT
            )
        ).all()
    reported = len(
        {payment for payment, created, stored in events if stored - created <= _MAX_EVENT_DELAY}
    )
    missed = len(paid) - reported
    if not missed:
        return green(f"Stripe sent the event of each payment of the last day ({reported})")
    text = f"Stripe sent the events of {reported} of {len(paid)} payments of the last day"
    to_do = "Look at the webhook below, and at its deliveries in Stripe's dashboard."
    return red(text, to_do) if missed * 2 > len(paid) else yellow(text, to_do)


def _letters(shop: Shop) -> Finding:
    """Whether PDF tickets can have every letter of the events to come and of the newest orders."""
    shown = select(Event.title, Event.venue, Event.address, Event.city, TicketType.name)
    upcoming = shown.join(TicketType).where(Event.ends_at > shop.clock.now())
    buyers = select(Order.name).order_by(Order.id.desc()).limit(_MAX_PAYMENTS)
    with shop.db.reading() as session:
        rows = [*session.execute(upcoming), *session.execute(buyers)]
    missing = letters_of([shop.settings.shop_name, *(text for row in rows for text in row)]).missing
    if not missing:
        return green("PDF tickets have every letter of the events and of the newest orders")
    packages = " ".join(sorted({script.package for script in missing} - {""}))
    text = f"PDF tickets lack letters: {', '.join(script.script for script in missing)}"
    install = f"Install the fonts, on Debian and Ubuntu: apt install {packages}."
    return yellow(text, install if packages else "Install a font that has them.")
