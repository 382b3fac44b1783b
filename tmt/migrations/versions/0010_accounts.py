"""Orders and queued rows store their mode and Stripe account; demo events are marked as such."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = ("orders", "outbox", "stripe_events")
# The events of the demo as it was until now.
_DEMO = (
    "the-paper-lanterns-new-york",
    "noche-de-cal-madrid",
    "marea-electrica-ciudad-de-mexico",
    "kumo-quartet-tokyo",
    "domingo-de-vinilos-bogota",
    "harbour-lights-dublin",
    "gran-milonga-del-puerto-buenos-aires",
    "northern-line-brass-london",
    "feria-del-sintetizador-barcelona",
)


def upgrade() -> None:
    op.create_table(
        "stripe_accounts",
        sa.Column("key_fingerprint", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    for table in _TABLES:
        op.add_column(table, sa.Column("account", sa.String(80), nullable=True))
    op.add_column(
        "events", sa.Column("demo", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    events = sa.table(
        "events", sa.column("id", sa.Integer), sa.column("slug"), sa.column("demo", sa.Boolean)
    )
    orders = sa.table("orders", sa.column("event_id"), sa.column("livemode", sa.Boolean))
    # Whoever has sold one for real money has made it an event of theirs.
    is_sold = sa.exists().where(orders.c.event_id == events.c.id, orders.c.livemode.is_(sa.true()))
    op.execute(
        events.update().where(events.c.slug.in_(_DEMO), sa.not_(is_sold)).values(demo=sa.true())
    )


def downgrade() -> None:
    for table, column in (("events", "demo"), *((table, "account") for table in reversed(_TABLES))):
        # Both databases drop a column in place; Alembic would copy the table on SQLite.
        op.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
    op.drop_table("stripe_accounts")
