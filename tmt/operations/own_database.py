"""Which database is this mode's and Stripe account's, and what in it belongs to others.

Without DATABASE_URL each mode and account has a file of its own, so that no test order takes a
real place: `tmt-sandbox.sqlite`, `tmt-test-acct_….sqlite`, `tmt-live-acct_….sqlite`. A file says
itself which keys were used with it; Stripe is asked for a key that no file knows. One
`tmt.sqlite` from before is used on by the mode whose orders it holds.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from sqlalchemy import ColumnElement, and_, func, not_, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tmt.catalog.import_export import DEMO
from tmt.catalog.models import Event, EventStatus
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.checkout.orders import own_orders
from tmt.config import InvalidSettings, Settings
from tmt.core.database import account_of, belongs_to
from tmt.core.outbox import OutboxRow
from tmt.gateway.account import Account
from tmt.gateway.accounts import fingerprint, known_account, remember_account
from tmt.gateway.errors import AuthenticationFailed, GatewayError
from tmt.shop import Shop

log = structlog.get_logger(__name__)

SANDBOX = "sandbox"
_LEGACY = "tmt.sqlite"
_MAX_LINES = 10


@dataclass(frozen=True)
class OwnDatabase:
    """The address of the database, the mode and account, and what to say about it at start."""

    url: str
    account: str
    note: str = ""


def own_database(settings: Settings, stripe: Account) -> OwnDatabase:
    """The database of these settings; asks Stripe only about a key that was never used here.

    Raises `InvalidSettings` when the account is not known and Stripe does not say it.
    """
    mode = settings.mode
    if settings.database_url:
        return OwnDatabase(settings.database_url, SANDBOX if mode == "sandbox" else f"{mode}:")
    account = SANDBOX
    if mode != "sandbox" and settings.stripe_api_base:
        # A stand-in for Stripe is its own account, which the address names.
        account = f"{mode}:{urlsplit(settings.stripe_api_base).netloc.replace(':', '-')}"
    elif mode != "sandbox":
        account = _account_in_files(settings) or f"{mode}:{_ask(stripe)}"
    name = account.rstrip(":").replace(":", "-")
    file, legacy = settings.instance / f"tmt-{name}.sqlite", settings.instance / _LEGACY
    if file.exists() or not legacy.exists() or not _is_legacy_of(legacy, account):
        return OwnDatabase(f"sqlite:///{file}", account)
    note = f"{legacy} is used, as before: its orders are of this mode ({account})"
    return OwnDatabase(f"sqlite:///{legacy}", account, note)


def learn_account(shop: Shop, stripe: Account | None) -> None:
    """Finds out which account the keys of a shop with a DATABASE_URL belong to, and stores it.

    From the database, or else from Stripe, if it is given and answers. Without an answer the mode
    alone is known. Never raises for the database or Stripe.
    """
    db, key = shop.db, shop.settings.stripe_secret_key
    if shop.settings.stripe_api_base and not shop.settings.sandbox:
        return
    with suppress(SQLAlchemyError):
        if db.account.endswith(":"):
            with db.reading() as session:
                db.account = known_account(session, key) or db.account
        if db.account.endswith(":") and stripe:
            with suppress(GatewayError):
                db.account += stripe.id()
        if stripe and not db.account.endswith(":"):
            now = shop.clock.now()
            db.transaction(lambda s: remember_account(s, key, db.account, now))


@dataclass(frozen=True)
class ForeignOrders:
    """Orders of another mode or account for one event, and how many places they take."""

    account: str
    event: str
    orders: int
    held: int
    sold: int

    def __str__(self) -> str:
        places = f"{self.held} places held and {self.sold} sold"
        return f"{self.orders} orders of {self.account} for '{self.event}', with {places}"


def foreign_orders(session: Session) -> Sequence[ForeignOrders]:
    """What the orders of others take of the stock that this mode sells, by event."""
    account = account_of(session)
    if not account:
        return []
    places = func.sum(OrderLine.quantity)
    is_held = Order.status.in_([status for status in OrderStatus if status.holds_stock])
    is_sold = Order.status == OrderStatus.PAID

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(places.filter(condition), 0)

    query = (
        select(
            Order.account,
            Order.livemode,
            Event.slug,
            func.count(Order.id.distinct()),
            count(is_held),
            count(is_sold),
        )
        .join(OrderLine, OrderLine.order_id == Order.id)
        .join(Event, Event.id == Order.event_id)
        .where(not_(own_orders(account)), or_(is_held, is_sold))
        .group_by(Order.account, Order.livemode, Event.id, Event.slug)
        .order_by(Order.livemode.desc(), Order.account, Event.slug)
        .limit(_MAX_LINES)
    )
    return [
        ForeignOrders(owner or ("live keys" if live else "test keys"), slug, *numbers)
        for owner, live, slug, *numbers in session.execute(query)
    ]


def foreign_rows(session: Session) -> int:
    """How many mails and refunds wait for the keys of another mode or account."""
    account = account_of(session)
    waiting = and_(OutboxRow.done_at.is_(None), not_(belongs_to(OutboxRow.account, account)))
    query = select(func.count()).select_from(OutboxRow).where(waiting)
    return session.scalar(query) or 0 if account else 0


def start_notes(shop: Shop) -> Iterator[str]:
    """What an operator should know when the shop starts: a sentence each."""
    settings = shop.settings
    if settings.mode != "sandbox" and not settings.stripe_webhook_secrets:
        yield (
            "STRIPE_WEBHOOK_SECRET is not set: Stripe's events are rejected, and a payment is"
            " noticed when its buyer comes back or the jobs ask Stripe (every 5 minutes)."
            " flask stripe register-webhook prints one, on a laptop: stripe listen"
        )
    is_live = settings.livemode
    with suppress(SQLAlchemyError), shop.db.reading() as session:
        on_sale = select(Event.id).where(
            Event.status == EventStatus.PUBLISHED, Event.ends_at > shop.clock.now()
        )
        own = on_sale.where(Event.demo.is_(False)) if is_live else on_sale
        if session.scalar(own.limit(1)) is None:
            yield "The catalogue has no event to sell. Import one: flask catalog import FILE."
        if is_live and session.scalar(on_sale.where(Event.demo).limit(1)):
            yield "The sandbox's demo events are in this database; they are not shown or sold."
        for foreign in foreign_orders(session):
            yield (
                f"This database also has {foreign}. Each mode should have a database of its own; a"
                " reservation ends with flask order release, a sale with flask refund and its keys."
            )
        if rows := foreign_rows(session):
            yield f"{rows} mails and refunds wait for the keys of another mode or account."


def _ask(stripe: Account) -> str:
    try:
        return stripe.id()
    except AuthenticationFailed:
        raise InvalidSettings(
            "Stripe rejects STRIPE_SECRET_KEY. Set it to a key of"
            " https://dashboard.stripe.com/apikeys that is not revoked."
        ) from None
    except GatewayError as error:
        raise InvalidSettings(
            f"Stripe does not say which account STRIPE_SECRET_KEY belongs to ({error.name}). It is"
            " asked once for each key, to find the account's database in TMT_INSTANCE: try again,"
            " or name the database in DATABASE_URL."
        ) from None


def _account_in_files(settings: Settings) -> str | None:
    """The account that a file of this folder knows for the key in use."""
    files = [*sorted(settings.instance.glob(f"tmt-{settings.mode}*.sqlite"))]
    for file in [*files, settings.instance / _LEGACY]:
        query = "SELECT account FROM stripe_accounts WHERE key_fingerprint = ?"
        rows = _rows(file, query, fingerprint(settings.stripe_secret_key))
        if rows and rows[0][0].startswith(f"{settings.mode}:"):
            return str(rows[0][0])
    return None


def _is_legacy_of(file: Path, account: str) -> bool:
    """Whether the one file that all modes used is this mode's: by its keys, else by its rows."""
    if accounts := [row[0] for row in _rows(file, "SELECT DISTINCT account FROM stripe_accounts")]:
        return account in accounts
    mode = account.partition(":")[0]
    modes = {bool(row[0]) for row in _rows(file, "SELECT DISTINCT livemode FROM orders")}
    if modes:
        if True in modes:
            return mode == "live"
        return mode == ("sandbox" if _is_sandbox_sale(file) else "test")
    # Nothing was ordered: with events of the organiser's own it is the first one's who asks.
    demo = set(re.findall(r"^\s*- slug: (\S+)", DEMO.read_text("utf-8"), re.MULTILINE))
    is_demo = {row[0] for row in _rows(file, "SELECT slug FROM events")} <= demo
    return (mode == "sandbox") == is_demo


def _is_sandbox_sale(file: Path) -> bool:
    """Whether the test payments in this file are the sandbox's."""
    store = file.with_name("sandbox.sqlite")
    for column in ("payment_intent_id", "payment_intent"):
        query = f"SELECT {column} FROM payments WHERE {column} IS NOT NULL LIMIT 1"  # noqa: S608
        for (payment_intent,) in _rows(file, query):
            return bool(_rows(store, "SELECT 1 FROM objects WHERE id = ?", payment_intent))
    return store.exists()


def _rows(file: Path, query: str, *values: str) -> list[tuple[str, ...]]:
    """The rows of a query that changes nothing; none for a file or table that is not there."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            return opened.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
