"""Paying otherwise than by card: a bank debit, and a bank's own page to go to and leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.journeys.axe import COLOURS, grave_problems, wait_for_colours
from tests.journeys.steps import Visitor, eventually
from tests.shopfront import add_event
from tmt.catalog.models import Event
from tmt.checkout.models import Order

IBAN, NO_DEBITS = "DE89370400440532013000", "DE91370400440000055555"


@pytest.fixture
def euros(visitor: Visitor) -> Event:
    """The event is one in a currency that takes more than cards."""
    visitor.front.event = add_event(visitor.front.shop.db, "euros", currency="eur")
    return visitor.front.event


def choose(visitor: Visitor, method: str) -> None:
    expect(visitor.pay_button).to_be_enabled()
    visitor.card.locator(f"input[value={method}]").check()


def type_iban(visitor: Visitor, iban: str) -> None:
    choose(visitor, "sepa_debit")
    visitor.card.locator("[name=iban]").fill(iban)
    visitor.card.locator("[name=name]").fill("Ana Ejemplo")
    visitor.card.locator("[name=email]").fill("ana@example.com")


def to_the_bank(visitor: Visitor, event: Event) -> Order:
    """Reserves, and goes to the bank's page for iDEAL."""
    order = visitor.reserve(1, event=event)
    choose(visitor, "ideal")
    visitor.pay_button.click()
    visitor.page.wait_for_url(f"{visitor.front.stripe_url}/**")
    return order


def bank_button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


def test_a_debit_is_on_its_way_and_settles_days_later(visitor: Visitor, euros: Event) -> None:
    order = visitor.reserve(2, event=euros)
    type_iban(visitor, IBAN)
    visitor.pay_button.click()
    heading = expect(visitor.page.get_by_role("heading", level=1))
    heading.to_have_text("Your payment is being processed")
    assert visitor.front.order(order.token).status == "processing"
    assert visitor.front.tickets(order) == []
    assert visitor.front.stock() == (2, 0)
    visitor.front.clock.move(days=5)
    visitor.front.sandbox.advance(5 * 86400)
    eventually(lambda: visitor.front.order(order.token).status == "paid")
    visitor.page.reload()
    visitor.expect_tickets(2)


@pytest.mark.parametrize(
    ("language", "iban", "text"),
    [
        ("en", "DE89370400440532013001", "Your IBAN is invalid."),
        ("es", "DE89370400440532013001", "Tu IBAN no es válido."),
        ("en", NO_DEBITS, "Your bank does not support SEPA Direct Debit."),
        ("es", NO_DEBITS, "Tu banco no admite adeudos SEPA."),
    ],
)
def test_what_is_wrong_with_an_account_is_told_in_the_buyers_language(
    visitors: Callable[..., Visitor], euros: Event, language: str, iban: str, text: str
) -> None:
    ana = visitors(language)
    order = ana.reserve(1, event=euros)
    type_iban(ana, iban)
    ana.pay_button.click()
    expect(ana.alert).to_contain_text(text)
    expect(ana.card.locator("#iban-error")).to_contain_text(text)
    assert ana.front.order(order.token).status == "held"
    ana.card.locator("input[value=card]").check()
    expect(ana.alert).to_be_hidden()
    ana.pay()
    ana.expect_tickets(1)


def test_ideal_leads_to_the_bank_and_back_to_the_tickets(visitor: Visitor, euros: Event) -> None:
    order = to_the_bank(visitor, euros)
    bank_button(visitor.page, "Complete").click()
    assert visitor.expect_tickets(1).id == order.id
    assert "client_secret" not in visitor.page.url


def test_a_refusal_at_the_bank_leads_back_to_pay_by_card(visitor: Visitor, euros: Event) -> None:
    order = to_the_bank(visitor, euros)
    bank_button(visitor.page, "Fail").click()
    visitor.page.wait_for_url(f"**/orders/{order.token}/pay")
    told = visitor.page.get_by_text("Your payment was not completed. You have not been charged.")
    expect(told).to_be_visible()
    assert visitor.front.stock() == (1, 0)
    visitor.pay()
    assert visitor.expect_tickets(1).id == order.id


def test_who_leaves_the_bank_half_way_can_pay_by_card(visitor: Visitor, euros: Event) -> None:
    order = to_the_bank(visitor, euros)
    visitor.go(f"/orders/{order.token}/pay")
    visitor.pay()
    assert visitor.expect_tickets(1).id == order.id
    intents = visitor.front.stripe.v1.payment_intents.list().data
    assert [intent.status for intent in intents] == ["succeeded"]


def test_who_never_comes_back_from_the_bank_loses_the_places(
    visitor: Visitor, euros: Event
) -> None:
    order = to_the_bank(visitor, euros)
    visitor.front.clock.move(hours=2)
    visitor.front.sandbox.advance(2 * 3600)
    visitor.front.run_jobs()
    eventually(lambda: visitor.front.order(order.token).status == "expired")
    visitor.go(f"/orders/{order.token}")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Your reservation expired")
    assert visitor.front.stock() == (0, 0)
    (intent,) = visitor.front.stripe.v1.payment_intents.list().data
    assert intent.status == "canceled"


@pytest.mark.parametrize("method", ["sepa_debit", "ideal"])
def test_every_method_is_accessible_and_fits(
    visitors: Callable[..., Visitor], axe: str, euros: Event, method: str
) -> None:
    ana = visitors("es")
    ana.reserve(1, event=euros)
    choose(ana, method)
    if method == "sepa_debit":  # with every field that there can be, and its error
        ana.card.locator("[name=iban]").fill("CH93")
        # By keyboard: while the form's frame still grows, a click can miss the button.
        ana.pay_button.press("Enter")
        expect(ana.alert).to_be_visible()
    assert grave_problems(ana.page, axe) == []
    ana.page.emulate_media(color_scheme="dark")
    wait_for_colours(ana.page)
    assert grave_problems(ana.page, axe, COLOURS) == []
    ana.page.set_viewport_size({"width": 320, "height": 800})
    assert ana.fits()
    assert ana.card.locator("form").evaluate(
        "() => document.documentElement.scrollWidth <= innerWidth"
    )


def test_the_banks_page_is_accessible(visitor: Visitor, axe: str, euros: Event) -> None:
    to_the_bank(visitor, euros)
    assert grave_problems(visitor.page, axe) == []
    visitor.page.emulate_media(color_scheme="dark")
    assert grave_problems(visitor.page, axe, COLOURS) == []
