"""axe-core: where it comes from, and asking it about a page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Frame, Page

HERE = Path(__file__).parent
_SOURCE = HERE / "node_modules" / "axe-core" / "axe.min.js"
_GRAVE = ("serious", "critical")
# The frame of the card fields is transparent: it is judged on the ground on which it lies.
_GROUND = """() => {
  let node = document.querySelector("#payment-element");
  const clear = "rgba(0, 0, 0, 0)";
  while (node && getComputedStyle(node).backgroundColor === clear) node = node.parentElement;
  return node ? getComputedStyle(node).backgroundColor : null;
}"""
EVERYTHING = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOURS = ("color-contrast",)
_ASK = """async (rules) => {
  const options = { iframes: false, runOnly: rules, resultTypes: ["violations"] };
  const found = await axe.run(document, options);
  return found.violations.map(({ id, impact, nodes }) => ({
    id, impact, where: nodes.map((node) => `${node.target} ${node.any.map((any) => any.message)}`),
  }));
}"""


def install(lock: Path) -> str:
    """The source of the pinned axe-core, installed with npm the first time."""
    with FileLock(lock):
        if not _SOURCE.exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("axe-core comes with npm, and there is no Node.js on this machine")
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    return _SOURCE.read_text()


def grave_problems(page: Page, source: str, rules: Sequence[str] = EVERYTHING) -> list[str]:
    """What axe-core calls serious or critical on the page and in its frames."""
    ground = page.evaluate(_GROUND)
    found: list[str] = []
    for frame in page.frames:
        if ground and "/elements/payment" in frame.url:
            frame.evaluate("(ground) => { document.body.style.background = ground }", ground)
        found += [
            f"{frame.url} {one['id']}: {one['where']}"
            for one in _ask(frame, source, rules)
            if one["impact"] in _GRAVE
        ]
    return found


def wait_for_colours(page: Page) -> None:
    """Returns once the card fields, which are told of new colours, wear those of the page."""
    ink = page.evaluate("getComputedStyle(document.body).color")
    worn = "(ink) => getComputedStyle(document.querySelector('label')).color === ink"
    for frame in page.frames:
        if "/elements/payment" in frame.url:
            frame.wait_for_function(worn, arg=ink)


def _ask(frame: Frame, source: str, rules: Sequence[str]) -> list[dict[str, Any]]:
    if not frame.evaluate("() => 'axe' in window"):
        frame.evaluate(f"() => {{ {source} }}")
    answer: list[dict[str, Any]] = frame.evaluate(_ASK, list(rules))
    return answer
