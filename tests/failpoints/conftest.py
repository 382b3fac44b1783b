"""A shop of its own for each trial, in a process that can be killed."""

from __future__ import annotations

import pytest

from tests.failpoints.crash_env import crash_env


@pytest.fixture(scope="session")
def fresh(request, tmp_path_factory):
    """Opens a shop of its own: `with fresh("sqlite", Death(…)) as env`."""
    folder = tmp_path_factory.mktemp("failpoints")
    (folder / "templates").mkdir()
    return lambda kind, death=None: crash_env(request, kind, folder, death)
