"""Cursors: how far a recurring job has got, as a time under a name."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core.database import Base, InsertIfAbsent


class Cursor(Base):
    """Up to when the job of this name has done its work."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[datetime]


_INSERT = InsertIfAbsent(Cursor, "name")


def read(session: Session, name: str) -> datetime | None:
    """The time under this name, if one was set."""
    cursor = session.get(Cursor, name)
    return cursor.at if cursor else None


def advance(session: Session, name: str, at: datetime) -> None:
    """Moves the cursor to this time; it never moves back."""
    # Two processes may set it for the first time at once.
    if _INSERT.run(session, {"name": name, "at": at}):
        return
    cursor = session.get_one(Cursor, name, with_for_update=True)
    if cursor.at < at:
        cursor.at = at
