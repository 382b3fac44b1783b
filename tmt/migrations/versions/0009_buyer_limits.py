"""What a buyer may hold and buy: keys of orders, limits of events, PaymentIntents of programs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in a batch: that would copy the table, to which others refer, on SQLite.
    op.add_column("events", sa.Column("max_per_buyer", sa.Integer(), nullable=True))
    confirm_email = sa.Column(
        "confirm_email", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("events", confirm_email)
    op.create_table(
        "order_keys",
        sa.Column("order_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("tickets", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"]),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        sa.PrimaryKeyConstraint("order_id", "key"),
    )
    op.create_index("ix_order_keys_key", "order_keys", ["key", "event_id", "created_at"])
    op.create_index("ix_order_keys_event_id", "order_keys", ["event_id"])
    op.create_table(
        "api_payment_intents",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("api_payment_intents")
    op.drop_table("order_keys")
    op.drop_column("events", "confirm_email")
    op.drop_column("events", "max_per_buyer")
