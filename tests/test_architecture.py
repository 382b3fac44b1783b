"""The house rules, executable: who imports whom, how big things are, who may do what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for path in (ROOT / "tmt").rglob("*.py") if "versions" not in path.parts)
ALL_PYTHON = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), ROOT / "app.py"])

# From the bottom up; a package may import its own floor's left-out neighbours never, and any
# floor below. docs/architecture.md says why.
FLOORS = (
    {"core"},
    {"config", "shop", "web"},
    {"catalog", "gateway"},
    {"customers"},
    {"checkout"},
    {"tickets"},
    {"payments"},
    {"billing"},
    {"office"},
)
# `shop` is made of settings, and the HTTP kit serves a shop: this floor has three steps.
STEPS = {"config": 0, "shop": 1, "web": 2}
EVERYTHING = {"factory", "cli", "cli_sandbox", "doctor", "health", "migrations"}
MAY_IMPORT_FLASK = re.compile(
    r"tmt/(factory|cli|cli_sandbox|web|health)\.py$|tmt/(office|sandbox)/"
    r"|/(views|commands|extension)\.py$|tmt/payments/api\.py$"
)
BANNED_NAMES = {"util", "utils", "helper", "helpers", "misc", "common"}


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            if module == "tmt":
                yield from (f"tmt.{alias.name}" for alias in node.names)


def part(dotted: str) -> str:
    """'tmt.checkout.orders' is of the part 'checkout'."""
    pieces = dotted.split(".")
    return pieces[1] if pieces[0] == "tmt" and len(pieces) > 1 else ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")


def floor(name: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if name in parts)


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or not imported:
        return True
    if importer in EVERYTHING:
        return True
    if "sandbox" in (importer, imported) or imported in EVERYTHING:
        return False
    if importer in STEPS and imported in STEPS:
        return STEPS[imported] < STEPS[importer]
    return floor(imported) < floor(importer)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    importer = part(name_of(path))
    for imported in imports(path):
        assert allowed(importer, part(imported)), f"{name_of(path)} imports {imported}"


def test_the_import_rule_can_fail() -> None:
    assert not allowed("checkout", "payments")
    assert not allowed("catalog", "gateway")
    assert not allowed("core", "config")
    assert not allowed("payments", "sandbox")
    assert not allowed("sandbox", "core")
    assert not allowed("config", "web")
    assert allowed("payments", "core")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_views_know_flask(path: Path) -> None:
    knows = any(name.split(".")[0] == "flask" for name in imports(path))
    assert not knows or MAY_IMPORT_FLASK.search(str(path)), name_of(path)


def test_one_file_knows_stripe() -> None:
    knowing = [path for path in SOURCES if "stripe" in {i.split(".")[0] for i in imports(path)}]
    assert [name_of(path) for path in knowing] == ["tmt.gateway.stripe_api"]


def test_one_file_reads_the_environment() -> None:
    reading = [path for path in SOURCES if re.search(r"os\.environ|getenv", path.read_text())]
    assert reading == []


def test_one_file_commits() -> None:
    committing = [
        name_of(path)
        for path in SOURCES
        if "sandbox" not in path.parts and re.search(r"\.(commit|rollback)\(", path.read_text())
    ]
    assert set(committing) <= {"tmt.core.db", "tmt.core.limits"}


@pytest.mark.parametrize("path", ALL_PYTHON, ids=name_of)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "the design wants another room"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert length(node) <= 60, node.name


def test_nearly_all_functions_are_short() -> None:
    lengths = [
        length(node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert sum(size <= 30 for size in lengths) >= 0.95 * len(lengths)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "static" / "js").glob("*.js")), ids=lambda p: p.name
)
def test_scripts_are_small(path: Path) -> None:
    assert path.read_text().count("\n") <= 400


def test_names_say_something() -> None:
    for path in [*SOURCES, *(ROOT / "static").rglob("*.js")]:
        assert path.stem not in BANNED_NAMES, path


def test_public_functions_keep_a_promise() -> None:
    """Every public function and class says what it promises; views are described by their rule."""
    silent = [
        f"{name_of(path)}.{node.name}"
        for path in SOURCES
        if not str(path).endswith(("views.py", "migrations/env.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not is_plain(node)
    ]
    assert silent == []


def is_plain(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A table's class, whose module says what it is, and a route of a blueprint."""
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id == "Base" for base in node.bases)
    return bool(node.decorator_list)


def test_importing_opens_nothing(tmp_path: Path) -> None:
    code = "import tmt.factory, pathlib; print(sorted(p.name for p in pathlib.Path().iterdir()))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
