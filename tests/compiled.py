"""What the applications of one process compile alike, compiled once: templates and SQL.

Each test has an application and a database of its own; without this, a fifth of the suite's time
went into compiling the same templates and statements again.
"""

from __future__ import annotations

from typing import Any

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from sqlalchemy import Engine

from tmt.core import database


class _Templates(BytecodeCache):
    """By name, file and a hash of the text, as Jinja itself stores them."""

    def __init__(self) -> None:
        self._stored: dict[str, Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._stored.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._stored[bucket.key] = bucket.code


def keep_between_applications() -> None:
    """Gives each Jinja environment and each engine of this process the same store."""
    make_environment, make_engine = Environment.__init__, database._make_engine
    templates = _Templates()
    first: dict[str, Engine] = {}

    def with_templates(self: Environment, *args: Any, **options: Any) -> None:
        make_environment(self, *args, **{"bytecode_cache": templates} | options)

    def with_statements(url: str) -> Engine:
        engine = make_engine(url)
        shared = first.setdefault(engine.dialect.name, engine)
        if shared.dialect.server_version_info is None:
            # It has never reached its database, and so does not know what it speaks to.
            first[engine.dialect.name] = engine
        else:
            # Statements are stored by the dialect that they were compiled for.
            engine.dialect, engine._compiled_cache = shared.dialect, shared._compiled_cache
        return engine

    Environment.__init__ = with_templates  # type: ignore[method-assign]
    database._make_engine = with_statements
