"""Each mode and Stripe account has a database of its own, and shared ones are kept apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from tests.shopfront import Shopfront
from tmt.catalog import listing
from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderStatus
from tmt.config import InvalidSettings
from tmt.core import outbox
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.errors import NotFound
from tmt.gateway.accounts import remember_account
from tmt.gateway.errors import StripeUnreachable
from tmt.operations.own_database import foreign_orders, own_database
from tmt.payments.event_changes import cancel_event, consequences
from tmt.payments.refunds import ForeignOrder, issue_refund

OTHER = "live:acct_other"


class Stripe:
    """Says one account's id, or nothing; counts how often it was asked."""

    def __init__(self, account: str | None) -> None:
        self.account, self.calls = account, 0

    def id(self) -> str:
        self.calls += 1
        if self.account is None:
            raise StripeUnreachable("no answer")
        return self.account


def chosen(folder: Path, mode: str, stripe: Stripe, key: str = "k") -> Any:
    settings = SimpleNamespace(
        mode=mode, instance=folder, database_url="", stripe_api_base="", stripe_secret_key=key
    )
    return own_database(settings, stripe)  # type: ignore[arg-type]


def test_a_mode_and_account_has_a_file_which_a_rolled_key_finds(
    sqlite_url: str, tmp_path: Path
) -> None:
    assert chosen(tmp_path / "new", "sandbox", Stripe(None)).url.endswith("/tmt-sandbox.sqlite")
    folder = tmp_path / "instance"
    folder.mkdir()
    first = chosen(folder, "live", Stripe("acct_1"))
    assert (first.account, Path(first.url).name) == ("live:acct_1", "tmt-live-acct_1.sqlite")
    Path(sqlite_url.removeprefix("sqlite:///")).rename(folder / "tmt-live-acct_1.sqlite")
    db = Database(first.url)
    db.transaction(lambda session: remember_account(session, "k", first.account, Clock().now()))
    db.close()
    silent = Stripe(None)
    assert (chosen(folder, "live", silent), silent.calls) == (first, 0)
    assert chosen(folder, "live", Stripe("acct_1"), "rolled") == first
    assert chosen(folder, "test", Stripe("acct_1")).url != first.url
    assert chosen(folder, "live", Stripe("acct_2"), "other").url != first.url
    assert Path(chosen(folder, "live", Stripe(""), "restricted").url).name == "tmt-live.sqlite"
    with pytest.raises(InvalidSettings, match="does not say which account"):
        chosen(folder, "live", silent, "new")


@pytest.mark.parametrize(
    ("orders", "slugs", "in_sandbox", "owners"),
    [
        ([1, 0], ["own"], True, {"live"}),
        ([0], ["own"], True, {"sandbox"}),
        ([0], ["own"], False, {"test"}),
        ([], ["own"], True, {"test", "live"}),
        ([], ["kumo-quartet-tokyo"], True, {"sandbox"}),
    ],
)
def test_the_file_of_before_goes_to_the_mode_whose_rows_it_holds(
    tmp_path: Path, orders: list[int], slugs: list[str], in_sandbox: bool, owners: set[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "tmt.sqlite")) as old:
        # As revision 0003 had them, as far as it is read.
        old.execute("CREATE TABLE orders (livemode BOOLEAN)")
        old.executemany("INSERT INTO orders VALUES (?)", [(live,) for live in orders])
        old.execute("CREATE TABLE events (slug TEXT)")
        old.executemany("INSERT INTO events VALUES (?)", [(slug,) for slug in slugs])
        old.execute("CREATE TABLE payments (payment_intent_id TEXT)")
        old.execute("INSERT INTO payments VALUES ('pi_1')")
        old.commit()
    with closing(sqlite3.connect(tmp_path / "sandbox.sqlite")) as store:
        store.execute("CREATE TABLE objects (id TEXT)")
        store.execute("INSERT INTO objects VALUES (?)", ["pi_1" if in_sandbox else "pi_2"])
        store.commit()
    for mode in ("sandbox", "test", "live"):
        found = chosen(tmp_path, mode, Stripe("acct_1"))
        assert (Path(found.url).name == "tmt.sqlite") == (mode in owners), mode
        assert bool(found.note) == (mode in owners)


def give_away(front: Shopfront, order: Order, account: str = OTHER) -> None:
    """Has the order be one of another mode or account."""
    values = {"account": account, "livemode": account.startswith("live:")}
    front.shop.db.transaction(
        lambda session: session.execute(update(Order).where(Order.id == order.id).values(values))
    )


