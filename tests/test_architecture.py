"""The house rules that no lint tool can say. Import rules and complexity are in pyproject.toml."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from importlinter import cli as import_linter

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for path in (ROOT / "tmt").rglob("*.py") if "versions" not in path.parts)

BANNED_MODULES = {"util", "utils", "helper", "helpers", "misc", "common"}
# Participles that stood for a thing: a name says which thing it is.
BANNED_NAMES = frozenset(
    """
    told seen given asked kept made found said wanted standing known
    heard meant begun brought taken owed examined
    """.split()
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")


def test_imports_go_down() -> None:
    """The contracts of pyproject.toml: layers, stripe, flask, the HTTP kit, the sandbox."""
    result = import_linter.lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)
    assert result == import_linter.EXIT_STATUS_SUCCESS, "what broke is in the captured output"


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


def test_the_environment_is_read_in_one_place() -> None:
    """By pydantic-settings, for the class in tmt/config.py."""
    reading = [
        name_of(path) for path in SOURCES if re.search(r"os\.environ|getenv", path.read_text())
    ]
    assert reading == []


def test_one_file_commits() -> None:
    """The shop's database is written by `Database.transaction` alone; the counters are a cache."""
    committing = {
        name_of(path)
        for path in SOURCES
        if "sandbox" not in path.parts and re.search(r"\.(commit|rollback)\(", path.read_text())
    }
    assert committing <= {"tmt.core.database", "tmt.core.limits"}
    writing = {name_of(path) for path in SOURCES if "sessionmaker(" in path.read_text()}
    assert writing == {"tmt.core.database"}


def test_modules_are_named_by_what_they_hold() -> None:
    for path in [*SOURCES, *(ROOT / "static").rglob("*.js")]:
        assert path.stem not in BANNED_MODULES, path


def test_no_name_is_a_participle() -> None:
    """No function, class, parameter or variable is called by a participle alone."""
    violations = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in defined_names(ast.parse(path.read_text()))
        if name.strip("_") in BANNED_NAMES
    ]
    assert not violations, f"{len(violations)} names:\n" + "\n".join(violations)


def test_the_check_of_names_can_fail() -> None:
    source = "def told(given, *, ok): kept = ok; self._seen = ok\nfor asked in made: pass"
    names = [name for _line, name in defined_names(ast.parse(source))]
    assert sorted(names) == ["_seen", "asked", "given", "kept", "ok", "told"]


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the module gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield 0, node.asname


def test_public_functions_have_docstrings() -> None:
    """Every public function and class says what it promises; views are described by their rule."""
    silent = [
        f"{name_of(path)}.{node.name}"
        for path in SOURCES
        if not str(path).endswith(("views.py", "migrations/env.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not needs_no_docstring(node)
    ]
    assert silent == []


def needs_no_docstring(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A table's class, whose module says what it is, and a route of a blueprint."""
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id == "Base" for base in node.bases)
    return bool(node.decorator_list)
