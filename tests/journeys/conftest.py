"""Fixtures of the journeys: tabs that are watched, visitors, and the checker of accessibility."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.journeys.axe import install
from tests.journeys.steps import Visitor
from tests.shopfront import Shopfront

_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`securitypolicyviolation: ${event.effectiveDirective} ${event.blockedURI}`));
"""


_HARMLESS = (
    # An answer of 400 or more: forms and cards cause those.
    "Failed to load resource",
    # What the test itself runs in a page that allows no script, the mail's.
    "Blocked script execution",
)
expect.set_options(timeout=10_000)


class Watch:
    """Opens browser contexts and remembers what no page may do: script errors, CSP breaches."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.problems: list[str] = []
        self.opened: list[BrowserContext] = []

    def open(self, locale: str = "en-GB", **more: object) -> BrowserContext:
        wide = {"viewport": {"width": 1280, "height": 900}}
        context = self.browser.new_context(**({"locale": locale} | wide | more))  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        context.add_init_script(_TELL_VIOLATIONS)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.problems.append(f"script: {error.error}"))
        self.opened.append(context)
        return context

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_HARMLESS):
            self.problems.append(f"{message.page.url if message.page else ''}: {message.text}")

    def close(self) -> None:
        for context in self.opened:
            context.close()


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watch]:
    """Every page of the test is watched; what was heard fails it at the end."""
    watch = Watch(browser)
    yield watch
    watch.close()
    assert watch.problems == []


@pytest.fixture
def context(watch: Watch) -> BrowserContext:
    """A fresh profile of a buyer who reads English."""
    return watch.open()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def visitor(page: Page, live_shopfront: Shopfront) -> Visitor:
    """Somebody who reads English, at a wide screen."""
    return Visitor(page, live_shopfront)


@pytest.fixture
def visitors(watch: Watch, live_shopfront: Shopfront) -> Callable[..., Visitor]:
    """Makes visitors with browsers of their own: by language and any option of a context."""

    def make(language: str = "en", **more: object) -> Visitor:
        locale = {"en": "en-GB", "es": "es-ES"}[language]
        return Visitor(watch.open(locale, **more).new_page(), live_shopfront, language)

    return make


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core; without Node.js the test is skipped with that reason."""
    return install(Path(tmp_path_factory.getbasetemp().parent) / "axe.lock")