@pytest.mark.parametrize(("account", "hours"), [("test:acct_other", 1), (OTHER, 24)])
def test_a_hold_of_other_keys_ends_and_a_late_payment_is_settled(
    shopfront: Shopfront, account: str, hours: int
) -> None:
    front, buyer = shopfront, shopfront.buyer()
    front.shop.db.account = "test:acct_own"
    order = buyer.reserve(2)
    intent = buyer.open_pay_page(order)
    give_away(front, order, account)
    front.clock.move(minutes=15 + hours * 60 - 1)
    front.run_jobs()
    assert front.order(order.token).status == OrderStatus.HELD
    assert [str(one) for one in read_foreign(front)] == [
        f"1 orders of {account} for '{front.event.slug}', with 2 places held and 0 sold"
    ]
    front.clock.move(minutes=2)
    front.run_jobs()
    assert (front.order(order.token).status, front.stock()) == (OrderStatus.EXPIRED, (0, 0))
    assert front.stripe.v1.payment_intents.retrieve(intent).status == "requires_payment_method"
    # Its own keys are back: nobody can pay any more what was left open.
    give_away(front, order, "test:acct_own")
    front.run_jobs()
    assert front.stripe.v1.payment_intents.retrieve(intent).status == "canceled"


def read_foreign(front: Shopfront) -> Any:
    with front.shop.db.reading() as session:
        return foreign_orders(session)


def test_rows_of_other_keys_wait_and_their_orders_are_neither_charged_nor_refunded(
    shopfront: Shopfront,
) -> None:
    front, db, now = shopfront, shopfront.shop.db, shopfront.clock.now()
    db.account = OTHER
    db.transaction(lambda s: outbox.put(s, "unheard_of", "key", {}, now))
    db.account = "test:acct_own"
    front.run_jobs()
    with db.reading() as session:
        assert [(row.account, row.attempts) for row in outbox.newest(session, 9, True)] == [
            (OTHER, 0)
        ]
    buyer = front.buyer()
    held, paid = front.buyer(email="eva@example.com").reserve(1), buyer.reserve(1)
    front.confirm(buyer.open_pay_page(paid))
    buyer.get(f"/orders/{paid.token}/return")
    for order in (held, paid):
        give_away(front, order)
    buyer.get(f"/orders/{held.token}/pay")
    assert front.payment(held).payment_intent_id is None
    with pytest.raises(ForeignOrder):
        issue_refund(front.shop, paid.code)


def test_a_reservation_of_other_keys_is_released_and_an_own_one_is_not(
    shopfront: Shopfront,
) -> None:
    front, order = shopfront, shopfront.buyer().reserve(2)
    front.shop.db.account = "test:acct_own"
    release = partial(front.app.test_cli_runner().invoke, args=["order", "release", order.code])
    assert "of the keys in use" in release(front.app.cli).output
    give_away(front, order)
    assert "nothing was done" in release(front.app.cli).output
    assert front.stock() == (2, 0)
    released = release(front.app.cli, args=["order", "release", order.code, "--yes"])
    assert released.exit_code == 0, released.output
    assert (front.order(order.token).status, front.stock()) == (OrderStatus.CANCELED, (0, 0))
    assert read_foreign(front) == []


def test_a_canceled_event_leaves_orders_of_other_keys_to_those(shopfront: Shopfront) -> None:
    front, own = shopfront, "test:acct_own"
    front.shop.db.account = own
    orders = []
    for _number in range(2):
        buyer = front.buyer()
        orders.append(buyer.reserve(1))
        front.confirm(buyer.open_pay_page(orders[-1]))
        buyer.get(f"/orders/{orders[-1].token}/return")
    give_away(front, orders[1])
    with front.shop.db.reading() as session:
        concerned = consequences(session, front.shop, front.event.id)
    assert (concerned.orders.total(), concerned.elsewhere) == (1, 1)
    cancel_event(front.shop, front.event.slug)
    for account, status in ((own, OrderStatus.PAID), (OTHER, OrderStatus.REFUNDED)):
        front.shop.db.account = account
        for _time in range(2):
            front.run_jobs()
        statuses = [front.order(order.token).status for order in orders]
        assert statuses == [OrderStatus.REFUNDED, status]


def test_demo_events_are_not_sold_for_real_money(shopfront: Shopfront) -> None:
    front, db = shopfront, shopfront.shop.db
    db.transaction(lambda session: session.execute(update(Event).values(demo=True)))
    with db.reading() as session:
        assert listing.find_event(session, front.event.slug)
    db.account = "live:acct_own"
    with db.reading() as session:
        assert listing.upcoming(session, front.clock.now(), few=1).cards == []
        assert listing.cities(session, front.clock.now()) == []
        with pytest.raises(NotFound):
            listing.find_event(session, front.event.slug)
