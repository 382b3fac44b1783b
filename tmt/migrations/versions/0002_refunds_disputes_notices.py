"""Refunds in parts, disputes, notices; attempts that can take another key."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAMES = {"uq": "%(table_name)s_%(column_0_name)s_key"}


def upgrade() -> None:
    with op.batch_alter_table("payments") as batch:
        _add_attempt(batch)
        batch.add_column(_count("amount_received"))
        batch.add_column(sa.Column("received_currency", sa.String(length=3), nullable=True))
    with op.batch_alter_table("refunds", naming_convention=_NAMES) as batch:
        # One payment can be given back in several parts.
        batch.drop_constraint("refunds_payment_id_key", type_="unique")
        # Tickets can become void without money.
        batch.drop_constraint("amount_positive", type_="check")
        batch.create_check_constraint("amount_not_negative", "amount >= 0")
        _add_attempt(batch)
        batch.alter_column("reason", type_=sa.String(length=30), existing_type=sa.String(20))
        batch.add_column(sa.Column("failure_reason", sa.String(length=80), nullable=True))
        batch.add_column(sa.Column("tickets", sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(_moment("changed_at"))
        batch.create_index("ix_refunds_payment_id", ["payment_id"], unique=False)
    _fill()
    op.create_table(
        "disputes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("payment_id", sa.Integer(), nullable=False),
        sa.Column("dispute", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dispute"),
    )
    op.create_index("ix_disputes_payment_id", "disputes", ["payment_id"], unique=False)
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("order_id", sa.Integer(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_notices_order_id", "notices", ["order_id"], unique=False)
    op.create_table(
        "marks",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    for table in ("marks", "notices", "disputes"):
        op.drop_table(table)
    with op.batch_alter_table("refunds", naming_convention=_NAMES) as batch:
        batch.drop_index("ix_refunds_payment_id")
        for name in ("key_made_at", "key_spent", "params_hash"):
            batch.drop_column(name)
        for name in ("failure_reason", "tickets", "changed_at"):
            batch.drop_column(name)
        batch.create_unique_constraint("refunds_payment_id_key", ["payment_id"])
        batch.drop_constraint("amount_not_negative", type_="check")
        batch.create_check_constraint("amount_positive", "amount > 0")
    with op.batch_alter_table("payments") as batch:
        for name in ("key_made_at", "key_spent", "params_hash"):
            batch.drop_column(name)
        for name in ("amount_received", "received_currency"):
            batch.drop_column(name)


def _add_attempt(batch) -> None:
    batch.alter_column("idempotency_key", existing_type=sa.String(length=80), nullable=True)
    batch.add_column(_moment("key_made_at"))
    batch.add_column(
        sa.Column("key_spent", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    batch.add_column(sa.Column("params_hash", sa.String(length=64), nullable=True))


def _moment(name: str) -> sa.Column:
    # Filled from created_at below; the constant only stands in until then.
    moment = sa.DateTime(timezone=True)
    return sa.Column(name, moment, nullable=False, server_default="2026-01-01 00:00:00")


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _fill() -> None:
    op.execute("UPDATE payments SET key_made_at = created_at")
    op.execute("UPDATE refunds SET key_made_at = created_at, changed_at = created_at")
    op.execute(
        "UPDATE payments SET amount_received = amount, received_currency = currency"
        " WHERE status = 'succeeded'"
    )
