"""The style sheets on older phones, which skip what they do not know: something else remains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLES = Path(__file__).parent.parent / "static" / "css"


@pytest.mark.parametrize("name", ["tokens.css", "shop.css"])
def test_what_older_browsers_skip_has_another_value(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", (STYLES / name).read_text(), flags=re.DOTALL)
    everywhere = re.sub(r"@supports [^{]*clamp.*?\}\s*\}", "", text, flags=re.DOTALL)
    assert not re.search(r":(is|where|has)\(|\binset:", everywhere)
    for rule in re.findall(r"\{([^{}]*clamp\([^{}]*)\}", everywhere):
        sizes = re.findall(r"(?:font|font-size): ([^;]*);", rule)
        assert "clamp" not in sizes[0], rule
        assert "clamp" in sizes[-1], rule
        assert not re.search(r"clamp.*var\(|var\(.*clamp", sizes[-1]), rule
