"""What a visitor does on the pages, in small steps, so that a journey reads as a story."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import zxingcpp
from PIL import Image
from playwright.sync_api import FrameLocator, Locator, Page, expect

from tests.shopfront import Shopfront
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.core.i18n import gettext, use_locale
from tmt.tickets import qr

VISA, VISA_CHALLENGED = "4242424242424242", "4000002760003184"
DECLINED, POOR = "4000000000000002", "4000000000009995"


@dataclass
class Visitor:
    """Somebody at a tab of a browser."""

    page: Page
    front: Shopfront
    language: str = "en"

    def says(self, message: str, **values: object) -> str:
        """A text of the shop in the visitor's language, found by its English original."""
        with use_locale(self.language):
            return gettext(message) % values if values else gettext(message)

    def go(self, path: str) -> None:
        self.page.goto(self.front.url + path)

    def open_event(self, event: Event | None = None) -> None:
        self.go(f"/events/{(event or self.front.event).slug}")

    def choose(self, *quantities: int) -> None:
        """So many places of the ticket types, by the buttons beside each number."""
        steppers = self.page.locator(".stepper")
        for position, count in enumerate(quantities):
            for _ in range(count):
                steppers.nth(position).get_by_role("button").last.click()

    def introduce(self, name: str = "Ana Ejemplo", email: str = "ana@example.com") -> None:
        self.page.fill("#name", name)
        self.page.fill("#email", email)

    @property
    def reserve_button(self) -> Locator:
        return self.page.locator("#places-form button[type=submit]")

    def reserve(self, *quantities: int, event: Event | None = None) -> Order:
        """From the event's page to the pay page, or to the tickets when they cost nothing."""
        self.open_event(event)
        self.choose(*(quantities or (1,)))
        self.introduce()
        self.reserve_button.click()
        self.page.wait_for_url("**/orders/*/**" if "/pay" in self.page.url else "**/orders/*")
        return self.order

    @property
    def order(self) -> Order:
        """The order whose page this is, as the database has it now."""
        return self.front.order(self.page.url.split("/orders/")[1].split("/")[0])

    @property
    def card(self) -> FrameLocator:
        """Stripe's frame on the pay page."""
        return self.page.frame_locator("#payment-element iframe")

    @property
    def pay_button(self) -> Locator:
        return self.page.locator("#pay-button")

    @property
    def alert(self) -> Locator:
        return self.page.locator("#payment-message")

    def type_card(self, number: str = VISA) -> None:
        expect(self.pay_button).to_be_enabled()
        self.card.locator("[name=number]").fill(number)
        self.card.locator("[name=expiry]").fill("1234")
        self.card.locator("[name=cvc]").fill("123")
        self.card.locator("[name=country]").select_option("ES")

    def pay(self, number: str = VISA) -> None:
        self.type_card(number)
        self.pay_button.click()

    def answer_bank(self, button: str) -> None:
        """Presses a button of the 3-D Secure challenge."""
        self.page.frame_locator("dialog iframe").frame_locator("iframe").get_by_role(
            "button", name=button
        ).click()

    def expect_tickets(self, count: int = 1) -> Order:
        """The page must come to show so many tickets, each with its own QR code; the order."""
        expect(self.page.locator(".ticket")).to_have_count(count)
        order = self.order
        codes = [ticket.code for ticket in self.front.tickets(order)]
        assert self.scan() == sorted(map(qr.payload, codes))
        assert order.status == "paid"
        return order

    def scan(self) -> list[str]:
        """What a scanner reads from a picture of the page."""
        picture = Image.open(BytesIO(self.page.screenshot(full_page=True)))
        return sorted(found.text for found in zxingcpp.read_barcodes(picture))

    def fits(self) -> bool:
        """Whether nothing sticks out sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def eventually(happened: Callable[[], object], seconds: float = 10) -> None:
    """Waits for what the shop does behind the page."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def tab_to(page: Page, target: Locator, most: int = 40) -> None:
    """Presses Tab until the element has the focus; it must show that it has."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if target.evaluate("node => node === document.activeElement && document.hasFocus()"):
            break
    expect(target).to_be_focused()
    look = target.evaluate(
        "node => { const style = getComputedStyle(node);"
        " return [style.outlineStyle, style.boxShadow] }"
    )
    assert look != ["none", "none"], "the focus cannot be seen"
