"""Stripe.js and the Payment Element in a real browser, on a page of another origin."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from .conftest import Checkout, Pay, error_of, until

VISA, DECLINED = "4242424242424242", "4000000000009995"
CHALLENGED = "4000002760003184"
FITS = "document.documentElement.scrollWidth <= innerWidth"


def test_a_card_is_paid_in_place_under_a_strict_policy(
    checkout: Checkout, intent: Any, v1: Any
) -> None:
    checkout.open(intent.client_secret)
    checkout.fill(VISA)
    assert checkout.frame.locator("#number").input_value() == "4242 4242 4242 4242"
    assert checkout.frame.locator("#expiry").input_value() == "12 / 34"
    paid = checkout.pay()["paymentIntent"]
    assert paid["status"] == "succeeded"
    assert not {"metadata", "latest_charge", "amount_received"} & set(paid)
    assert v1.payment_intents.retrieve(intent.id).status == "succeeded"
    changes = checkout.page.evaluate("events.filter((event) => event.name === 'change')")
    first, last = changes[0], changes[-1]
    assert (first["empty"], first["complete"]) == (True, False)
    assert (last["empty"], last["complete"], last["value"]["type"]) == (False, True, "card")
    assert {"ready", "focus"} <= {event["name"] for event in checkout.page.evaluate("events")}
    assert checkout.problems == []


def test_card_data_never_reaches_the_page_around(checkout: Checkout, intent: Any) -> None:
    checkout.page.add_init_script(
        "window.heard = []; addEventListener('message', (e) => heard.push(JSON.stringify(e.data)));"
        "const post = MessagePort.prototype.postMessage;"
        "MessagePort.prototype.postMessage = function (data, ...rest) {"
        " this.addEventListener('message', (e) => heard.push(JSON.stringify(e.data)));"
        " return post.call(this, data, ...rest); };"
    )
    checkout.open(intent.client_secret)
    checkout.fill(VISA)
    checkout.pay()
    heard = "".join(checkout.page.evaluate("heard"))
    assert "succeeded" in heard
    assert "4242424242424242" not in heard.replace(" ", "")
    assert "12 / 34" not in heard


def test_a_decline_is_told_in_the_pages_language_and_another_card_pays(
    checkout: Checkout, intent: Any
) -> None:
    checkout.open(intent.client_secret, locale="es")
    for label in ("Número de tarjeta", "Fecha de caducidad", "Código de seguridad", "País"):
        assert checkout.frame.get_by_label(label).count() == 1
    checkout.fill(DECLINED)
    error = checkout.pay()["error"]
    assert (error["type"], error["decline_code"]) == ("card_error", "insufficient_funds")
    assert error["message"] == "Tu tarjeta no tiene fondos suficientes."
    assert error["payment_intent"]["status"] == "requires_payment_method"
    checkout.frame.locator("#number").fill(VISA)
    assert checkout.pay()["paymentIntent"]["status"] == "succeeded"


def test_field_problems_are_shown_by_the_element(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret)
    checkout.fill("4242424242424241", expiry="12/20", cvc="12")
    error = checkout.pay()["error"]
    assert (error["type"], error["code"]) == ("validation_error", "invalid_number")
    for name, text in (
        ("number", "Your card number is invalid."),
        ("expiry", "Your card's expiration date is in the past."),
        ("cvc", "Your card's security code is incomplete."),
    ):
        field = checkout.frame.locator(f"#{name}")
        assert field.get_attribute("aria-invalid") == "true"
        described = checkout.frame.locator(f"#{field.get_attribute('aria-describedby')}")
        assert described.text_content() == text


def test_the_zip_code_is_asked_in_the_united_states_only(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret)
    zip_code = checkout.frame.get_by_label("ZIP code")
    assert zip_code.is_visible()
    checkout.fill(VISA)
    assert not zip_code.is_visible()


@pytest.mark.parametrize(("button", "status"), [("Complete", "succeeded"), ("Fail", None)])
def test_the_challenge_is_a_dialog(
    checkout: Checkout, intent: Any, button: str, status: str | None
) -> None:
    checkout.open(intent.client_secret)
    checkout.fill(CHALLENGED)
    checkout.page.click("#pay")
    frame = checkout.page.frame_locator("dialog iframe")
    frame.locator("button:focus").wait_for()
    result = checkout.answer(button)
    if status:
        assert result["paymentIntent"]["status"] == status
    else:
        assert result["error"]["code"] == "payment_intent_authentication_failure"
    assert checkout.page.locator("dialog").count() == 0
    assert checkout.page.evaluate("document.activeElement.id") == "pay"
    assert checkout.problems == []


@pytest.mark.parametrize("focused_in_frame", [True, False])
def test_escape_refuses_the_payment(
    checkout: Checkout,
    intent: Any,
    v1: Any,
    focused_in_frame: bool,
) -> None:
    checkout.open(intent.client_secret)
    checkout.fill(CHALLENGED)
    checkout.page.click("#pay")
    checkout.page.frame_locator("dialog iframe").locator("button:focus").wait_for()
    if not focused_in_frame:
        checkout.page.evaluate("document.activeElement.blur()")
    checkout.page.keyboard.press("Escape")
    assert checkout.result()["error"]["code"] == "payment_intent_authentication_failure"
    after = v1.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"


def test_redirect_always_goes_to_the_return_url(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret, redirect="always")
    checkout.fill(VISA)
    checkout.page.click("#pay")
    checkout.page.wait_for_url("**/done**")
    query = parse_qs(urlsplit(checkout.page.url).query)
    assert query == {
        "order": ["7"],
        "payment_intent": [intent.id],
        "payment_intent_client_secret": [intent.client_secret],
        "redirect_status": ["succeeded"],
    }


def test_the_keyboard_is_enough(checkout: Checkout, intent: Any) -> None:
    options = {"defaultValues": {"billingDetails": {"address": {"country": "ES"}}}}
    checkout.open(intent.client_secret, options=options)
    checkout.page.evaluate("element.focus()")
    checkout.frame.locator("#number:focus").wait_for()
    for text in (VISA, "1234", "123"):
        checkout.page.keyboard.type(text)
        checkout.page.keyboard.press("Tab")
    checkout.page.keyboard.press("Tab")
    assert checkout.page.evaluate("document.activeElement.id") == "pay"
    checkout.page.keyboard.press("Enter")
    assert checkout.result()["paymentIntent"]["status"] == "succeeded"


def test_the_other_calls_of_stripe_js(checkout: Checkout, intent: Any, v1: Any) -> None:
    secret = intent.client_secret
    checkout.open(secret)
    page = checkout.page
    error: Any = page.evaluate("elements.submit()")["error"]
    assert (error["type"], error["code"]) == ("validation_error", "incomplete_number")
    assert page.evaluate("elements.fetchUpdates()") == {}
    found = page.evaluate("(secret) => stripe.retrievePaymentIntent(secret)", secret)
    assert found["paymentIntent"]["id"] == intent.id
    params = {"payment_method": "pm_card_visa_chargeDeclined"}
    options = {"clientSecret": secret, "confirmParams": params, "redirect": "if_required"}
    refusal = page.evaluate("(options) => stripe.confirmPayment(options)", options)["error"]
    assert refusal["code"] == "card_declined"
    challenged: Any = {"payment_method": "pm_card_threeDSecure2Required"}
    challenged |= {"use_stripe_sdk": True, "return_url": "https://shop.example/"}
    v1.payment_intents.confirm(intent.id, challenged)
    page.evaluate("(s) => { window.next = stripe.handleNextAction({ clientSecret: s }) }", secret)
    page.frame_locator("dialog iframe").get_by_role("button", name="Complete").click()
    assert page.evaluate("next")["paymentIntent"]["status"] == "succeeded"


def test_the_element_follows_appearance_and_its_content(checkout: Checkout, intent: Any) -> None:
    look = {"theme": "night", "variables": {"colorBackground": "rgb(1, 2, 3)"}}
    checkout.page.set_viewport_size({"width": 320, "height": 700})
    checkout.open(intent.client_secret, appearance=look)
    style = "(node) => getComputedStyle(node).backgroundColor"
    assert checkout.frame.locator("#number").evaluate(style) == "rgb(1, 2, 3)"
    height = "document.querySelector('#element iframe').getBoundingClientRect().height"
    before = checkout.page.evaluate(height)
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert checkout.page.evaluate(wide)
    checkout.pay()
    until(lambda: bool(checkout.page.evaluate(f"{height} > {before}")))
    assert checkout.frame.locator("form").evaluate(f"() => {wide}")


def test_the_console_shows_a_payment_and_its_events(checkout: Checkout, intent: Any) -> None:
    page = checkout.page
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(f"{checkout.shop.root}/")
    page.get_by_role("link", name=intent.id).click()
    assert page.get_by_role("heading", level=1).text_content() == "$20.00"
    page.get_by_role("link", name="payment_intent.created").click()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("payment_intent.created")
    assert page.evaluate(FITS)


def test_the_console_moves_the_clock_and_orders_trouble(
    checkout: Checkout, pay: Pay, v1: Any
) -> None:
    page, id = checkout.page, pay().id
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(f"{checkout.shop.root}/payments/{id}")
    page.get_by_label("Refund").fill("500")
    page.get_by_role("button", name="Refund").click()
    page.get_by_role("button", name="Dispute").click()
    page.get_by_role("button", name="Decide: won").click()
    expect(page.get_by_role("link", name="charge.dispute.closed")).to_be_visible()
    assert page.evaluate(FITS)
    page.get_by_role("link", name="Clock").click()
    page.get_by_label("Advance by").fill("5d")
    page.get_by_role("button", name="Advance").click()
    expect(page.get_by_text("5.0 days ahead")).to_be_visible()
    assert page.evaluate(FITS)
    page.get_by_role("link", name="Faults").click()
    page.get_by_label("Kind of fault").select_option("429")
    page.get_by_label("For calls").fill("GET /v1/refunds")
    page.get_by_role("button", name="Arm").click()
    expect(page.get_by_role("button", name="Clear")).to_be_visible()
    assert page.evaluate(FITS)
    assert error_of(v1.refunds.list).http_status == 429
    page.get_by_role("link", name="Events").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()
    assert page.evaluate(FITS)
