"""Alembic's entry: runs the migrations on the connection that it is handed."""

from alembic import context

import tmt.factory  # noqa: F401 - knows every table
from tmt.core.database import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=False,
)
with context.begin_transaction():
    context.run_migrations()
