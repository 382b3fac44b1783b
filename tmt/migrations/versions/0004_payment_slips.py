"""The slip of a payment that the buyer makes elsewhere; attempts and versions of payments."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNTERS = ("version", "attempt")
_COLUMNS = {
    "payment_method_id": sa.String(255),
    "next_action": sa.String(64),
    "slip_type": sa.String(64),
    "slip_url": sa.String(2000),
    "slip_expires_at": sa.DateTime(timezone=True),
}


def upgrade() -> None:
    for name in _COUNTERS:
        op.add_column("payments", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    for name, kind in _COLUMNS.items():
        op.add_column("payments", sa.Column(name, kind))


def downgrade() -> None:
    for name in (*_COLUMNS, *_COUNTERS):
        op.drop_column("payments", name)
