"""Databases of earlier versions migrate, and the migrations lead to what the models describe."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from tests.conftest import DATABASES
from tmt.core import schema
from tmt.core.database import Base, Database
from tmt.core.outbox import OutboxRow
from tmt.payments.alerts import KINDS
from tmt.payments.balances import remaining
from tmt.payments.models import OperatorAlert, Payment, Refund

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

# A shop of revision 0002: an order paid and refunded in part, an alert, an open outbox row.
OLD_ROWS = """
INSERT INTO events (id, slug, title, description, venue, address, city, search_text, starts_at,
    ends_at, time_zone, language, currency, held, sold, max_per_order, status, updated_at)
  VALUES (1, 'old', 'L’Hòra', '', '', '', '', '', :now, :now, 'UTC', 'es', 'eur', 0, 1, 8,
    'published', :now);
INSERT INTO ticket_types (id, event_id, name, description, price, held, sold, position)
  VALUES (1, 1, 'General', '', 2000, 0, 1, 0);
INSERT INTO orders (id, code, token, checkout_token, event_id, status, name, email, email_key,
    locale, total, currency, livemode, created_at, expires_at, extensions)
  VALUES (1, 'ABCD2345', 'token', 'checkout', 1, 'paid', 'Ana', 'a@example.com', 'a@example.com',
    'es', 2000, 'eur', :no, :now, :now, 0);
INSERT INTO payments (id, order_id, payment_intent, status, amount, currency, amount_received,
    received_currency, created_at, idempotency_key, key_made_at, key_spent)
  VALUES (1, 1, 'pi_old', 'succeeded', 2000, 'eur', 2000, 'eur', :now, 'k1', :now, :no);
INSERT INTO refunds (id, payment_id, refund, status, reason, amount, currency, tickets,
    created_at, changed_at, key_made_at, key_spent)
  VALUES (1, 1, 're_old', 'succeeded', 'elsewhere', 500, 'eur', '[]', :now, :now, :now, :no);
INSERT INTO notices (id, key, kind, order_id, details, created_at)
  VALUES (1, 'refunded_elsewhere-re_old', 'refunded_elsewhere', 1, '{}', :now);
INSERT INTO outbox (id, kind, key, payload, created_at, due_at, attempts)
  VALUES (1, 'notice', 'notice-1', '{"key": "refunded_elsewhere-re_old"}', :now, :now, 0)
"""


@pytest.fixture(params=DATABASES)
def empty_db(request: pytest.FixtureRequest, tmp_path: Path):
    """A database without any table."""
    if request.param == "sqlite":
        (tmp_path / "old.sqlite").touch()
        url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    else:
        server = request.getfixturevalue("postgres")
        url = server.url(server.create())
    database = Database(url)
    yield database
    database.close()


def migrate_to(db: Database, revision: str, step=command.upgrade) -> None:
    with db.engine.execution_options(tmt_writes=True).begin() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        step(config, revision)


def test_a_database_of_the_last_version_keeps_its_rows(empty_db):
    migrate_to(empty_db, "0002")
    with empty_db.engine.execution_options(tmt_writes=True).begin() as connection:
        for statement in OLD_ROWS.split(";\n"):
            names = {"now": NOW, "no": False}
            used = {name: value for name, value in names.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    schema.migrate(empty_db)
    with empty_db.reading() as session:
        assert session.scalar(text("SELECT search_text FROM events")) == "lhora"
        payment = session.scalars(select(Payment)).one()
        assert (payment.payment_intent_id, payment.status) == ("pi_old", "succeeded")
        assert remaining(session, payment) == 1500
        refund = session.scalars(select(Refund)).one()
        assert (refund.stripe_id, refund.reason) == ("re_old", "external")
        alert = session.scalars(select(OperatorAlert)).one()
        assert alert.kind in KINDS
        assert alert.resolved_at is None
        assert session.scalars(select(OutboxRow.kind)).one() == "operator_alert"
    migrate_to(empty_db, "0002", command.downgrade)
    with empty_db.engine.connect() as connection:
        rows = connection.execute(text("SELECT payment_intent, key_spent FROM payments")).all()
        assert [(row[0], bool(row[1])) for row in rows] == [("pi_old", False)]


def test_the_migrations_lead_to_the_models(empty_db):
    schema.migrate(empty_db)
    with empty_db.engine.connect() as connection:
        # SQLite does not enforce the length of a text, so lengths are not migrated there.
        options = {"compare_type": not empty_db.is_sqlite}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
