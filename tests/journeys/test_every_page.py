"""What must be true of every page in every state: it fits, it can be used, it breaks no rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.journeys.axe import COLOURS, grave_problems, wait_for_colours
from tests.journeys.gallery import PAGES
from tests.journeys.steps import Visitor

# A phone, and a wide screen at 400 % (WCAG 1.4.10).
NARROW = (390, 320)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_and_fits(
    visitors: Callable[..., Visitor], axe: str, name: str
) -> None:
    ana = visitors("es")
    PAGES[name](ana)
    expect(ana.page.get_by_role("heading", level=1)).to_have_count(1)
    assert grave_problems(ana.page, axe) == []
    # By night only the colours are others.
    ana.page.emulate_media(color_scheme="dark")
    wait_for_colours(ana.page)
    assert grave_problems(ana.page, axe, COLOURS) == []
    for width in NARROW:
        ana.page.set_viewport_size({"width": width, "height": 800})
        assert ana.fits(), f"{name} is wider than {width} px"
