"""Stripe.js and the Payment Element in a real browser, on a page of another origin."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import CHALLENGED, VISA, Buyer, Pay, error_of, until

DECLINED = "4000000000009995"
FITS = "document.documentElement.scrollWidth <= innerWidth"


def test_a_card_is_paid_in_place_under_a_strict_policy(buyer: Buyer, intent: Any, v1: Any) -> None:
    buyer.open(intent.client_secret)
    buyer.fill(VISA)
    assert buyer.frame.locator("[name=number]").input_value() == "4242 4242 4242 4242"
    assert buyer.frame.locator("[name=expiry]").input_value() == "12 / 34"
    paid = buyer.pay()["paymentIntent"]
    assert paid["status"] == "succeeded"
    assert not {"metadata", "latest_charge", "amount_received"} & set(paid)
    assert v1.payment_intents.retrieve(intent.id).status == "succeeded"
    changes = buyer.page.evaluate("events.filter((event) => event.name === 'change')")
    first, last = changes[0], changes[-1]
    assert (first["empty"], first["complete"]) == (True, False)
    assert (last["empty"], last["complete"], last["value"]["type"]) == (False, True, "card")
    assert {"ready", "focus"} <= {event["name"] for event in buyer.page.evaluate("events")}
    assert buyer.problems == []


def test_card_data_never_reaches_the_page_around(buyer: Buyer, intent: Any) -> None:
    buyer.page.add_init_script(
        "window.sent = []; addEventListener('message', (e) => sent.push(JSON.stringify(e.data)));"
        "const post = MessagePort.prototype.postMessage;"
        "MessagePort.prototype.postMessage = function (data, ...rest) {"
        " this.addEventListener('message', (e) => sent.push(JSON.stringify(e.data)));"
        " return post.call(this, data, ...rest); };"
    )
    buyer.open(intent.client_secret)
    buyer.fill(VISA)
    buyer.pay()
    messages = "".join(buyer.page.evaluate("sent"))
    assert "succeeded" in messages
    assert "4242424242424242" not in messages.replace(" ", "")
    assert "12 / 34" not in messages


def test_a_decline_is_shown_in_the_pages_language_and_another_card_pays(
    buyer: Buyer, intent: Any
) -> None:
    buyer.open(intent.client_secret, locale="es")
    for label in ("Número de tarjeta", "Fecha de caducidad", "Código de seguridad", "País"):
        assert buyer.frame.get_by_label(label).count() == 1
    buyer.fill(DECLINED)
    error = buyer.pay()["error"]
    assert (error["type"], error["decline_code"]) == ("card_error", "insufficient_funds")
    assert error["message"] == "Tu tarjeta no tiene fondos suficientes."
    assert error["payment_intent"]["status"] == "requires_payment_method"
    buyer.frame.locator("[name=number]").fill(VISA)
    assert buyer.pay()["paymentIntent"]["status"] == "succeeded"


def test_field_problems_are_shown_by_the_element(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret)
    buyer.fill("4242424242424241", expiry="12/20", cvc="12")
    error = buyer.pay()["error"]
    assert (error["type"], error["code"]) == ("validation_error", "invalid_number")
    for name, text in (
        ("number", "Your card number is invalid."),
        ("expiry", "Your card's expiration date is in the past."),
        ("cvc", "Your card's security code is incomplete."),
    ):
        field = buyer.frame.locator(f"[name={name}]")
        assert field.get_attribute("aria-invalid") == "true"
        described = buyer.frame.locator(f"#{field.get_attribute('aria-describedby')}")
        assert described.text_content() == text


def test_the_zip_code_is_required_in_the_united_states_only(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret)
    zip_code = buyer.frame.get_by_label("ZIP code")
    assert zip_code.is_visible()
    buyer.fill(VISA)
    assert not zip_code.is_visible()


@pytest.mark.parametrize("answer", ["Complete", "Fail", "Escape in the frame", "Escape outside"])
def test_the_challenge_is_a_dialog(buyer: Buyer, intent: Any, v1: Any, answer: str) -> None:
    buyer.open(intent.client_secret)
    buyer.fill(CHALLENGED)
    buyer.page.click("#pay")
    buyer.page.frame_locator("dialog iframe").frame_locator("iframe").locator(
        "button:focus"
    ).wait_for()
    if answer.startswith("Escape"):
        if answer == "Escape outside":
            buyer.page.evaluate("document.activeElement.blur()")
        buyer.page.keyboard.press("Escape")
        result = buyer.result()
    else:
        result = buyer.answer(answer)
        assert buyer.page.evaluate("document.activeElement.id") == "pay"
    if answer == "Complete":
        assert result["paymentIntent"]["status"] == "succeeded"
    else:
        assert result["error"]["code"] == "payment_intent_authentication_failure"
        assert v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"
    assert buyer.page.locator("dialog").count() == 0
    assert buyer.problems == []


def test_redirect_always_goes_to_the_return_url(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret, redirect="always")
    buyer.fill(VISA)
    buyer.page.click("#pay")
    assert buyer.returned() == {
        "order": "7",
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.client_secret,
        "redirect_status": "succeeded",
    }


def test_the_keyboard_is_enough(buyer: Buyer, intent: Any) -> None:
    options = {"defaultValues": {"billingDetails": {"address": {"country": "ES"}}}}
    buyer.open(intent.client_secret, options=options)
    buyer.page.evaluate("element.focus()")
    buyer.frame.locator("[name=number]:focus").wait_for()
    for text in (VISA, "1234", "123"):
        buyer.page.keyboard.type(text)
        buyer.page.keyboard.press("Tab")
    buyer.page.keyboard.press("Tab")
    assert buyer.page.evaluate("document.activeElement.id") == "pay"
    buyer.page.keyboard.press("Enter")
    assert buyer.result()["paymentIntent"]["status"] == "succeeded"


def test_the_other_calls_of_stripe_js(buyer: Buyer, intent: Any, v1: Any) -> None:
    secret = intent.client_secret
    buyer.open(secret)
    page = buyer.page
    error = page.evaluate("elements.submit()")["error"]
    assert (error["type"], error["code"]) == ("validation_error", "incomplete_number")
    assert page.evaluate("elements.fetchUpdates()") == {}
    result = page.evaluate("(secret) => stripe.retrievePaymentIntent(secret)", secret)
    assert result["paymentIntent"]["id"] == intent.id
    params = {"payment_method": "pm_card_visa_chargeDeclined"}
    options = {"clientSecret": secret, "confirmParams": params, "redirect": "if_required"}
    refusal = page.evaluate("(options) => stripe.confirmPayment(options)", options)["error"]
    assert refusal["code"] == "card_declined"
    params = {"payment_method": "pm_card_threeDSecure2Required", "use_stripe_sdk": True}
    v1.payment_intents.confirm(intent.id, {**params, "return_url": "https://shop.example/"})
    page.evaluate("(s) => { window.next = stripe.handleNextAction({ clientSecret: s }) }", secret)
    page.frame_locator("dialog iframe").frame_locator("iframe").get_by_role(
        "button", name="Complete"
    ).click()
    assert page.evaluate("next")["paymentIntent"]["status"] == "succeeded"


def test_the_element_follows_appearance_and_its_content(buyer: Buyer, intent: Any) -> None:
    look = {"theme": "night", "variables": {"colorBackground": "rgb(1, 2, 3)"}}
    buyer.page.set_viewport_size({"width": 320, "height": 700})
    buyer.open(intent.client_secret, appearance=look)
    style = "(node) => getComputedStyle(node).backgroundColor"
    assert buyer.frame.locator("[name=number]").evaluate(style) == "rgb(1, 2, 3)"
    height = "document.querySelector('#element iframe').getBoundingClientRect().height"
    before = buyer.page.evaluate(height)
    assert buyer.page.evaluate(FITS)
    buyer.pay()
    until(lambda: bool(buyer.page.evaluate(f"{height} > {before}")))
    assert buyer.frame.locator("form").evaluate(f"() => {FITS}")


def test_the_console_shows_a_payment_and_its_events(buyer: Buyer, intent: Any) -> None:
    page = buyer.page
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(f"{buyer.shop.root}/")
    page.get_by_role("link", name=intent.id).click()
    assert page.get_by_role("heading", level=1).text_content() == "$20.00"
    page.get_by_role("link", name="payment_intent.created").click()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("payment_intent.created")
    assert page.evaluate(FITS)


def test_the_console_advances_the_clock_and_arms_faults(buyer: Buyer, pay: Pay, v1: Any) -> None:
    page, id = buyer.page, pay().id
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(f"{buyer.shop.root}/payments/{id}")
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
