"""The other methods of the Payment Element: SEPA debit and iDEAL, in a real browser."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from playwright.sync_api import expect

from .conftest import Till

IBAN = "DE89370400440532013000"
SWISS = "CH9300762011623852957"


def test_the_methods_of_the_intent_are_offered(
    till: Till, euros: stripe.PaymentIntent, client: stripe.StripeClient
) -> None:
    till.open(str(euros.client_secret))
    offered = till.frame.get_by_role("radiogroup", name="Payment method")
    assert offered.get_by_role("radio").count() == 3
    expect(offered.get_by_role("radio", name="Card")).to_be_checked()
    excluded: Any = {"excluded_payment_method_types": ["ideal"]}
    client.v1.payment_intents.update(euros.id, excluded)
    assert till.page.evaluate("elements.fetchUpdates()") == {}
    expect(offered.get_by_role("radio", name="iDEAL")).to_be_hidden()
    expect(offered.get_by_role("radio", name="SEPA Debit")).to_be_visible()


def test_a_debit_is_on_its_way(
    till: Till, euros: stripe.PaymentIntent, client: stripe.StripeClient
) -> None:
    till.open(str(euros.client_secret), options={"business": {"name": "Sala Uno"}})
    till.fill_debit(IBAN)
    assert till.frame.locator("#iban").input_value() == "DE89 3704 0044 0532 0130 00"
    expect(till.frame.locator("#mandate")).to_contain_text("you let Sala Uno and its payment")
    till.wait_for_change("sepa_debit", complete=True)
    assert till.pay()["paymentIntent"]["status"] == "processing"
    after = client.v1.payment_intents.retrieve(euros.id, {"expand": ["payment_method"]})
    method: Any = after.payment_method
    assert (method.billing_details.name, method.billing_details.email) == (
        "Ana Ejemplo",
        "ana@example.com",
    )
    assert till.problems == []


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
    till: Till, euros: stripe.PaymentIntent, locale: str, iban: str, text: str
) -> None:
    till.open(str(euros.client_secret), locale=locale)
    till.fill_debit(iban)
    error = till.pay()["error"]
    assert (error["type"], error["message"]) == ("validation_error", text)
    field = till.frame.locator("#iban")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert till.frame.locator(f"#{field.get_attribute('aria-describedby')}").text_content() == text
    expect(field).to_be_focused()


def test_name_and_email_are_needed(till: Till, euros: stripe.PaymentIntent) -> None:
    till.open(str(euros.client_secret))
    till.choose("sepa_debit")
    till.frame.locator("#iban").fill(IBAN)
    assert till.pay()["error"]["code"] == "incomplete_name"
    till.frame.get_by_label("Full name").fill("Ana")
    till.frame.get_by_label("Email").fill("ana@example")
    assert till.pay()["error"]["code"] == "invalid_email"


@pytest.mark.parametrize(
    ("locale", "told"),
    [("en", "Your bank does not support SEPA"), ("es", "Tu banco no admite adeudos SEPA.")],
)
def test_a_bank_without_debits_is_told_at_the_field(
    till: Till, euros: stripe.PaymentIntent, locale: str, told: str
) -> None:
    till.open(str(euros.client_secret), locale=locale)
    till.fill_debit("DE91370400440000055555")
    error = till.pay()["error"]
    assert error["code"] == "sepa_debit_bank_not_supported"
    assert error["message"].startswith(told)
    expect(till.frame.locator("#iban-error")).to_contain_text(told)


def test_an_account_outside_of_the_economic_area_needs_an_address(
    till: Till, euros: stripe.PaymentIntent
) -> None:
    till.open(str(euros.client_secret))
    till.fill_debit(SWISS)
    assert till.pay()["error"]["code"] == "incomplete_line1"
    till.frame.get_by_label("Address").fill("Bahnhofstrasse 1")
    till.frame.get_by_label("City").fill("Zürich")
    till.frame.get_by_label("Country").select_option("CH")
    till.frame.get_by_label("Postal code").fill("8001")
    assert till.pay()["paymentIntent"]["status"] == "processing"


@pytest.mark.parametrize(
    ("button", "told", "status"),
    [("Complete", "succeeded", "succeeded"), ("Fail", "failed", "requires_payment_method")],
)
@pytest.mark.parametrize("redirect", ["always", "if_required"])
def test_ideal_goes_to_the_bank_and_comes_back(
    till: Till,
    euros: stripe.PaymentIntent,
    client: stripe.StripeClient,
    redirect: str,
    button: str,
    told: str,
    status: str,
) -> None:
    till.open(str(euros.client_secret), redirect=redirect)
    till.choose("ideal")
    till.wait_for_change("ideal", complete=True)
    till.page.click("#pay")
    till.page.get_by_role("button", name=button).click()
    till.page.wait_for_url("**/done**")
    query = parse_qs(urlsplit(till.page.url).query)
    assert query == {
        "order": ["7"],
        "payment_intent": [euros.id],
        "payment_intent_client_secret": [euros.client_secret],
        "redirect_status": [told],
    }
    assert client.v1.payment_intents.retrieve(euros.id).status == status


def test_the_methods_are_changed_by_the_keyboard(till: Till, euros: stripe.PaymentIntent) -> None:
    till.open(str(euros.client_secret))
    till.frame.get_by_role("radio", name="Card").focus()
    till.page.keyboard.press("ArrowRight")
    expect(till.frame.get_by_role("radio", name="SEPA Debit")).to_be_checked()
    till.page.keyboard.press("Tab")
    expect(till.frame.locator("#iban")).to_be_focused()
    till.page.keyboard.press("Shift+Tab")
    till.page.keyboard.press("ArrowRight")
    expect(till.frame.locator("#iban")).to_be_hidden()
    till.wait_for_change("ideal", complete=True)
    till.page.keyboard.press("Tab")
    assert till.page.evaluate("document.activeElement.id") == "pay"


def test_an_accordion_may_begin_closed(till: Till, euros: stripe.PaymentIntent) -> None:
    layout = {"type": "accordion", "defaultCollapsed": True}
    till.open(str(euros.client_secret), options={"layout": layout})
    assert till.events("change")[-1]["collapsed"]
    assert till.pay()["error"]["code"] == "incomplete_payment_details"
    till.choose("card")
    card, debit = till.frame.locator("#number"), till.frame.locator("#sepa_debit-tab")
    assert card.bounding_box()["y"] < debit.bounding_box()["y"]
    till.fill("4242424242424242")
    assert till.pay()["paymentIntent"]["status"] == "succeeded"
    till.page.evaluate("element.collapse()")
    expect(card).to_be_hidden()
