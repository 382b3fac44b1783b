"""The database: `reading()` for reading, `transaction(unit)` for writing, and nothing else.

Writing is a unit of work, a function that gets a session. It is committed when the unit returns,
rolled back when it raises, and run again as a whole when the database asks for that (deadlock,
serialization failure, a busy SQLite), so a unit must do nothing but read and write the database.
Nothing else commits.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Executable,
    String,
    Table,
    create_engine,
    event,
    make_url,
    or_,
    true,
)
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from tmt.core import failpoints
from tmt.core.errors import Unavailable

_BUSY_SECONDS = 5
_CONNECT_SECONDS = 10
_MAX_ATTEMPTS = 5
_RETRY_SQLSTATES = frozenset({"40001", "40P01", "55P03"})

T = TypeVar("T")

# Errors are logged without the values of a statement: names and addresses are among them.
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 20, "hide_parameters": True}

_open_transaction: ContextVar[bool] = ContextVar("open_transaction", default=False)


class MissingDatabase(Unavailable, SQLAlchemyError):
    """The SQLite file is not there; only a migration creates it."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime in Python, whatever the database returns."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone reached the database")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EnumText(TypeDecorator[StrEnum]):
    """A StrEnum in a text column; the enum's `_missing_` decides about values it does not list."""

    impl = String
    cache_ok = True

    def __init__(self, enum: type[StrEnum], length: int) -> None:
        super().__init__(length)
        self.enum = enum

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.enum(value)


# An amount in minor units. A few tickets cost more rupiah than 32 bits hold.
Amount = Annotated[int, "amount"]


