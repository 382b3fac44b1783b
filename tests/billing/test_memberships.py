"""One open membership for a customer and plan family, whoever the customer becomes."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from tests.billing.members import add_member, add_plan
from tests.core.test_migrations import NOW, OLD_ROWS, empty_db, migrate_to  # noqa: F401
from tests.customers.test_lifetime import emails
from tmt.billing.memberships import memberships_of
from tmt.billing.models import Membership
from tmt.customers.accounts import find_by_email
from tmt.customers.email_change import change_at_once
from tmt.customers.views import move_owned
from tmt.gateway.types import SubscriptionStatus


@pytest.mark.parametrize("status", ["incomplete", "active", "past_due", "unpaid", "new_by_stripe"])
def test_a_customer_has_one_open_membership_of_a_family(shopfront, status):
    monthly, yearly = add_plan(shopfront), add_plan(shopfront, "amigos-anual", interval="year")
    other = add_plan(shopfront, "donantes", family="donantes")
    for over in ("incomplete_expired", "canceled"):
        add_member(shopfront, monthly, status=SubscriptionStatus(over))
    add_member(shopfront, yearly, status=SubscriptionStatus(status))
    with pytest.raises(IntegrityError):
        add_member(shopfront, monthly)
    add_member(shopfront, other)
    add_member(shopfront, monthly, "eva@example.com")


def test_who_takes_the_address_of_another_member_has_both_memberships(shopfront):
    front, plan = shopfront, add_plan(shopfront)
    own, moved = add_member(front, plan), add_member(front, plan, "eva@example.com")
    with front.shop.db.reading() as session:
        ana = find_by_email(session, "ana@example.com")
    with front.app.app_context():
        change_at_once(front.shop, ana.id, "eva@example.com", move_owned())
    with front.shop.db.reading() as session:
        families = {each.id: each.family for each in memberships_of(session, ana.id)}
    assert families == {own: "amigos", moved: f"amigos+{moved}"}
    front.clock.move(days=800)
    front.shop.jobs.run("purge")
    assert emails(front) == ["eva@example.com"]
    exported = front.app.test_cli_runner().invoke(args=["privacy", "export", "eva@example.com"])
    assert '"status": "active"' in exported.stdout


def test_orders_of_an_earlier_version_migrate_and_back(empty_db):  # noqa: F811
    migrate_to(empty_db, "0002")
    with empty_db.engine.execution_options(tmt_writes=True).begin() as connection:
        for statement in OLD_ROWS.split(";\n")[:3]:
            used = {n: v for n, v in {"now": NOW, "no": False}.items() if f":{n}" in statement}
            connection.execute(text(statement), used)
        line = (
            "INSERT INTO order_lines (order_id, ticket_type_id, name, unit_price, quantity,"
            " holders) VALUES (1, 1, 'General', 2000, 1, '[]')"
        )
        connection.execute(text(line))
    migrate_to(empty_db, "head")
    with empty_db.reading() as session:
        assert session.scalars(select(Membership)).all() == []
        rows = session.execute(text("SELECT unit_price, list_price FROM order_lines")).all()
        assert [tuple(row) for row in rows] == [(2000, None)]
    migrate_to(empty_db, "0011", command.downgrade)
    with empty_db.engine.connect() as connection:
        assert connection.execute(text("SELECT unit_price FROM order_lines")).scalar() == 2000
