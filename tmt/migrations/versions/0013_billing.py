"""Plans, memberships and invoices, and why an order's line costs less than its list price."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_IS_OPEN = sa.text("status NOT IN ('incomplete_expired', 'canceled')")


def _idempotent_call() -> list[sa.Column]:
    return [
        sa.Column("idempotency_key", sa.String(80), nullable=True, unique=True),
        sa.Column("key_created_at", _MOMENT, nullable=False),
        sa.Column("key_exhausted", sa.Boolean(), nullable=False),
        sa.Column("params_hash", sa.String(64), nullable=True),
    ]


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("slug", sa.String(80), nullable=False, unique=True),
        sa.Column("family", sa.String(80), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("donation", sa.Boolean(), nullable=False),
        sa.Column("presale_days", sa.Integer(), nullable=False),
        sa.Column("member_percent_off", sa.Integer(), nullable=True),
        sa.Column("member_amount_off", sa.BigInteger(), nullable=True),
        sa.Column("member_places", sa.Integer(), nullable=False),
        sa.Column("included_places", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.CheckConstraint("price > 0", name="plan_price_positive"),
        sa.CheckConstraint(
            "member_percent_off IS NULL OR member_amount_off IS NULL", name="plan_one_member_price"
        ),
        sa.CheckConstraint(
            "NOT donation OR (included_places = 0 AND member_places = 0)",
            name="plan_donation_without_benefits",
        ),
    )
    op.create_table(
        "plan_prices",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("plan_id", sa.Integer(), sa.ForeignKey("plans.id"), nullable=False),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("interval", sa.String(5), nullable=False),
        sa.Column("product_id", sa.String(255), nullable=True),
        sa.Column("price_id", sa.String(255), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        *_idempotent_call(),
    )
    op.create_index("ix_plan_prices_plan", "plan_prices", ["plan_id", "account"])
    op.create_index("ix_plan_prices_price_id", "plan_prices", ["price_id"])
    op.create_table(
        "stripe_customers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("stripe_id", sa.String(255), nullable=True, unique=True),
        *_idempotent_call(),
    )
    op.create_index(
        "uq_stripe_customers", "stripe_customers", ["customer_id", "account"], unique=True
    )
    op.create_table(
        "memberships",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("plan_price_id", sa.Integer(), sa.ForeignKey("plan_prices.id"), nullable=False),
        sa.Column("family", sa.String(80), nullable=False),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("subscription_id", sa.String(255), nullable=True, unique=True),
        sa.Column("status", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        *(
            sa.Column(name, _MOMENT, nullable=True)
            for name in ("period_start", "period_end", "paid_through", "cancel_at", "ended_at")
        ),
        sa.Column("cancel_at_period_end", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        *_idempotent_call(),
    )
    for column in ("customer_id", "plan_price_id"):
        op.create_index(f"ix_memberships_{column}", "memberships", [column])
    op.create_index(
        "uq_memberships_open",
        "memberships",
        ["customer_id", "family", "account"],
        unique=True,
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("invoice_id", sa.String(255), nullable=False, unique=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), nullable=False),
        sa.Column("membership_id", sa.Integer(), sa.ForeignKey("memberships.id"), nullable=True),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(64), nullable=False),
        sa.Column("number", sa.String(80), nullable=True),
        sa.Column("billing_reason", sa.String(64), nullable=True),
        sa.Column("collection_method", sa.String(32), nullable=False),
        sa.Column("payment_intent_id", sa.String(255), nullable=True),
        sa.Column("currency", sa.String(3), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("total", "amount_due", "amount_paid", "amount_remaining")
        ),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        *(
            sa.Column(name, _MOMENT, nullable=True)
            for name in ("period_end", "due_at", "next_attempt_at", "finalized_at", "paid_at")
        ),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    for column in ("customer_id", "membership_id", "payment_intent_id"):
        op.create_index(f"ix_invoices_{column}", "invoices", [column])
    op.execute("ALTER TABLE order_lines ADD COLUMN list_price BIGINT")
    op.execute("ALTER TABLE order_lines ADD COLUMN reason VARCHAR(20)")
    # In SQL, as Alembic would add the foreign key on its own, which SQLite cannot.
    op.execute(
        "ALTER TABLE order_lines ADD COLUMN membership_id INTEGER REFERENCES memberships (id)"
    )
    op.create_index("ix_order_lines_membership_id", "order_lines", ["membership_id"])
    op.add_column("order_lines", sa.Column("period_start", _MOMENT, nullable=True))


def downgrade() -> None:
    op.drop_index("ix_order_lines_membership_id", "order_lines")
    for column in ("period_start", "membership_id", "reason", "list_price"):
        op.execute(f"ALTER TABLE order_lines DROP COLUMN {column}")
    for table in ("invoices", "memberships", "stripe_customers", "plan_prices", "plans"):
        op.drop_table(table)
