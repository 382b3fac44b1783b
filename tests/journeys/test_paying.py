"""Buying tickets by card, through to the tickets."""

from __future__ import annotations

from collections.abc import Callable

import pypdfium2
import pytest
import zxingcpp
from playwright.sync_api import BrowserContext, Route, expect

from tests.journeys.steps import (
    DECLINED,
    POOR,
    VISA,
    VISA_CHALLENGED,
    Visitor,
    eventually,
)
from tests.shopfront import add_event
from tmt.tickets import qr


@pytest.mark.parametrize("language", ["es", "en"])
def test_a_card_buys_tickets(visitors: Callable[..., Visitor], language: str) -> None:
    ana = visitors(language)
    ana.reserve(2, 1)
    expect(ana.page.locator("html")).to_have_attribute("lang", language)
    ana.pay(VISA)
    order = ana.expect_tickets(3)
    assert order.locale == language
    expect(ana.page.get_by_role("heading", level=1)).to_have_text(ana.says("You’re in!"))
    with ana.page.expect_download() as download:
        ana.page.locator("a[href$='/tickets.pdf']").click()
    document = pypdfium2.PdfDocument(download.value.path())
    scanned = [zxingcpp.read_barcodes(sheet.render(scale=2).to_pil())[0].text for sheet in document]
    assert scanned == [qr.payload(t.code) for t in ana.front.tickets(order)]
    eventually(ana.front.mails)
    assert b"ana@example.com" in ana.front.mails()[0].read_bytes()
    assert ana.front.stock() == (0, 3)


@pytest.mark.parametrize(
    ("language", "card", "text"),
    [
        ("en", DECLINED, "Your card was declined."),
        ("es", DECLINED, "Tu tarjeta ha sido rechazada."),
        ("en", POOR, "Your card has insufficient funds."),
        ("es", POOR, "Tu tarjeta no tiene fondos suficientes."),
    ],
)
def test_a_declined_card_is_told_and_another_one_pays_the_same_payment(
    visitors: Callable[..., Visitor], language: str, card: str, text: str
) -> None:
    ana = visitors(language)
    intent = ana.front.payment(ana.reserve(1)).payment_intent_id
    ana.pay(card)
    expect(ana.page.get_by_role("alert").filter(has_text=text)).to_be_visible()
    expect(ana.pay_button).to_be_enabled()
    assert ana.front.tickets(ana.order) == []
    ana.card.locator("[name=number]").fill(VISA)
    ana.pay_button.click()
    expect(ana.page.locator(".ticket")).to_have_count(1)
    payment = ana.front.payment(ana.order)
    assert (payment.payment_intent_id, payment.status) == (intent, "succeeded")


def test_three_d_secure_is_completed_in_place(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.pay(VISA_CHALLENGED)
    visitor.answer_bank("Complete")
    visitor.expect_tickets(1)


def test_pay10_three_d_secure_fails_and_is_tried_again(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.pay(VISA_CHALLENGED)
    visitor.answer_bank("Fail")
    expect(visitor.alert).to_contain_text("We are unable to authenticate your payment method.")
    assert visitor.front.tickets(visitor.order) == []
    assert visitor.front.stock() == (1, 0)
    visitor.pay_button.click()
    visitor.answer_bank("Complete")
    visitor.expect_tickets(1)


def test_pay05_the_browser_is_closed_right_after_paying(
    visitor: Visitor, context: BrowserContext
) -> None:
    order = visitor.reserve(1)

    def pay_and_vanish(route: Route) -> None:
        assert route.fetch().ok
        visitor.page.close()

    context.route("**/v1/payment_intents/*/confirm", pay_and_vanish)
    with visitor.page.expect_event("close"):
        visitor.pay()
    eventually(lambda: visitor.front.order(order.token).status == "paid")
    eventually(visitor.front.mails)
    assert len(visitor.front.tickets(order)) == 1


def test_a_free_order_needs_no_payment(visitor: Visitor) -> None:
    free = add_event(visitor.front.shop.db, "gratis", prices=(0,), capacities=(5,))
    visitor.reserve(2, event=free)
    order = visitor.expect_tickets(2)
    assert order.total == 0
    assert visitor.front.stripe.v1.payment_intents.list().data == []
    expect(visitor.page.locator(".order-summary")).to_contain_text("Free")
    eventually(visitor.front.mails)
