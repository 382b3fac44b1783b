"""The database's schema and its migrations (Alembic), without a configuration file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from tmt.core.database import Database, is_busy
from tmt.core.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

# Of all advisory locks in the database, the one of migrations: an arbitrary number.
_LOCK = 7_238_466_201
# Seconds.
_MAX_WAIT, _PAUSE = 600, 0.2
SCRIPTS = Path(__file__).parent.parent / "migrations"


def migrate(db: Database) -> None:
    """Upgrades the database to the newest schema; creates a missing SQLite file.

    Processes that do so at once do it one after the other, and all but the first find it done.
    Raises `Unavailable` when another one has not finished after ten minutes, and when the schema is
    of a version that this code does not know, which is left as it is.
    """
    from alembic import command

    if db.is_sqlite and db.engine.url.database:
        file = Path(db.engine.url.database)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    deadline = time.monotonic() + _MAX_WAIT
    while True:
        try:
            with db.engine.execution_options(tmt_writes=True).begin() as connection:
                if not db.is_sqlite:
                    # Held until the transaction ends. On SQLite its write lock does the same.
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_MAX_WAIT}s'"))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                    connection.execute(text("SET LOCAL lock_timeout = DEFAULT"))
                _refuse_unknown(connection)
                config = _config()
                config.attributes["connection"] = connection
                return command.upgrade(config, "head")
        except OperationalError as error:
            if not is_busy(error):
                raise
            if time.monotonic() >= deadline:
                raise Unavailable("another process is migrating the database") from error
            time.sleep(_PAUSE)


def newest_revision() -> str:
    """The revision that this version of the code needs."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def is_older(revision: str) -> bool:
    """Whether this code knows the revision and needs a newer one."""
    return revision != newest_revision() and revision in _known_revisions()


def current_revision(db: Database) -> str | None:
    """The revision that the database is at; None before the first migration."""
    with db.engine.connect() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return str(revision) if revision else None


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _refuse_unknown(connection: Connection) -> None:
    revision = _revision(connection)
    if revision and revision not in _known_revisions():
        raise Unavailable(
            f"The database is at revision {revision[:40]}, which a newer version has made: this one"
            f" knows revisions up to {newest_revision()}. Install the newer version, or restore a"
            " backup of the database from before its upgrade. Nothing was changed."
        )


def write_revision(db: Database, message: str) -> None:
    """For developers: a new migration from the difference of models and database."""
    from alembic import command

    with db.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.revision(config, message, autogenerate=True)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
