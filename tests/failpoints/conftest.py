"""A shop of its own for each trial, in a process that can be killed."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

from tests.failpoints.front import open_front


@pytest.fixture(scope="session")
def fresh(request, tmp_path_factory):
    """Opens a shop of its own, on an empty database of the kind."""
    folder = tmp_path_factory.mktemp("failpoints")
    templates = folder / "templates"
    templates.mkdir()

    @contextmanager
    def open_one(kind, death=None):
        shop = folder / "shop"
        shop.mkdir()
        with fresh_database(request, kind, shop) as url:
            front = open_front(url, shop, templates, death)
            try:
                yield front
            finally:
                front.close()
                shutil.rmtree(shop)

    return open_one


@contextmanager
def fresh_database(request, kind, folder):
    if kind == "sqlite":
        path = folder / "tmt.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)
