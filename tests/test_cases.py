"""Every case on the list of failures has a test: `@pytest.mark.case("WH-01")` at the test says so.

The ids are those of the collected failures of other shops (WH webhooks, PAY payment and order
state, MON money, REF refunds, STK stock, DB databases, MAIL, CHK check-in, SEC security, SUB
subscriptions). Journeys show some of them in a browser besides.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DATABASES

TESTS = Path(__file__).parent

# The most damaging ones, which no change may leave without a test.
STARRED = frozenset(
    """
    WH-01 WH-02 WH-03 WH-05 WH-06 WH-08
    PAY-01 PAY-03 PAY-06 PAY-08 PAY-09 PAY-12 PAY-13 PAY-16
    MON-01 REF-04 STK-01 DB-01 CHK-02 SEC-01
    """.split()
)
# Cases of features that the shop does not have yet, and so cannot break.
LATER = {
    "CHK-02": "tickets are not checked in yet; tests/tickets: codes are 128 random bits",
    "CHK-03": "there is no check-in list",
    "MON-04": "there are no vouchers",
    "MON-05": "there are no invoices",
    "SUB-01": "there are no subscriptions",
    "SUB-02": "there are no subscriptions",
}
_NAMED = re.compile(r"test_(wh|pay|mon|ref|stk|db|mail|chk|sec|sub)(\d\d)_")


def marked_tests() -> Iterator[tuple[str, set[str]]]:
    """Every test as "file::name", with the cases that its marker lists."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [
                    mark
                    for mark in node.decorator_list
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.case"
                ]
                cases = {str(ast.literal_eval(arg)) for mark in marks for arg in mark.args}
                yield f"{path.relative_to(TESTS)}::{node.name}", cases


def test_every_starred_case_has_a_test() -> None:
    tested = {case for _test, cases in marked_tests() for case in cases}
    assert tested | LATER.keys() >= STARRED
    assert not tested & LATER.keys()


def test_a_test_that_is_named_for_a_case_has_its_marker() -> None:
    """So that nobody looks for it in vain, or takes another case's id."""
    unmarked = [
        test
        for test, cases in marked_tests()
        if not test.startswith(("journeys/", "sandbox/"))
        and (found := _NAMED.match(test.partition("::")[2]))
        and f"{found[1].upper()}-{found[2]}" not in cases
    ]
    assert unmarked == []


def test_every_starred_case_is_tested_on_both_databases(request: pytest.FixtureRequest) -> None:
    collected = defaultdict(set)
    for item in request.session.items:
        parameters = set(item.callspec.id.split("-")) if hasattr(item, "callspec") else set()
        for marker in item.iter_markers("case"):
            for case in marker.args:
                collected[case] |= parameters & set(DATABASES)
    if not collected.keys() >= {case for _test, cases in marked_tests() for case in cases}:
        pytest.skip("only part of the tests was collected")
    assert [c for c in sorted(STARRED - LATER.keys()) if len(collected[c]) < 2] == []
