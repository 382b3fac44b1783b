"""Spans of time as people type them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tmt.core.clock import parse_timespan


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("45m", timedelta(minutes=45)),
        ("0d", timedelta()),
        ("9999d", timedelta(days=9999)),
    ],
)
def test_days_hours_and_minutes_are_spans(text: str, span: timedelta) -> None:
    assert parse_timespan(text) == span


@pytest.mark.parametrize(
    "text",
    ["", "d", "30", "30s", "1w", "-1d", "+1d", "1.5h", "1d2h", " 1d", "1d\n", "10000d", "٣d"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span such as 30d, 12h or 45m"):
        parse_timespan(text)
