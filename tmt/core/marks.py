"""How far something has come that goes on from run to run: a moment under a name."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core.db import Base, InsertOnce


class Mark(Base):
    __tablename__ = "marks"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[datetime]


_INSERT = InsertOnce(Mark, "name")


def read(session: Session, name: str) -> datetime | None:
    """The moment under this name, if one was set."""
    mark = session.get(Mark, name)
    return mark.at if mark else None


def set_mark(session: Session, name: str, at: datetime) -> None:
    """Sets the moment; the later of two stays."""
    # Two processes may set it for the first time at the same moment.
    if _INSERT.run(session, {"name": name, "at": at}):
        return
    mark = session.get_one(Mark, name, with_for_update=True)
    if mark.at < at:
        mark.at = at
