"""What the benchmarks run in: a folder, fresh databases of both kinds, a realistic event."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from sqlalchemy.orm import Session

import tmt.factory  # noqa: F401 - knows every table
from tests.servers import Postgres
from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.core import schema
from tmt.core.database import Database

DATABASES = ("sqlite", "postgresql")
SLUG = "noche-de-boleros"
FREE_SLUG = "ensayo-abierto"
_PLENTY = 10_000_000
_TYPES = (
    ("General", "De pie, frente al escenario.", 4500),
    ("Balcón", "Butaca numerada en el primer piso.", 6500),
    ("Palco", "Mesa para dos con servicio de sala.", 12000),
    ("Estudiante", "Con carné vigente, en la puerta.", 2500),
)
_DESCRIPTION = """\
Una noche de boleros con la Orquesta Media Luna: catorce músicos, dos voces y el repertorio \
que llenó los teatros de medio mundo, con arreglos nuevos y ninguna prisa.

Las puertas abren una hora antes. El concierto dura dos horas con un descanso de veinte minutos; \
hay guardarropa y bar, y el teatro es accesible en silla de ruedas por la entrada de la calle Sol.

Los menores de 14 años entran acompañados. No se admiten cambios ni devoluciones, salvo que el \
concierto se cancele."""


class BenchEnv:
    """Where the benchmarks run; see `open_env`."""

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.root = folder
        self._closing = closing

    @cached_property
    def postgres(self) -> Postgres:
        """The PostgreSQL server, started when the first benchmark asks for it."""
        server = Postgres(self.root / "postgres")
        self._closing.callback(server.stop)
        return server

    def folder(self) -> Path:
        """A new, empty folder."""
        folder = self.root / uuid4().hex[:8]
        folder.mkdir()
        return folder

    def log_file(self) -> TextIO:
        """A file for log lines, open until the end."""
        return self._closing.enter_context((self.folder() / "output.log").open("a"))

    def empty_database(self, kind: str) -> str:
        """The address of a database without tables."""
        if kind == "sqlite":
            return f"sqlite:///{self.folder() / 'tmt.sqlite'}"
        return self.postgres.url(self.postgres.create())

    def shop_database(self, kind: str) -> str:
        """The address of a migrated database with an event on sale, and one that costs nothing."""
        url = self.empty_database(kind)
        database = Database(url)
        schema.migrate(database)
        for slug, share in ((SLUG, 1), (FREE_SLUG, 0)):
            database.transaction(partial(_add_event, slug, share))
        database.close()
        return url


@contextmanager
def open_env() -> Iterator[BenchEnv]:
    """An environment; all that it has created is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="tmt-benchmarks-") as folder,
        ExitStack() as closing,
    ):
        # PostgreSQL refuses to run as root and must get into the folder as somebody else.
        Path(folder).chmod(0o755)
        yield BenchEnv(Path(folder), closing)


def _add_event(slug: str, share: int, session: Session) -> None:
    """An event whose tickets cost so many times what they usually do."""
    now = datetime.now(UTC)
    event = Event(
        slug=slug,
        title="Noche de boleros",
        description=_DESCRIPTION,
        venue="Teatro Avenida",
        address="Avenida de Mayo 1222",
        city="Buenos Aires",
        starts_at=now + timedelta(days=60),
        ends_at=now + timedelta(days=60, hours=3),
        time_zone="America/Argentina/Buenos_Aires",
        language="es",
        currency="usd",
        capacity=_PLENTY,
        max_per_order=8,
        status=EventStatus.PUBLISHED,
        updated_at=now,
    )
    for position, (name, description, price) in enumerate(_TYPES):
        event.ticket_types.append(
            TicketType(
                name=name,
                description=description,
                price=price * share,
                capacity=_PLENTY,
                position=position,
            )
        )
    session.add(event)
