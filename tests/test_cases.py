"""Which trial shows which case of the list of failures, so that none is without one.

The ids are those of the collected failures of other shops (WH webhooks, PAY payment and order
state, MON money, REF refunds, STK stock, DB databases, MAIL, CHK check-in, SEC security, SUB
subscriptions); the most damaging are the `STARS`. Journeys show some of them in a browser besides.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent

STARS = frozenset(
    """
    WH-01 WH-02 WH-03 WH-05 WH-06 WH-08
    PAY-01 PAY-03 PAY-06 PAY-08 PAY-09 PAY-12 PAY-13 PAY-16
    MON-01 REF-04 STK-01 DB-01 CHK-02 SEC-01
    """.split()
)
# What the shop has not got, and so cannot break.
NOT_YET = {
    "CHK-02": "nobody checks tickets in yet; tests/tickets: codes are 128 random bits",
    "CHK-03": "there is no check-in list",
    "MON-04": "there are no vouchers",
    "MON-05": "there are no invoices",
    "SUB-01": "there are no subscriptions",
    "SUB-02": "there are no subscriptions",
}
# Case -> file -> the tests of it that show the case.
CASES: dict[str, dict[str, list[str]]] = yaml.safe_load((TESTS / "cases.yaml").read_text())
# These concern what is before or beside the database.
OF_NO_DATABASE = re.compile(r"^(core|catalog|operations)/|^test_(config|security)\.py$")


def named() -> set[tuple[str, str]]:
    """Every (file, test) of the table."""
    return {
        (path, name) for files in CASES.values() for path, names in files.items() for name in names
    }


@pytest.fixture(scope="module")
def collected() -> dict[tuple[str, str], set[str]]:
    """Every test of the table's files, with the parameters that it runs with."""
    files = sorted({path for path, _name in named()})
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-p", "no:cacheprovider"]
        + [f"tests/{path}" for path in files],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout[-2000:]
    found: dict[tuple[str, str], set[str]] = {}
    for line in answer.stdout.splitlines():
        seen = re.fullmatch(r"tests/([\w/.]+)::(?:\w+::)?(\w+)(?:\[(.*)\])?", line)
        if seen:
            found.setdefault((seen[1], seen[2]), set()).update((seen[3] or "").split("-"))
    return found


def test_every_case_with_a_star_has_its_trial() -> None:
    shown = {case for case, files in CASES.items() if any(files.values())}
    assert shown | NOT_YET.keys() >= STARS
    assert not shown & NOT_YET.keys()


def test_every_trial_is_there(collected: dict[tuple[str, str], set[str]]) -> None:
    assert named() - collected.keys() == set()


def test_every_trial_runs_on_both_databases(collected: dict[tuple[str, str], set[str]]) -> None:
    missing = {
        (path, name)
        for path, name in named()
        if not OF_NO_DATABASE.search(path) and not {"sqlite", "postgresql"} <= collected[path, name]
    }
    assert missing == set()
    shown = {case for case in STARS - NOT_YET.keys() if on_both(case, collected)}
    assert shown == STARS - NOT_YET.keys()


def on_both(case: str, collected: dict[tuple[str, str], set[str]]) -> bool:
    runs = [collected[path, name] for path, names in CASES[case].items() for name in names]
    return any({"sqlite", "postgresql"} <= run for run in runs)


def test_a_test_that_is_named_for_a_case_stands_in_the_table() -> None:
    """So that nobody looks for it in vain, or takes another case's id."""
    wild = {
        (path, name)
        for path, name, case in all_with_an_id()
        if name not in CASES.get(case, {}).get(path, [])
    }
    assert wild == set()


def all_with_an_id() -> list[tuple[str, str, str]]:
    """(file, test, case) of every test whose name begins with an id; journeys are left out."""
    found = []
    for path in TESTS.rglob("test_*.py"):
        inside = str(path.relative_to(TESTS))
        if inside.startswith(("journeys/", "sandbox/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            seen = re.match(r"test_(wh|pay|mon|ref|stk|db|mail|chk|sec|sub)(\d\d)_", name)
            if seen:
                found.append((inside, name, f"{seen[1].upper()}-{seen[2]}"))
    return found
