"""The other methods of the Payment Element: SEPA debit and iDEAL, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import IBAN, Buyer

SWISS = "CH9300762011623852957"


def test_the_methods_of_the_intent_are_offered(buyer: Buyer, euros: Any, v1: Any) -> None:
    buyer.open(euros.client_secret)
    offered = buyer.frame.get_by_role("radiogroup", name="Payment method")
    assert offered.get_by_role("radio").count() == 3
    expect(offered.get_by_role("radio", name="Card")).to_be_checked()
    v1.payment_intents.update(euros.id, {"excluded_payment_method_types": ["ideal"]})
    assert buyer.page.evaluate("elements.fetchUpdates()") == {}
    expect(offered.get_by_role("radio", name="iDEAL")).to_be_hidden()
    expect(offered.get_by_role("radio", name="SEPA Debit")).to_be_visible()


def test_a_debit_is_on_its_way(buyer: Buyer, euros: Any, v1: Any) -> None:
    buyer.open(euros.client_secret, options={"business": {"name": "Sala Uno"}})
    buyer.fill_debit(IBAN)
    assert buyer.frame.locator("[name=iban]").input_value() == "DE89 3704 0044 0532 0130 00"
    expect(buyer.frame.locator("#mandate")).to_contain_text("you let Sala Uno and its payment")
    buyer.wait_for_change("sepa_debit", complete=True)
    assert buyer.pay()["paymentIntent"]["status"] == "processing"
    after = v1.payment_intents.retrieve(euros.id, {"expand": ["payment_method"]})
    owner = after.payment_method.billing_details
    assert (owner.name, owner.email) == ("Ana Ejemplo", "ana@example.com")
    assert buyer.problems == []


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
    buyer: Buyer, euros: Any, locale: str, iban: str, text: str
) -> None:
    buyer.open(euros.client_secret, locale=locale)
    buyer.fill_debit(iban)
    error = buyer.pay()["error"]
    assert (error["type"], error["message"]) == ("validation_error", text)
    field = buyer.frame.locator("[name=iban]")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert buyer.frame.locator(f"#{field.get_attribute('aria-describedby')}").text_content() == text
    expect(field).to_be_focused()


def test_name_and_email_are_needed(buyer: Buyer, euros: Any) -> None:
    buyer.open(euros.client_secret)
    buyer.choose("sepa_debit")
    buyer.frame.locator("[name=iban]").fill(IBAN)
    assert buyer.pay()["error"]["code"] == "incomplete_name"
    buyer.frame.get_by_label("Full name").fill("Ana")
    buyer.frame.get_by_label("Email").fill("ana@example")
    assert buyer.pay()["error"]["code"] == "invalid_email"


@pytest.mark.parametrize(
    ("locale", "text"),
    [("en", "Your bank does not support SEPA"), ("es", "Tu banco no admite adeudos SEPA.")],
)
def test_a_bank_without_debits_is_an_error_at_the_field(
    buyer: Buyer, euros: Any, locale: str, text: str
) -> None:
    buyer.open(euros.client_secret, locale=locale)
    buyer.fill_debit("DE91370400440000055555")
    error = buyer.pay()["error"]
    assert error["code"] == "sepa_debit_bank_not_supported"
    assert error["message"].startswith(text)
    expect(buyer.frame.locator("#iban-error")).to_contain_text(text)


def test_an_account_outside_of_the_economic_area_needs_an_address(buyer: Buyer, euros: Any) -> None:
    buyer.open(euros.client_secret)
    buyer.fill_debit(SWISS)
    assert buyer.pay()["error"]["code"] == "incomplete_line1"
    buyer.frame.get_by_label("Address").fill("Bahnhofstrasse 1")
    buyer.frame.get_by_label("City").fill("Zürich")
    buyer.frame.get_by_label("Country").select_option("CH")
    buyer.frame.get_by_label("Postal code").fill("8001")
    assert buyer.pay()["paymentIntent"]["status"] == "processing"


@pytest.mark.parametrize(
    ("button", "redirect_status", "status"),
    [("Complete", "succeeded", "succeeded"), ("Fail", "failed", "requires_payment_method")],
)
@pytest.mark.parametrize("redirect", ["always", "if_required"])
def test_ideal_goes_to_the_bank_and_comes_back(
    buyer: Buyer, euros: Any, v1: Any, redirect: str, button: str, redirect_status: str, status: str
) -> None:
    buyer.open(euros.client_secret, redirect=redirect)
    buyer.choose("ideal")
    buyer.wait_for_change("ideal", complete=True)
    buyer.page.click("#pay")
    buyer.page.get_by_role("button", name=button).click()
    assert buyer.returned() == {
        "order": "7",
        "payment_intent": euros.id,
        "payment_intent_client_secret": euros.client_secret,
        "redirect_status": redirect_status,
    }
    assert v1.payment_intents.retrieve(euros.id).status == status


def test_the_methods_are_changed_by_the_keyboard(buyer: Buyer, euros: Any) -> None:
    buyer.open(euros.client_secret)
    buyer.frame.get_by_role("radio", name="Card").focus()
    buyer.page.keyboard.press("ArrowRight")
    expect(buyer.frame.get_by_role("radio", name="SEPA Debit")).to_be_checked()
    buyer.page.keyboard.press("Tab")
    expect(buyer.frame.locator("[name=iban]")).to_be_focused()
    buyer.page.keyboard.press("Shift+Tab")
    buyer.page.keyboard.press("ArrowRight")
    expect(buyer.frame.locator("[name=iban]")).to_be_hidden()
    buyer.wait_for_change("ideal", complete=True)
    buyer.page.keyboard.press("Tab")
    assert buyer.page.evaluate("document.activeElement.id") == "pay"


def test_an_accordion_may_begin_closed(buyer: Buyer, euros: Any) -> None:
    layout = {"type": "accordion", "defaultCollapsed": True}
    buyer.open(euros.client_secret, options={"layout": layout})
    assert buyer.events("change")[-1]["collapsed"]
    assert buyer.pay()["error"]["code"] == "incomplete_payment_details"
    buyer.choose("card")
    card, debit = buyer.frame.locator("[name=number]"), buyer.frame.locator("#sepa_debit-tab")
    assert card.bounding_box()["y"] < debit.bounding_box()["y"]
    buyer.fill("4242424242424242")
    assert buyer.pay()["paymentIntent"]["status"] == "succeeded"
    buyer.page.evaluate("element.collapse()")
    expect(card).to_be_hidden()


def test_link_pays_with_an_email(buyer: Buyer, v1: Any) -> None:
    types = {"allowed_payment_method_types": ["card", "link"]}
    intent = v1.payment_intents.create({"amount": 2000, "currency": "usd", **types})
    buyer.open(intent.client_secret)
    buyer.choose("link")
    assert buyer.pay()["error"]["code"] == "incomplete_email"
    buyer.frame.get_by_label("Email").fill("ana@example.com")
    buyer.wait_for_change("link", complete=True)
    assert buyer.pay()["paymentIntent"]["status"] == "succeeded"
    paid = v1.payment_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert paid.payment_method.link.email == "ana@example.com"
