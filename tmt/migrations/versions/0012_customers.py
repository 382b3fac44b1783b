"""Customers, and which of them an order is of."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(254), nullable=False, unique=True),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("locale", sa.String(2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "companies",
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), primary_key=True),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("tax_id", sa.String(30), nullable=False),
        sa.Column("street", sa.String(200), nullable=False),
        sa.Column("postal_code", sa.String(20), nullable=False),
        sa.Column("city", sa.String(100), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
    )
    op.create_table(
        "customer_sessions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_customer_sessions_customer_id", "customer_sessions", ["customer_id"])
    op.create_table(
        "email_changes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False, unique=True
        ),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("locale", sa.String(2), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "customer_links",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False),
        sa.Column(
            "email_change_id", sa.Integer(), sa.ForeignKey("email_changes.id"), nullable=True
        ),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_customer_links_customer_id", "customer_links", ["customer_id"])
    op.create_index("ix_customer_links_email_change_id", "customer_links", ["email_change_id"])
    # In SQL, as Alembic would add the foreign key on its own, which SQLite cannot.
    op.execute("ALTER TABLE orders ADD COLUMN customer_id INTEGER REFERENCES customers (id)")
    op.create_index("ix_orders_customer_id", "orders", ["customer_id"])
    # Each address that has ordered is a customer, as its newest order has it.
    op.execute(
        "INSERT INTO customers (email, email_key, name, locale, created_at)"
        " SELECT email, email_key, name, locale, created_at FROM orders WHERE id IN"
        " (SELECT max(id) FROM orders WHERE email_key <> '' GROUP BY email_key)"
    )
    op.execute(
        "UPDATE orders SET customer_id ="
        " (SELECT id FROM customers WHERE customers.email_key = orders.email_key)"
    )


def downgrade() -> None:
    op.drop_index("ix_orders_customer_id", "orders")
    op.execute("ALTER TABLE orders DROP COLUMN customer_id")
    for table in ("customer_links", "email_changes", "customer_sessions", "companies", "customers"):
        op.drop_table(table)
