"""The other methods of the Payment Element: SEPA debit and iDEAL, in a real browser."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from .conftest import Checkout

IBAN = "DE89370400440532013000"
SWISS = "CH9300762011623852957"


def test_the_methods_of_the_intent_are_offered(checkout: Checkout, euros: Any, v1: Any) -> None:
    checkout.open(euros.client_secret)
    offered = checkout.frame.get_by_role("radiogroup", name="Payment method")
    assert offered.get_by_role("radio").count() == 3
    expect(offered.get_by_role("radio", name="Card")).to_be_checked()
    excluded: Any = {"excluded_payment_method_types": ["ideal"]}
    v1.payment_intents.update(euros.id, excluded)
    assert checkout.page.evaluate("elements.fetchUpdates()") == {}
    expect(offered.get_by_role("radio", name="iDEAL")).to_be_hidden()
    expect(offered.get_by_role("radio", name="SEPA Debit")).to_be_visible()


def test_a_debit_is_on_its_way(checkout: Checkout, euros: Any, v1: Any) -> None:
    checkout.open(euros.client_secret, options={"business": {"name": "Sala Uno"}})
    checkout.fill_debit(IBAN)
    assert checkout.frame.locator("#iban").input_value() == "DE89 3704 0044 0532 0130 00"
    expect(checkout.frame.locator("#mandate")).to_contain_text("you let Sala Uno and its payment")
    checkout.wait_for_change("sepa_debit", complete=True)
    assert checkout.pay()["paymentIntent"]["status"] == "processing"
    after = v1.payment_intents.retrieve(euros.id, {"expand": ["payment_method"]})
    method: Any = after.payment_method
    assert (method.billing_details.name, method.billing_details.email) == (
        "Ana Ejemplo",
        "ana@example.com",
    )
    assert checkout.problems == []


@pytest.mark.parametrize(
    ("locale", "iban", "text"),
    [
        ("en", "DE89370400440532013001", "Your IBAN is invalid."),
        ("en", "DE8937040044", "Your IBAN is incomplete."),
        ("en", "US89370400440532013001", "The country code of your IBAN is not supported."),
        ("es", "DE89370400440532013001", "Tu IBAN no es válido."),
        ("es", "DE8937040044", "Tu IBAN está incompleto."),
    ],
)
def test_an_iban_is_checked_where_it_is_typed(
    checkout: Checkout, euros: Any, locale: str, iban: str, text: str
) -> None:
    checkout.open(euros.client_secret, locale=locale)
    checkout.fill_debit(iban)
    error = checkout.pay()["error"]
    assert (error["type"], error["message"]) == ("validation_error", text)
    field = checkout.frame.locator("#iban")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert (
        checkout.frame.locator(f"#{field.get_attribute('aria-describedby')}").text_content() == text
    )
    expect(field).to_be_focused()


def test_name_and_email_are_needed(checkout: Checkout, euros: Any) -> None:
    checkout.open(euros.client_secret)
    checkout.choose("sepa_debit")
    checkout.frame.locator("#iban").fill(IBAN)
    assert checkout.pay()["error"]["code"] == "incomplete_name"
    checkout.frame.get_by_label("Full name").fill("Ana")
    checkout.frame.get_by_label("Email").fill("ana@example")
    assert checkout.pay()["error"]["code"] == "invalid_email"


@pytest.mark.parametrize(
    ("locale", "told"),
    [("en", "Your bank does not support SEPA"), ("es", "Tu banco no admite adeudos SEPA.")],
)
def test_a_bank_without_debits_is_told_at_the_field(
    checkout: Checkout, euros: Any, locale: str, told: str
) -> None:
    checkout.open(euros.client_secret, locale=locale)
    checkout.fill_debit("DE91370400440000055555")
    error = checkout.pay()["error"]
    assert error["code"] == "sepa_debit_bank_not_supported"
    assert error["message"].startswith(told)
    expect(checkout.frame.locator("#iban-error")).to_contain_text(told)


def test_an_account_outside_of_the_economic_area_needs_an_address(
    checkout: Checkout, euros: Any
) -> None:
    checkout.open(euros.client_secret)
    checkout.fill_debit(SWISS)
    assert checkout.pay()["error"]["code"] == "incomplete_line1"
    checkout.frame.get_by_label("Address").fill("Bahnhofstrasse 1")
    checkout.frame.get_by_label("City").fill("Zürich")
    checkout.frame.get_by_label("Country").select_option("CH")
    checkout.frame.get_by_label("Postal code").fill("8001")
    assert checkout.pay()["paymentIntent"]["status"] == "processing"


@pytest.mark.parametrize(
    ("button", "told", "status"),
    [("Complete", "succeeded", "succeeded"), ("Fail", "failed", "requires_payment_method")],
)
@pytest.mark.parametrize("redirect", ["always", "if_required"])
def test_ideal_goes_to_the_bank_and_comes_back(
    checkout: Checkout,
    euros: Any,
    v1: Any,
    redirect: str,
    button: str,
    told: str,
    status: str,
) -> None:
    checkout.open(euros.client_secret, redirect=redirect)
    checkout.choose("ideal")
    checkout.wait_for_change("ideal", complete=True)
    checkout.page.click("#pay")
    checkout.page.get_by_role("button", name=button).click()
    checkout.page.wait_for_url("**/done**")
    query = parse_qs(urlsplit(checkout.page.url).query)
    assert query == {
        "order": ["7"],
        "payment_intent": [euros.id],
        "payment_intent_client_secret": [euros.client_secret],
        "redirect_status": [told],
    }
    assert v1.payment_intents.retrieve(euros.id).status == status


def test_the_methods_are_changed_by_the_keyboard(checkout: Checkout, euros: Any) -> None:
    checkout.open(euros.client_secret)
    checkout.frame.get_by_role("radio", name="Card").focus()
    checkout.page.keyboard.press("ArrowRight")
    expect(checkout.frame.get_by_role("radio", name="SEPA Debit")).to_be_checked()
    checkout.page.keyboard.press("Tab")
    expect(checkout.frame.locator("#iban")).to_be_focused()
    checkout.page.keyboard.press("Shift+Tab")
    checkout.page.keyboard.press("ArrowRight")
    expect(checkout.frame.locator("#iban")).to_be_hidden()
    checkout.wait_for_change("ideal", complete=True)
    checkout.page.keyboard.press("Tab")
    assert checkout.page.evaluate("document.activeElement.id") == "pay"


def test_an_accordion_may_begin_closed(checkout: Checkout, euros: Any) -> None:
    layout = {"type": "accordion", "defaultCollapsed": True}
    checkout.open(euros.client_secret, options={"layout": layout})
    assert checkout.events("change")[-1]["collapsed"]
    assert checkout.pay()["error"]["code"] == "incomplete_payment_details"
    checkout.choose("card")
    card, debit = checkout.frame.locator("#number"), checkout.frame.locator("#sepa_debit-tab")
    assert card.bounding_box()["y"] < debit.bounding_box()["y"]
    checkout.fill("4242424242424242")
    assert checkout.pay()["paymentIntent"]["status"] == "succeeded"
    checkout.page.evaluate("element.collapse()")
    expect(card).to_be_hidden()
