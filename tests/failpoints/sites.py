"""Every commit of the shop and every call of it to Stripe, read out of its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.failpoints.shop_process import Point
from tmt.factory import ROOT

_PHASES = ("before", "after")
# What stands for `self._call(name, …)`: the call itself, or one for each page of a list.
_DOORS = ("_call", "_all")
_OPERATION = re.compile(r"self\.(_client\.v1|_v1)(\.\w+){2,3}")


def sources() -> dict[str, str]:
    """The shop's modules by their path; not the stand-in for Stripe."""
    paths = (ROOT / "tmt").rglob("*.py")
    shop = (p for p in paths if "sandbox" not in p.parts)
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(shop)}


def commits(path: str, source: str) -> Iterator[tuple[str, range]]:
    """Each `….transaction(unit)` of a module: its path and its lines."""
    for call in _calls(source):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "transaction":
            yield path, range(call.lineno, (call.end_lineno or call.lineno) + 1)


def operations(source: str) -> set[str]:
    """The names under which a module's calls to Stripe are watched: "refunds.create"."""
    return {name for call in _calls(source) if (name := _watched(call))}


def unwatched(source: str) -> set[str]:
    """The functions of a module that call Stripe's client past the watched doors."""
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef))
    return {f.name for f in functions if _uses_stripe(f) and not _has_door(f)}


def missed(modules: dict[str, str], passed: set[Point]) -> list[str]:
    """The commits and calls of these modules that nobody has passed, before and after."""
    return [
        f"{phase} {what}"
        for path, source in modules.items()
        for phase in _PHASES
        for find in (_missed_commits, _missed_calls)
        for what in find(path, source, phase, passed)
    ]


def _missed_commits(path: str, source: str, phase: str, passed: set[Point]) -> Iterator[str]:
    reached = {p.site for p in passed if p.name.startswith(f"{phase} commit of ")}
    for where, lines in commits(path, source):
        if not reached & {f"{where}:{line}" for line in lines}:
            yield f"the commit at {where}:{lines.start}"


def _missed_calls(_path: str, source: str, phase: str, passed: set[Point]) -> Iterator[str]:
    names = {p.name for p in passed}
    for operation in sorted(operations(source)):
        if f"{phase} {operation}" not in names:
            yield f"{operation} at Stripe"


def _calls(source: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


def _watched(call: ast.Call) -> str | None:
    door = isinstance(call.func, ast.Attribute) and call.func.attr in _DOORS
    if door and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return None


def _uses_stripe(function: ast.FunctionDef) -> bool:
    """Whether it speaks of `self._client.v1.refunds.create`, or `self._v1.accounts.retrieve`."""
    chains = (ast.unparse(n) for n in ast.walk(function) if isinstance(n, ast.Attribute))
    return any(_OPERATION.fullmatch(chain) for chain in chains)


def _has_door(function: ast.FunctionDef) -> bool:
    names = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
    return bool(names & set(_DOORS))
