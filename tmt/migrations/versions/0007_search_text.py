"""Searches look into city and description too."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STROKES = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"})
_LENGTH_BEFORE = 400


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("events", "search_text", type_=sa.Text())
    _fill(("title", "venue", "city", "description"))


def downgrade() -> None:
    _fill(("title", "venue"), _LENGTH_BEFORE)
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("events", "search_text", type_=sa.String(_LENGTH_BEFORE))


def _fill(columns: tuple[str, ...], length: int | None = None) -> None:
    connection = op.get_bind()
    events = sa.table("events", *map(sa.column, ("id", "search_text", *columns)))
    rows = connection.execute(sa.select(events.c.id, *(events.c[name] for name in columns))).all()
    for event_id, *texts in rows:
        text = _folded("\n".join(text or "" for text in texts))[:length]
        connection.execute(events.update().where(events.c.id == event_id).values(search_text=text))


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(plain.casefold().translate(_STROKES).split())
