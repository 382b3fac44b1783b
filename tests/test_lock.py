"""The lock files: every direct and indirect dependency, pinned and with hashes, as listed.

`just lock` writes them from requirements.txt and requirements-dev.txt.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILES = ("requirements", "requirements-dev")
# name==version, a marker if any, hashes, and who needs it.
_ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    r"(?P<via>(?:    #.*\n)+)",
    re.MULTILINE,
)


def listed(name: str) -> dict[str, str]:
    """The pinned versions of a requirements file, without those that it includes."""
    lines = (ROOT / f"{name}.txt").read_text().splitlines()
    requirements = [Requirement(line.split(" #")[0]) for line in lines if re.match(r"\w", line)]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements
    }


def locked(name: str) -> dict[str, set[str]]:
    """The versions of a lock file; a package may have one for each version of Python."""
    versions: dict[str, set[str]] = {}
    for entry in _ENTRY.finditer((ROOT / f"{name}.lock").read_text()):
        versions.setdefault(entry["name"], set()).add(entry["version"])
    return versions


@pytest.mark.parametrize("name", FILES)
def test_a_lock_has_what_is_listed(name: str) -> None:
    pinned = locked(name)
    missing = {
        package: version
        for package, version in listed(name).items()
        if pinned.get(package) != {version}
    }
    assert not missing, f"run `just lock`: {missing}"


@pytest.mark.parametrize("name", FILES)
def test_a_lock_has_nothing_that_nobody_needs(name: str) -> None:
    text = (ROOT / f"{name}.lock").read_text()
    direct = {e["name"] for e in _ENTRY.finditer(text) if f"-r {name}.txt" in e["via"]}
    assert direct == set(listed(name)), "run `just lock`"


@pytest.mark.parametrize("name", FILES)
def test_every_line_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / f"{name}.lock").read_text()
    left = _ENTRY.sub("", text)
    assert all(line.startswith("#") for line in left.splitlines()), left
    assert not re.search(r"://|--index-url|--find-links|file:", text)


@pytest.mark.parametrize("name", FILES)
def test_a_lock_is_complete_for_this_machine(name: str) -> None:
    """What an installed package needs is in the lock, in a version that will do."""
    pinned = locked(name)
    for package in pinned:
        try:
            needs = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue  # For another system or another version of Python.
        for need in map(Requirement, needs):
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            versions = pinned.get(canonicalize_name(need.name), set())
            assert any(map(need.specifier.contains, versions)), f"{package} needs {need}"


def test_what_is_tested_is_what_is_shipped() -> None:
    shipped, tested = locked("requirements"), locked("requirements-dev")
    assert {name: tested.get(name) for name in shipped} == shipped


def test_this_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_a_lock_has_what_is_listed.__globals__, "locked", lambda _name: {})
    with pytest.raises(AssertionError, match="just lock"):
        test_a_lock_has_what_is_listed("requirements")
