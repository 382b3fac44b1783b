"""What is wrong with the database, in one sentence for the operator."""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy.exc import SQLAlchemyError

from tmt.core import schema
from tmt.core.database import Database, MissingDatabase

_UPGRADE = "Run flask db upgrade."
_MAX_LENGTH = 200
# What the databases say, what it means, and what to do; the first that is found counts.
_MEANINGS = (
    (
        "no such (table|column)|Undefined(Table|Column)",
        "has not the tables of this version",
        _UPGRADE,
    ),
    (
        "readonly|read-only",
        "cannot be written",
        "This user must be allowed to write to the file and to its folder.",
    ),
    (
        "unable to open",
        "cannot be opened",
        "Its folder must exist, and this user must be allowed to write to it.",
    ),
    ("disk is full|could not extend|No space left", "has no space left", "Free some disk space."),
    ("not a database|malformed", "is damaged or no SQLite file", "Restore a backup."),
    ("locked", "is in use by another process for too long", "Try again."),
    ("authentication failed|no password supplied", "refuses the login", "Correct DATABASE_URL."),
    ('database "[^"]*" does not exist', "does not exist", "Create it, or correct DATABASE_URL."),
    (
        "connection|could not (connect|translate)|Name or service",
        "does not answer",
        "Start it, or correct DATABASE_URL.",
    ),
)


def explain(db: Database, error: SQLAlchemyError | sqlite3.Error) -> str:
    """The sentence for an error of the database's driver; without values of a statement."""
    if isinstance(error, MissingDatabase):
        return str(error)
    original = getattr(error, "orig", None) or error
    lines = str(original).splitlines() or [type(original).__name__]
    text = lines[0][:_MAX_LENGTH].rstrip(".")
    # The class says what PostgreSQL's text may say in another language.
    full_text = f"{type(original).__name__} {original}"
    for sign, meaning, to_do in _MEANINGS:
        if re.search(sign, full_text, re.IGNORECASE):
            return f"The database {db.label} {meaning} ({text}). {to_do}"
    return f"The database {db.label} cannot be used ({text})."


def problem_at_start(db: Database) -> str | None:
    """Why the shop cannot start on this database; None if it can.

    A schema that is newer than this version is accepted: during a deployment the database is
    upgraded first.
    """
    try:
        revision = schema.current_revision(db)
    except (SQLAlchemyError, sqlite3.Error) as error:
        return explain(db, error)
    if revision is None:
        return f"The database {db.label} has no tables yet. {_UPGRADE}"
    if schema.is_older(revision):
        return f"The database {db.label} has the tables of an earlier version. {_UPGRADE}"
    return None
