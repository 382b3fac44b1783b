"""`.env.example` lists every setting, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmt.config import Settings

LINES = (Path(__file__).parent.parent / ".env.example").read_text().splitlines()
LISTED = dict(line.split("=", 1) for line in LINES if line and not line.startswith("#"))


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(LISTED) == {field.alias for field in Settings.model_fields.values()}


def test_the_listed_values_are_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in LISTED:
        monkeypatch.delenv(name, raising=False)
    as_listed = Settings.model_validate({name: text for name, text in LISTED.items() if text})
    assert as_listed == Settings()
