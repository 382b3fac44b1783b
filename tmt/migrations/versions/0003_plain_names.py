"""Names as the field uses them; one payment for an order, which nothing ever broke."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = (("notices", "operator_alerts"), ("marks", "cursors"))
_COLUMNS = (
    ("operator_alerts", "done_at", "resolved_at"),
    ("payments", "payment_intent", "payment_intent_id"),
    ("payments", "key_made_at", "key_created_at"),
    ("payments", "key_spent", "key_exhausted"),
    ("refunds", "refund", "stripe_id"),
    ("refunds", "key_made_at", "key_created_at"),
    ("refunds", "key_spent", "key_exhausted"),
    ("refunds", "changed_at", "updated_at"),
    ("disputes", "dispute", "stripe_id"),
    ("disputes", "changed_at", "updated_at"),
    ("order_transitions", "cause", "triggered_by"),
)
_OUTBOX_KINDS = (
    ("notice", "operator_alert"),
    ("on_its_way", "payment_processing"),
    ("bank_refused", "payment_failed"),
)
_CURSORS = (("events_read", "stripe_events"), ("reconciled_far_back", "full_reconcile"))
_ALERT_KINDS = (("gone_at_stripe", "missing_at_stripe"), ("refunded_elsewhere", "external_refund"))
_REFUND_REASONS = (("elsewhere", "external"), ("kept", "unused_payment"))


def upgrade() -> None:
    _refuse_second_payments()
    op.drop_index("ix_notices_order_id", table_name="notices")
    for old, new in _TABLES:
        op.rename_table(old, new)
    for table, old, new in _COLUMNS:
        # Both databases rename a column in place; Alembic would copy the table on SQLite.
        op.execute(sa.text(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}"))
    op.create_index("ix_operator_alerts_order_id", "operator_alerts", ["order_id"])
    op.drop_index("uq_payments_open", table_name="payments")
    op.drop_index("ix_payments_order_id", table_name="payments")
    op.create_index("ix_payments_order_id", "payments", ["order_id"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        # Room for statuses that Stripe may add; SQLite does not enforce the length.
        for table in ("payments", "refunds", "disputes"):
            op.alter_column(table, "status", type_=sa.String(64))
    _rename_values("outbox", "kind", _OUTBOX_KINDS)
    _rename_values("cursors", "name", _CURSORS)
    _rename_values("operator_alerts", "kind", _ALERT_KINDS)
    # This kind is gone; the nearest one says the same of the money.
    _rename_values("operator_alerts", "kind", (("paid_twice", "amount_mismatch"),))
    _rename_values("refunds", "reason", _REFUND_REASONS)


def _refuse_second_payments() -> None:
    rows = sa.text("SELECT order_id FROM payments GROUP BY order_id HAVING count(*) > 1")
    doubled = op.get_bind().execute(rows).scalars().all()
    if doubled:
        raise RuntimeError(
            f"orders {doubled[:20]} have more than one payment, which the shop never creates: "
            "delete the rows that have no PaymentIntent, and run flask db upgrade again"
        )


def _rename_values(table: str, column: str, names: tuple[tuple[str, str], ...]) -> None:
    for old, new in names:
        values = sa.table(table, sa.column(column))
        op.execute(values.update().where(values.c[column] == old).values({column: new}))


def downgrade() -> None:
    for table, column, names in (
        ("refunds", "reason", _REFUND_REASONS),
        ("operator_alerts", "kind", _ALERT_KINDS),
        ("cursors", "name", _CURSORS),
        ("outbox", "kind", _OUTBOX_KINDS),
    ):
        _rename_values(table, column, tuple((new, old) for old, new in names))
    op.drop_index("ix_payments_order_id", table_name="payments")
    op.create_index("ix_payments_order_id", "payments", ["order_id"])
    is_open = sa.text("status NOT IN ('succeeded', 'canceled')")
    op.create_index(
        "uq_payments_open",
        "payments",
        ["order_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.drop_index("ix_operator_alerts_order_id", table_name="operator_alerts")
    for table, old, new in reversed(_COLUMNS):
        op.execute(sa.text(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}"))
    for old, new in reversed(_TABLES):
        op.rename_table(new, old)
    op.create_index("ix_notices_order_id", "notices", ["order_id"])
