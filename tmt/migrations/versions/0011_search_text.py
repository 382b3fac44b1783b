"""Searches leave out apostrophes and invisible characters; dashes separate words."""

import unicodedata
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = ("title", "venue", "city", "description")
_STROKES_BEFORE = {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"}
_STROKES = str.maketrans(_STROKES_BEFORE | {"ð": "d", "þ": "th"})
_LEFT_OUT = str.maketrans("", "", "'’‘‛ʼʻʹ′´`＇·")


def upgrade() -> None:
    _fill(_folded)


def downgrade() -> None:
    _fill(_folded_before)


def _fill(fold: Callable[[str], str]) -> None:
    connection = op.get_bind()
    events = sa.table("events", *map(sa.column, ("id", "search_text", *_COLUMNS)))
    rows = connection.execute(sa.select(events.c.id, *(events.c[name] for name in _COLUMNS))).all()
    for event_id, *texts in rows:
        text = fold("\n".join(text or "" for text in texts))
        connection.execute(events.update().where(events.c.id == event_id).values(search_text=text))


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_LEFT_OUT))
    letters = ("" if _is_unseen(c) else " " if _is_dash(c) else c for c in plain)
    return " ".join("".join(letters).casefold().translate(_STROKES).split())


def _is_unseen(character: str) -> bool:
    return bool(unicodedata.combining(character)) or unicodedata.category(character) == "Cf"


def _is_dash(character: str) -> bool:
    return character == "−" or unicodedata.category(character) == "Pd"


def _folded_before(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(plain.casefold().translate(str.maketrans(_STROKES_BEFORE)).split())
