"""Where customers come from, and when they are deleted."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from alembic import command
from sqlalchemy import select, text, update

from tests.core.test_migrations import OLD_ROWS, empty_db, migrate_to  # noqa: F401
from tests.customers.flows import ask_for_link, signed_in
from tmt.catalog.models import Event
from tmt.customers.models import Customer

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_ORDER = """
INSERT INTO orders (id, code, token, checkout_token, event_id, status, name, email, email_key,
    locale, total, currency, livemode, created_at, expires_at, extensions)
  SELECT :id, :code, :code, :code, event_id, status, :name, :email, :key, locale, total,
    currency, livemode, created_at, expires_at, extensions FROM orders WHERE id = 1
"""


def test_addresses_that_had_ordered_are_customers(empty_db):  # noqa: F811
    migrate_to(empty_db, "0002")
    with empty_db.engine.execution_options(tmt_writes=True).begin() as connection:
        for statement in OLD_ROWS.split(";\n")[:3]:
            used = {n: v for n, v in {"now": NOW, "no": False}.items() if f":{n}" in statement}
            connection.execute(text(statement), used)
        for number, (name, email) in enumerate(
            [("Ana B", "A@example.com"), ("", ""), ("Eva", "eva@example.com")], 2
        ):
            row = {"id": number, "code": f"CODE{number}", "name": name}
            row |= {"email": email, "key": email.lower()}
            connection.execute(text(_ORDER), row)
    migrate_to(empty_db, "head")
    query = text(
        "SELECT o.id, c.email, c.name FROM orders o LEFT JOIN customers c"
        " ON c.id = o.customer_id ORDER BY o.id"
    )
    with empty_db.engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(query)] == [
            (1, "A@example.com", "Ana B"),
            (2, "A@example.com", "Ana B"),
            (3, None, None),
            (4, "eva@example.com", "Eva"),
        ]
    migrate_to(empty_db, "0010", command.downgrade)
    with empty_db.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM orders")).scalar() == 4


def emails(front) -> list[str]:
    with front.shop.db.reading() as session:
        return list(session.scalars(select(Customer.email).order_by(Customer.id)))


def test_customers_without_orders_go_by_age(shopfront):
    shopfront.buyer().reserve(1)
    shopfront.buyer(email="eva@example.com").reserve(1)
    shopfront.clock.move(days=40)
    shopfront.run_jobs()
    shopfront.clock.move(days=680)
    signed_in(shopfront, "eva@example.com")
    shopfront.clock.move(days=41)
    shopfront.shop.jobs.run("purge")
    # Both had their orders blanked; one has signed in since.
    assert emails(shopfront) == ["eva@example.com"]
    shopfront.clock.move(days=731)
    shopfront.shop.jobs.run("purge")
    assert emails(shopfront) == []


@pytest.mark.parametrize("with_order", [True, False])
def test_an_account_is_exported_and_erased(shopfront, with_order):
    front, tool = shopfront, shopfront.app.test_cli_runner()
    order = front.buyer().reserve(1)
    buyer = signed_in(front)
    buyer.email = "gift@example.com"
    gift = buyer.reserve(1)
    ask_for_link(front.buyer())
    exported = tool.invoke(args=["privacy", "export", "ANA@example.com"]).stdout
    assert [o["code"] for o in json.loads(exported)["orders"]] == [order.code, gift.code]
    assert json.loads(exported)["customer"]["name"] == "Ana Ejemplo"
    assert "token_hash" not in exported
    erase = ["privacy", "erase", "ana@example.com", "--yes"]
    assert tool.invoke(args=erase).exit_code == 1
    buyer.cancel(order)
    buyer.cancel(gift)
    over = update(Event).values(ends_at=front.clock.now())
    front.shop.db.transaction(lambda session: session.execute(over))
    if not with_order:
        shopfront.clock.move(days=700)
        signed_in(shopfront)
        shopfront.clock.move(days=40)
        shopfront.shop.jobs.run("purge")
        assert emails(front) == ["ana@example.com"]
    assert tool.invoke(args=erase).exit_code == 0
    assert emails(front) == []
    assert tool.invoke(args=erase).exit_code == 1
