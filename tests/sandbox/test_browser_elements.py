"""Elements of Stripe.js around the fields: looks, events, intents that come later, saving."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from playwright.sync_api import expect

from .conftest import Checkout, until

VISA, CHALLENGED = "4242424242424242", "4000002760003184"
LATER = {"mode": "payment", "amount": 2000, "currency": "eur"}
CONFIRM = """async (secret) => {
  try {
    const confirmParams = { return_url: location.origin + "/done" };
    return await stripe.confirmPayment({
      elements, clientSecret: secret, confirmParams, redirect: "if_required",
    });
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}"""


def style(checkout: Checkout, selector: str, name: str) -> str:
    return str(
        checkout.frame.locator(selector).evaluate(f"(node) => getComputedStyle(node).{name}")
    )


def test_rules_style_the_parts_of_the_element_and_nothing_else(
    checkout: Checkout, euros: Any
) -> None:
    rules = {
        ".Input": {"borderTopWidth": "7px"},
        ".Tab--selected": {"backgroundColor": "rgb(1, 2, 3)"},
        ".Input:focus": {"backgroundColor": "rgb(4, 5, 6)"},
        "body": {"backgroundColor": "rgb(7, 8, 9)"},
        ".Nonsense:nowhere": {"color": "red"},
    }
    checkout.open(euros.client_secret, appearance={"theme": "flat", "rules": rules})
    assert style(checkout, "#number", "borderTopWidth") == "7px"
    assert style(checkout, "#card-tab", "backgroundColor") == "rgb(1, 2, 3)"
    assert style(checkout, "#ideal-tab", "backgroundColor") == "rgb(255, 255, 255)"
    checkout.frame.locator("#number").focus()
    assert style(checkout, "#number", "backgroundColor") == "rgb(4, 5, 6)"
    assert style(checkout, "body", "backgroundColor") == "rgba(0, 0, 0, 0)"
    assert checkout.problems == []


def test_update_changes_looks_and_language(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret)
    checkout.fill(VISA)
    look = "{ appearance: { theme: 'night', variables: { colorText: 'rgb(9, 9, 9)' } } }"
    checkout.page.evaluate(f"elements.update({look})")
    assert style(checkout, "body", "color") == "rgb(9, 9, 9)"
    assert style(checkout, "#number", "backgroundColor") == "rgb(48, 49, 61)"
    assert checkout.frame.locator("#number").input_value() == "4242 4242 4242 4242"
    checkout.page.evaluate("elements.update({ locale: 'es' })")
    expect(checkout.frame.get_by_label("Número de tarjeta")).to_be_visible()
    checkout.fill(VISA)
    assert checkout.pay()["paymentIntent"]["status"] == "succeeded"


def test_events_of_the_element(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret)
    names = checkout.page.evaluate("events.map((event) => event.name)")
    assert names[0] == "loaderstart"
    checkout.frame.locator("#number").click()
    checkout.frame.locator("#cvc").click()
    checkout.page.keyboard.press("Escape")
    until(lambda: bool(checkout.events("escape")))
    assert len(checkout.events("focus")) == 1
    checkout.page.evaluate("element.blur()")
    until(lambda: bool(checkout.events("blur")))
    assert {event["elementType"] for event in checkout.page.evaluate("events")} == {"payment"}
    counted = """() => {
      window.count = 0;
      const handler = () => (window.count += 1);
      element.once("focus", handler).on("focus", handler).off("focus", handler);
      element.once("focus", handler);
    }"""
    checkout.page.evaluate(counted)
    for _ in range(2):
        checkout.frame.locator("#cvc").click()
        before = len(checkout.events("blur"))
        checkout.page.evaluate("element.blur()")
        until(lambda: len(checkout.events("blur")) > before)  # noqa: B023 - called at once
    assert checkout.page.evaluate("count") == 1


def test_a_payment_that_ended_cannot_be_loaded(checkout: Checkout, intent: Any, v1: Any) -> None:
    v1.payment_intents.cancel(intent.id)
    checkout.open(intent.client_secret, until_event="loaderror")
    assert checkout.events("loaderror")[0]["error"]["code"] == "payment_intent_unexpected_state"
    assert checkout.pay()["error"]["code"] == "payment_intent_unexpected_state"


def test_without_an_answer_the_element_does_not_load(checkout: Checkout, intent: Any) -> None:
    checkout.page.route("**/v1/payment_intents/**", lambda route: route.abort())
    checkout.open(intent.client_secret, locale="es", until_event="loaderror")
    error = checkout.events("loaderror")[0]["error"]
    assert error["type"] == "api_connection_error"
    assert error["message"].startswith("No se ha podido conectar.")


def test_the_intent_may_come_later(checkout: Checkout, euros: Any, intent: Any) -> None:
    checkout.open(None, elements=LATER)
    assert checkout.frame.get_by_role("radio").count() == 3
    early = checkout.page.evaluate(CONFIRM, euros.client_secret)
    assert early.startswith("IntegrationError: elements.submit() must be called")
    assert checkout.page.evaluate("elements.submit()")["error"]["code"] == "incomplete_number"
    checkout.fill(VISA)
    assert checkout.page.evaluate("elements.submit()") == {"selectedPaymentMethod": "card"}
    other = checkout.page.evaluate(CONFIRM, intent.client_secret)
    assert other.startswith("IntegrationError: The amount or currency of elements (2000 eur)")
    paid = checkout.page.evaluate(CONFIRM, euros.client_secret)
    assert paid["paymentIntent"]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("changed", "offered"),
    [
        ({"currency": "usd"}, set()),
        ({"captureMethod": "manual"}, set()),
        ({"mode": "setup"}, {"card", "sepa_debit"}),
        ({"excludedPaymentMethodTypes": ["card"]}, {"ideal", "sepa_debit"}),
        ({"allowedPaymentMethodTypes": ["card", "ideal"]}, {"card", "ideal"}),
    ],
)
def test_what_a_later_intent_will_take_is_offered(
    checkout: Checkout, changed: dict[str, Any], offered: set[str]
) -> None:
    checkout.open(None, elements=LATER | changed)
    shown = checkout.frame.locator("input[type=radio]:visible")
    assert set(shown.evaluate_all("(all) => all.map((radio) => radio.value)")) == offered


def test_wrong_uses_are_told_to_the_developer(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret)
    wrong = {
        "stripe.elements({ mode: 'payment' })": "amount and currency",
        "stripe.elements({ paymentMethodTypes: ['card'] })": "no longer supported",
        "stripe.elements({ clientSecret: 'nonsense' })": "Invalid value",
        "stripe.elements().create('payment')": "clientSecret or a mode",
        "elements.create('payment')": "Can only create one",
        "elements.create('paymentRequestButton')": "no element of type",
        "stripe.confirmPayment({ elements })": "return_url",
        "stripe.confirmSetup({ elements, redirect: 'if_required' })": "not that of a setup_intent",
        "stripe.retrieveSetupIntent('nonsense')": "Invalid value",
        f"stripe.handleNextAction({{ clientSecret: '{intent.client_secret}' }})": "no action",
        "Stripe('sk_test_123')": "publishable",
    }
    for call, told in wrong.items():
        script = f"(async () => {call})().catch((error) => `${{error.name}}: ${{error.message}}`)"
        message = checkout.page.evaluate(script)
        assert message.startswith("IntegrationError"), call
        assert told in message


def setup_intent(v1: Any) -> stripe.SetupIntent:
    customer = v1.customers.create({"name": "Ana Ejemplo"})
    return v1.setup_intents.create({"customer": customer.id})


@pytest.mark.parametrize(("number", "button"), [(VISA, None), (CHALLENGED, "Complete")])
def test_a_card_is_saved(checkout: Checkout, v1: Any, number: str, button: str | None) -> None:
    setup = setup_intent(v1)
    checkout.open(setup.client_secret)
    checkout.fill(number)
    checkout.page.click("#pay")
    saved = checkout.answer(button) if button else checkout.result()
    assert saved["setupIntent"]["status"] == "succeeded"
    found = checkout.page.evaluate("(s) => stripe.retrieveSetupIntent(s)", setup.client_secret)
    assert found["setupIntent"]["id"] == setup.id
    cards = v1.payment_methods.list({"customer": str(setup.customer)}).data
    assert [card.type for card in cards] == ["card"]


def test_a_debit_is_saved_and_redirect_always_goes_on(checkout: Checkout, v1: Any) -> None:
    setup = setup_intent(v1)
    checkout.open(setup.client_secret, redirect="always")
    checkout.fill_debit("DE89370400440532013000")
    checkout.page.click("#pay")
    checkout.page.wait_for_url("**/done**")
    query = parse_qs(urlsplit(checkout.page.url).query)
    assert (query["setup_intent"], query["redirect_status"]) == ([setup.id], ["succeeded"])


def test_a_refused_card_is_not_saved(checkout: Checkout, v1: Any) -> None:
    setup = setup_intent(v1)
    checkout.open(setup.client_secret, locale="es")
    checkout.fill(CHALLENGED)
    checkout.page.click("#pay")
    error = checkout.answer("Rechazar")["error"]
    assert error["code"] == "setup_intent_authentication_failure"
    assert error["message"].startswith("No hemos podido autenticar tu método de pago.")
    assert error["setup_intent"]["status"] == "requires_payment_method"


def test_a_saved_card_pays_again(checkout: Checkout, v1: Any) -> None:
    setup = setup_intent(v1)
    checkout.open(setup.client_secret)
    checkout.fill(VISA)
    method = checkout.pay()["setupIntent"]["payment_method"]
    given: Any = {"amount": 2000, "currency": "usd", "customer": setup.customer}
    intent = v1.payment_intents.create(given)
    params = {
        "clientSecret": intent.client_secret,
        "redirect": "if_required",
        "confirmParams": {"payment_method": method},
    }
    paid = checkout.page.evaluate("(params) => stripe.confirmPayment(params)", params)
    assert paid["paymentIntent"]["status"] == "succeeded"
