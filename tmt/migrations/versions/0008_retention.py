"""Which job runs where, and which processes run jobs; alerts without an order."""

import sqlalchemy as sa
from alembic import op

from tmt.core.database import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_runs",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("holder", sa.String(160), nullable=True),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        sa.Column("repeat", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", UtcDateTime(), nullable=True),
        sa.Column("rests_until", UtcDateTime(), nullable=True),
    )
    op.create_table(
        "job_workers",
        sa.Column("name", sa.String(160), primary_key=True),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
    )
    with op.batch_alter_table("operator_alerts") as alerts:
        alerts.alter_column("order_id", existing_type=sa.Integer(), nullable=True)


def downgrade() -> None:
    op.drop_table("job_workers")
    op.drop_table("job_runs")
