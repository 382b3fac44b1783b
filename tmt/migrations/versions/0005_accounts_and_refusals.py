"""The shop's identity at Stripe, alerts without an order, amounts beyond 32 bits."""

import hashlib
import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from tmt.core.database import UtcDateTime

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

_AMOUNTS = (
    ("ticket_types", "price"),
    ("orders", "total"),
    ("order_lines", "unit_price"),
    ("tickets", "price"),
    ("payments", "amount"),
    ("payments", "amount_received"),
    ("refunds", "amount"),
    ("disputes", "amount"),
)


def upgrade() -> None:
    _change_amounts(sa.BigInteger())
    op.add_column("payments", sa.Column("verified_at", UtcDateTime(), nullable=True))
    # What was paid before counts as verified: every payment would be read from Stripe otherwise.
    op.execute("UPDATE payments SET verified_at = succeeded_at")
    refundable = sa.Column(
        "is_charge_refundable", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("disputes", refundable)
    disputes = sa.table("disputes", sa.column("status"), sa.column("is_charge_refundable"))
    is_inquiry = disputes.c.status.startswith("warning_", autoescape=True)
    op.execute(disputes.update().where(is_inquiry).values(is_charge_refundable=True))
    with op.batch_alter_table("operator_alerts") as alerts:
        alerts.alter_column("order_id", existing_type=sa.Integer(), nullable=True)
    identity = op.create_table(
        "shop_identity",
        sa.Column("shop_id", sa.String(32), primary_key=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    orders = sa.table("orders", sa.column("id"), sa.column("token"), sa.column("created_at"))
    oldest = sa.select(orders.c.token).order_by(orders.c.id).limit(1)
    token = op.get_bind().execute(oldest).scalar()
    # By the first order, so that a backup which is migrated again gets the same one.
    shop_id = hashlib.sha256(token.encode()).hexdigest()[:32] if token else secrets.token_hex(16)
    op.bulk_insert(identity, [{"shop_id": shop_id, "created_at": datetime.now(UTC)}])


def downgrade() -> None:
    op.drop_table("shop_identity")
    op.execute("DELETE FROM operator_alerts WHERE order_id IS NULL")
    with op.batch_alter_table("operator_alerts") as alerts:
        alerts.alter_column("order_id", existing_type=sa.Integer(), nullable=False)
    op.drop_column("disputes", "is_charge_refundable")
    op.drop_column("payments", "verified_at")
    _change_amounts(sa.Integer())


def _change_amounts(kind: sa.types.TypeEngine[int]) -> None:
    # SQLite's integers have 64 bits in any case.
    if op.get_bind().dialect.name == "postgresql":
        for table, column in _AMOUNTS:
            op.alter_column(table, column, type_=kind)
