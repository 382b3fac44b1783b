"""Changes of events that buyers hear of; stable keys of ticket types; online events."""

import re
import unicodedata
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NO = sa.false()


def upgrade() -> None:
    # One by one and with defaults: SQLite adds such a column in place, and need not copy the table.
    op.add_column("events", sa.Column("online", sa.Boolean(), nullable=False, server_default=_NO))
    op.add_column("events", sa.Column("sequence", sa.Integer(), nullable=False, server_default="0"))
    # Calendar files of canceled events had this sequence already.
    op.execute(sa.text("UPDATE events SET sequence = 1 WHERE status = 'canceled'"))
    key = sa.Column("key", sa.String(length=80), nullable=False, server_default="")
    op.add_column("ticket_types", key)
    _fill_keys()
    op.create_index("uq_ticket_types_key", "ticket_types", ["event_id", "key"], unique=True)
    op.create_table(
        "event_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("with_mail", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.Column("last_order", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_event_changes_event_id", "event_changes", ["event_id"])


def _fill_keys() -> None:
    """Keys from the names, as an import without keys gives them."""
    types = sa.table("ticket_types", sa.column("id"), sa.column("event_id"), sa.column("name"))
    rows = op.get_bind().execute(sa.select(types).order_by(types.c.id)).all()
    taken: defaultdict[int, set[str]] = defaultdict(set)
    statement = sa.text("UPDATE ticket_types SET key = :key WHERE id = :id")
    for row in rows:
        plain = unicodedata.normalize("NFKD", row.name).encode("ascii", "ignore").decode().lower()
        stem = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "type"
        key = stem if stem not in taken[row.event_id] else f"{stem}-{row.id}"
        taken[row.event_id].add(key)
        op.get_bind().execute(statement, {"key": key, "id": row.id})


def downgrade() -> None:
    op.drop_index("ix_event_changes_event_id", table_name="event_changes")
    op.drop_table("event_changes")
    op.drop_index("uq_ticket_types_key", table_name="ticket_types")
    for table, column in (("ticket_types", "key"), ("events", "sequence"), ("events", "online")):
        # Both databases drop a column in place; Alembic would copy the table on SQLite.
        op.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
