"""Fixtures: a database of each kind, a running shop on a running sandbox, a browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import tmt.factory  # noqa: F401 - knows every table
from tests import compiled, hypotheses
from tests.invariants import check_stock, check_tickets
from tests.sandbox.driver import Driver
from tests.servers import BROWSER_FLAGS, Postgres, find_browser
from tests.shopfront import MovableClock, Shopfront, open_shop
from tmt.core import schema
from tmt.core.database import Database


@dataclass
class ShopDriver(Driver):
    """A sandbox with a shop on it, whose clock goes with the sandbox's."""

    clock: MovableClock

    def advance(self, **span: float) -> None:
        super().advance(**span)
        self.clock.move(**span)


DATABASES = ("sqlite", "postgresql")
hypotheses.register()
compiled.keep_between_applications()


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers; tests/test_cases.py says what a case is."""
    config.addinivalue_line("markers", 'case(id, ...): the collected failures, e.g. "WH-01"')
    config.addinivalue_line("markers", "databases(name, ...): run on these alone, not on both")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drops what a test's nearest `databases` marker does not name."""
    items[:] = filter(_is_on_its_database, items)


def _is_on_its_database(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("databases")
    call = getattr(item, "callspec", None)
    kind = call.params.get("database_url") if call else None
    return marker is None or kind is None or kind in marker.args


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One PostgreSQL server for each worker."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "tmt.sqlite"
    database = Database(f"sqlite:///{path}")
    schema.migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """A migrated PostgreSQL database to copy."""
    name = postgres.create()
    database = Database(postgres.url(name))
    schema.migrate(database)
    database.close()
    return name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database.

    A module whose subject does not depend on the database has it as its `database_url`.
    """
    path = tmp_path / "tmt.sqlite"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database; a test that uses it runs on each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The database itself, for tests below the web."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings that a test module may override for its shop."""
    return {}


@pytest.fixture
def shopfront(database_url: str, tmp_path: Path, settings: dict[str, Any]) -> Iterator[Shopfront]:
    """A running shop with an event, on a running sandbox, over real HTTP.

    The jobs do not run by themselves: a test says when.
    """
    front = open_shop(database_url, tmp_path, settings)
    yield front
    front.close()


@pytest.fixture
def sandbox(shopfront: Shopfront) -> ShopDriver:
    """The shop's Stripe, to be driven into trouble; `advance` moves the shop's clock too."""
    return ShopDriver(shopfront.sandbox, shopfront.clock)


@pytest.fixture
def sound(shopfront: Shopfront) -> Iterator[None]:
    """Checks after the test that stock, orders and tickets agree (I1, I3)."""
    yield
    check_stock(shopfront.shop.db)
    check_tickets(shopfront.shop.db)


@pytest.fixture
def live_shopfront(
    sqlite_url: str, tmp_path: Path, settings: dict[str, Any]
) -> Iterator[Shopfront]:
    """The same on SQLite with the jobs running, for browsers."""
    front = open_shop(sqlite_url, tmp_path, settings)
    stop = front.shop.jobs.start_thread()
    yield front
    stop()
    front.close()


@pytest.fixture(scope="session")
def browser(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Browser]:
    """A Chromium: the one that is installed, or one that is installed now."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            # A worker's standard output belongs to the one who distributes the tests.
            print(f"\n[tests] {text}", file=sys.stderr, flush=True)

    with FileLock(tmp_path_factory.getbasetemp().parent / "browser.lock"):
        path = find_browser(say)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path or None, args=BROWSER_FLAGS, headless=True
        )
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile of a buyer who reads English."""
    fresh = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    fresh.set_default_timeout(15_000)
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab; errors of its scripts and refusals of the CSP fail the test."""
    opened = context.new_page()
    opened.on("pageerror", lambda error: pytest.fail(f"script error: {error}"))
    return opened


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names everything that did not run, with its reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("did not run")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"{report.nodeid}: {reason}")