class Base(DeclarativeBase):
    """The base class of all mapped classes."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime, Amount: BigInteger()}


def table_of(mapped: type[Base]) -> Table:
    """The table behind a mapped class, for statements that need no objects."""
    return cast(Table, mapped.__table__)


class InsertIfAbsent:
    """An INSERT of one row that does nothing where a row of the same unique value exists.

    Built once and run often: it costs a fraction of adding an object to a session.
    """

    def __init__(self, table: type[Base], unique: str) -> None:
        self._table, self._unique = table_of(table), unique
        self._statements: dict[str, Executable] = {}

    def run(self, session: Session, values: Mapping[str, Any]) -> bool:
        """Inserts the row; whether it is new."""
        dialect = session.get_bind().dialect.name
        if dialect not in self._statements:
            # Each dialect has its own insert(), and importing the other one costs memory.
            insert = import_module(f"sqlalchemy.dialects.{dialect}").insert
            statement = insert(self._table).on_conflict_do_nothing(index_elements=[self._unique])
            # Without this SQLAlchemy 2.1 drops the row count of an INSERT.
            self._statements[dialect] = statement.execution_options(preserve_rowcount=True)
        result = session.execute(self._statements[dialect], dict(values))
        return cast("CursorResult[Any]", result).rowcount == 1


def account_of(session: Session) -> str:
    """The mode and Stripe account for which this session reads and writes; see `Database`."""
    return str(session.info.get("account", ""))


def belongs_to(
    column: ColumnElement[str | None] | Mapped[str | None], account: str
) -> ColumnElement[bool]:
    """Whether a row whose `account` is in this column is of this mode and Stripe account.

    Rows without one were written before accounts were stored. Where one side knows its mode and
    not its account, the mode decides.
    """
    mode, _, stripe_account = account.partition(":")
    if not account:
        return true()
    own: ColumnElement[bool]
    if stripe_account:
        own = column.in_([account, f"{mode}:"])
    else:
        own = column.startswith(f"{mode}:") if ":" in account else column == account
    return or_(column.is_(None), own)


def name_for(account: str, name: str) -> str:
    """The name of a cursor or job of which each account that shares a database has one of its own.

    The same name where the account is not known; at most 20 characters are added.
    """
    mode, _, stripe_account = account.partition(":")
    return f"{name}/{mode[0]}/{stripe_account[-16:]}" if stripe_account else name


class Database:
    """One database, SQLite or PostgreSQL, shared by the threads of a process.

    `account` is the mode and Stripe account of this process: "sandbox", "test:acct_…",
    "live:acct_…", or "live:" while the account is not known. Orders and queued rows store it.
    """

    def __init__(self, url: str, account: str = "") -> None:
        self.engine = _make_engine(url)
        # Shared with the sessions that are opened later.
        self._info = {"account": account}
        self._reader = sessionmaker(self.engine, expire_on_commit=False, info=self._info)
        writing = self.engine.execution_options(tmt_writes=True)
        self._writer = sessionmaker(writing, expire_on_commit=False, info=self._info)
        self._write_lock = threading.RLock() if self.is_sqlite else None

    @property
    def account(self) -> str:
        return self._info["account"]

    @account.setter
    def account(self, account: str) -> None:
        self._info["account"] = account

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def label(self) -> str:
        """The file or address for people, without its password."""
        url = self.engine.url
        return str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading, which is never committed."""
        with self._reader() as session, _mark_open():
            yield session

    def transaction(self, unit: Callable[[Session], T]) -> T:
        """Runs `unit(session)` in one transaction and commits it; the unit's result.

        Raises what the unit raises, with nothing written; `Unavailable` when the database stays
        busy through several attempts.
        """
        name = f"{unit.__module__}.{getattr(unit, '__qualname__', type(unit).__name__)}"
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                with self._serialize_writes(), self._writer.begin() as session, _mark_open():
                    result = unit(session)
                    session.flush()
                    failpoints.reach(f"before commit of {name}")
                failpoints.reach(f"after commit of {name}")
                return result
            except DBAPIError as error:
                if not is_busy(error):
                    raise
                if attempt == _MAX_ATTEMPTS:
                    raise Unavailable("the database is busy") from error
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)
        raise AssertionError("unreachable")

    def erase(self, unit: Callable[[Session], T]) -> T:
        """Like `transaction`; what it overwrites or deletes is not left in an SQLite file."""

        def overwriting(session: Session) -> T:
            if self.is_sqlite:
                session.connection().exec_driver_sql("PRAGMA secure_delete = ON")
            return unit(session)

        result = self.transaction(overwriting)
        if not self.is_sqlite:
            return result
        connection = self.engine.raw_connection()
        try:
            # Earlier pages are also in the write-ahead log.
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        return result

    @contextmanager
    def _serialize_writes(self) -> Iterator[None]:
        """Lets the threads of a process write to SQLite one after the other.

        They could not write at once anyway, and SQLite waits for its lock by trying again after
        pauses of up to 100 ms, during which a later thread can overtake an earlier one.
        """
        # After that SQLite's own lock is tried, whose error names the problem.
        acquired = self._write_lock is not None and self._write_lock.acquire(timeout=_BUSY_SECONDS)
        try:
            yield
        finally:
            if acquired and self._write_lock:
                self._write_lock.release()

    def close(self) -> None:
        self.engine.dispose()


def transaction_is_open() -> bool:
    """Whether this thread or task is inside a session: no network call may be made there."""
    return _open_transaction.get()


@contextmanager
def _mark_open() -> Iterator[None]:
    token = _open_transaction.set(True)
    try:
        yield
    finally:
        _open_transaction.reset(token)


def is_busy(error: DBAPIError) -> bool:
    """Whether another transaction was in the way, so that the whole may be tried again."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate in _RETRY_SQLSTATES
    return isinstance(error, OperationalError) and "locked" in str(error.orig)


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        timeout = {} if "connect_timeout" in parsed.query else {"connect_timeout": _CONNECT_SECONDS}
        return create_engine(parsed, pool_pre_ping=True, connect_args=timeout, **_POOL)
    engine = create_engine(
        parsed,
        **_POOL,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "do_connect", _refuse_missing_file)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _refuse_missing_file(_dialect: object, _record: object, args: Any, _params: object) -> None:
    # SQLite would create an empty file, wherever a wrong path leads.
    file = str(args[0])
    if file and not file.startswith((":memory:", "file:")) and not Path(file).exists():
        raise MissingDatabase(
            f"There is no database {file} yet: flask run and flask db upgrade create it."
        )


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling is off: it would begin too late and never IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            # SQLite does not wait when several processes do this to a new file at once.
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A transaction that reads first and writes later fails at once with SQLITE_BUSY_SNAPSHOT,
    # whatever the timeout; taking the write lock at the start waits for it instead.
    writes = connection.get_execution_options().get("tmt_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
