"""Each mutation of `tests/mutations` still applies; whether it is caught, the program tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import CHAOS, MUTATIONS, Mutation, OutOfDate
from tests.servers import ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.what)
def test_it_changes_one_place_of_the_source(mutation: Mutation, tmp_path: Path) -> None:
    copy = tmp_path / mutation.path
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / mutation.path).read_text())
    mutation.apply(tmp_path)
    compile(copy.read_text(), mutation.path, "exec")
    files = [word for word in mutation.command if word.endswith(".py")]
    assert files or mutation.command[0] == CHAOS
    assert all((ROOT / file).is_file() for file in files)


def test_one_that_no_longer_applies_is_out_of_date(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text("a = 1\na = 1\n")
    for old in ("a = 1", "b = 1"):
        with pytest.raises(OutOfDate, match="times in"):
            Mutation("none", "some.py", old, "", "").apply(tmp_path)
