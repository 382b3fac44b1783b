"""Elements of Stripe.js around the fields: looks, events, intents that come later, saving."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import CHALLENGED, IBAN, VISA, Buyer, until

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


def style(buyer: Buyer, selector: str, name: str) -> str:
    return str(buyer.frame.locator(selector).evaluate(f"(node) => getComputedStyle(node).{name}"))


def test_rules_style_the_parts_of_the_element_and_nothing_else(buyer: Buyer, euros: Any) -> None:
    rules = {
        ".Input": {"borderTopWidth": "7px"},
        ".Tab--selected": {"backgroundColor": "rgb(1, 2, 3)"},
        ".Input:focus": {"backgroundColor": "rgb(4, 5, 6)"},
        "body": {"backgroundColor": "rgb(7, 8, 9)"},
        ".Nonsense:nowhere": {"color": "red"},
    }
    buyer.open(euros.client_secret, appearance={"theme": "flat", "rules": rules})
    assert style(buyer, "[name=number]", "borderTopWidth") == "7px"
    assert style(buyer, "#card-tab", "backgroundColor") == "rgb(1, 2, 3)"
    assert style(buyer, "#ideal-tab", "backgroundColor") == "rgb(255, 255, 255)"
    buyer.frame.locator("[name=number]").focus()
    assert style(buyer, "[name=number]", "backgroundColor") == "rgb(4, 5, 6)"
    assert style(buyer, "body", "backgroundColor") == "rgba(0, 0, 0, 0)"
    assert buyer.problems == []


def test_update_changes_looks_and_language(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret)
    buyer.fill(VISA)
    look = "{ appearance: { theme: 'night', variables: { colorText: 'rgb(9, 9, 9)' } } }"
    buyer.page.evaluate(f"elements.update({look})")
    assert style(buyer, "body", "color") == "rgb(9, 9, 9)"
    assert style(buyer, "[name=number]", "backgroundColor") == "rgb(48, 49, 61)"
    assert buyer.frame.locator("[name=number]").input_value() == "4242 4242 4242 4242"
    buyer.page.evaluate("elements.update({ locale: 'es' })")
    expect(buyer.frame.get_by_label("Número de tarjeta")).to_be_visible()
    buyer.fill(VISA)
    assert buyer.pay()["paymentIntent"]["status"] == "succeeded"


def test_events_of_the_element(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret)
    names = buyer.page.evaluate("events.map((event) => event.name)")
    assert names[0] == "loaderstart"
    buyer.frame.locator("[name=number]").click()
    buyer.frame.locator("[name=cvc]").click()
    buyer.page.keyboard.press("Escape")
    until(lambda: bool(buyer.events("escape")))
    assert len(buyer.events("focus")) == 1
    buyer.page.evaluate("element.blur()")
    until(lambda: bool(buyer.events("blur")))
    assert {event["elementType"] for event in buyer.page.evaluate("events")} == {"payment"}
    counted = """() => {
      window.count = 0;
      const handler = () => (window.count += 1);
      element.once("focus", handler).on("focus", handler).off("focus", handler);
      element.once("focus", handler);
    }"""
    buyer.page.evaluate(counted)
    for _ in range(2):
        buyer.frame.locator("[name=cvc]").click()
        before = len(buyer.events("blur"))
        buyer.page.evaluate("element.blur()")
        until(lambda: len(buyer.events("blur")) > before)  # noqa: B023 - called at once
    assert buyer.page.evaluate("count") == 1


def test_a_payment_that_ended_cannot_be_loaded(buyer: Buyer, intent: Any, v1: Any) -> None:
    v1.payment_intents.cancel(intent.id)
    buyer.open(intent.client_secret, until_event="loaderror")
    assert buyer.events("loaderror")[0]["error"]["code"] == "payment_intent_unexpected_state"
    assert buyer.pay()["error"]["code"] == "payment_intent_unexpected_state"


def test_without_an_answer_the_element_does_not_load(buyer: Buyer, intent: Any) -> None:
    buyer.page.route("**/v1/payment_intents/**", lambda route: route.abort())
    buyer.open(intent.client_secret, locale="es", until_event="loaderror")
    error = buyer.events("loaderror")[0]["error"]
    assert error["type"] == "api_connection_error"
    assert error["message"].startswith("No se ha podido conectar.")


def test_the_intent_may_come_later(buyer: Buyer, euros: Any, intent: Any) -> None:
    buyer.open(None, elements=LATER)
    assert buyer.frame.get_by_role("radio").count() == 3
    early = buyer.page.evaluate(CONFIRM, euros.client_secret)
    assert early.startswith("IntegrationError: elements.submit() must be called")
    assert buyer.page.evaluate("elements.submit()")["error"]["code"] == "incomplete_number"
    buyer.fill(VISA)
    assert buyer.page.evaluate("elements.submit()") == {"selectedPaymentMethod": "card"}
    other = buyer.page.evaluate(CONFIRM, intent.client_secret)
    assert other.startswith("IntegrationError: The amount or currency of elements (2000 eur)")
    paid = buyer.page.evaluate(CONFIRM, euros.client_secret)
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
    buyer: Buyer, changed: dict[str, Any], offered: set[str]
) -> None:
    buyer.open(None, elements=LATER | changed)
    shown = buyer.frame.locator("input[type=radio]:visible")
    assert set(shown.evaluate_all("(all) => all.map((radio) => radio.value)")) == offered


def test_wrong_uses_raise_errors_for_the_developer(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret)
    wrong = {
        "stripe.elements({ mode: 'payment' })": "amount and currency",
        "stripe.elements({ paymentMethodTypes: ['card'] })": "no longer supported",
        "stripe.elements({ clientSecret: 'nonsense' })": "Invalid value",
        "stripe.elements().create('payment')": "clientSecret or a mode",
        "elements.create('payment')": "Can only create one",
        "elements.create('paymentRequestButton')": "no element of type",
        "elements.create('address', {})": "options.mode",
        "stripe.confirmKlarnaPayment('nonsense')": "does not simulate",
        "stripe.confirmCardSetup('nonsense')": "begin with seti_",
        "stripe.createPaymentMethod({})": "needs a type",
        "stripe.createToken(stripe.elements().create('cardNumber'))": "together with a mounted",
        "stripe.createToken(stripe.elements().create('card'))": "Please mount the Element",
        "stripe.confirmPayment({ elements })": "return_url",
        "stripe.confirmSetup({ elements, redirect: 'if_required' })": "not that of a setup_intent",
        "stripe.retrieveSetupIntent('nonsense')": "Invalid value",
        f"stripe.handleNextAction({{ clientSecret: '{intent.client_secret}' }})": "no action",
        "Stripe('sk_test_123')": "publishable",
    }
    for call, text in wrong.items():
        script = f"(async () => {call})().catch((error) => `${{error.name}}: ${{error.message}}`)"
        message = buyer.page.evaluate(script)
        assert message.startswith("IntegrationError"), call
        assert text in message


def test_what_the_page_sends_itself_is_not_asked_for(buyer: Buyer, euros: Any) -> None:
    fields = {"billingDetails": {"name": "never", "address": {"country": "never"}}}
    buyer.open(euros.client_secret, options={"fields": fields})
    buyer.frame.locator("[name=number]").fill(VISA)
    expect(buyer.frame.locator("[name=country]")).to_be_hidden()
    buyer.choose("sepa_debit")
    expect(buyer.frame.locator("[name=name]")).to_be_hidden()
    buyer.frame.locator("[name=iban]").fill(IBAN)
    buyer.frame.locator("[name=email]").fill("ana@example.com")
    confirm = """(details) => stripe.confirmPayment({ elements, redirect: "if_required",
      confirmParams: { payment_method_data: { billing_details: details } } }).catch(String)"""
    missing = buyer.page.evaluate(confirm, {"name": "Ana Ejemplo"})
    assert missing.startswith('IntegrationError: You specified "never" for address.country')
    details = {"name": "Ana Ejemplo", "address": {"country": "ES"}}
    assert buyer.page.evaluate(confirm, details)["paymentIntent"]["status"] == "processing"


def test_calls_that_confirm_with_one_method(buyer: Buyer, euros: Any, v1: Any) -> None:
    setup = setup_intent(v1)
    buyer.open(euros.client_secret)

    def call(name: str, secret: str, method: Any, **data: Any) -> Any:
        script = "([name, ...arguments]) => stripe[name](...arguments)"
        options = {"handleActions": data.pop("handleActions", True)}
        return buyer.page.evaluate(
            script, [name, secret, data | {"payment_method": method}, options]
        )

    token = {"card": {"token": "tok_mastercard"}, "billing_details": {"name": "Ana Ejemplo"}}
    saved = call("confirmCardSetup", setup.client_secret, token)["setupIntent"]
    assert saved["status"] == "succeeded"
    assert v1.payment_methods.retrieve(saved["payment_method"]).card.brand == "mastercard"
    challenged = "pm_card_threeDSecure2Required"
    secret = euros.client_secret
    waiting = call("confirmCardPayment", secret, challenged, handleActions=False)["paymentIntent"]
    assert waiting["next_action"]["type"] == "use_stripe_sdk"
    pesos = v1.payment_intents.create({"amount": 50000, "currency": "mxn"})
    owner = {"billing_details": {"name": "Ana Ejemplo", "email": "ana@example.com"}}
    buyer.page.evaluate(
        "([secret, payment_method]) => {"
        " window.next = stripe.confirmOxxoPayment(secret, { payment_method }) }",
        [pesos.client_secret, owner],
    )
    buyer.page.frame_locator("dialog iframe").get_by_role("button", name="Close").click()
    assert buyer.page.evaluate("next")["paymentIntent"]["status"] == "requires_action"
    buyer.page.evaluate(
        "(secret) => { stripe.confirmIdealPayment(secret, { payment_method: { ideal: {} },"
        " return_url: location.origin + '/done' }) }",
        secret,
    )
    buyer.page.get_by_role("button", name="Complete").click()
    assert buyer.returned()["redirect_status"] == "succeeded"


def setup_intent(v1: Any) -> Any:
    customer = v1.customers.create({"name": "Ana Ejemplo"})
    return v1.setup_intents.create({"customer": customer.id})


@pytest.mark.parametrize(("number", "button"), [(VISA, None), (CHALLENGED, "Complete")])
def test_a_card_is_saved(buyer: Buyer, v1: Any, number: str, button: str | None) -> None:
    setup = setup_intent(v1)
    buyer.open(setup.client_secret)
    buyer.fill(number)
    buyer.page.click("#pay")
    saved = buyer.answer(button) if button else buyer.result()
    assert saved["setupIntent"]["status"] == "succeeded"
    result = buyer.page.evaluate("(s) => stripe.retrieveSetupIntent(s)", setup.client_secret)
    assert result["setupIntent"]["id"] == setup.id
    cards = v1.payment_methods.list({"customer": setup.customer}).data
    assert [card.type for card in cards] == ["card"]


def test_a_debit_is_saved_and_redirect_always_goes_on(buyer: Buyer, v1: Any) -> None:
    setup = setup_intent(v1)
    buyer.open(setup.client_secret, redirect="always")
    buyer.fill_debit(IBAN)
    buyer.page.click("#pay")
    query = buyer.returned()
    assert (query["setup_intent"], query["redirect_status"]) == (setup.id, "succeeded")


def test_a_refused_card_is_not_saved(buyer: Buyer, v1: Any) -> None:
    setup = setup_intent(v1)
    buyer.open(setup.client_secret, locale="es")
    buyer.fill(CHALLENGED)
    buyer.page.click("#pay")
    error = buyer.answer("Rechazar")["error"]
    assert error["code"] == "setup_intent_authentication_failure"
    assert error["message"].startswith("No hemos podido autenticar tu método de pago.")
    assert error["setup_intent"]["status"] == "requires_payment_method"


def test_a_saved_card_pays_again(buyer: Buyer, v1: Any) -> None:
    setup = setup_intent(v1)
    buyer.open(setup.client_secret)
    buyer.fill(VISA)
    method = buyer.pay()["setupIntent"]["payment_method"]
    params = {"amount": 2000, "currency": "usd", "customer": setup.customer}
    intent = v1.payment_intents.create(params)
    params = {
        "clientSecret": intent.client_secret,
        "redirect": "if_required",
        "confirmParams": {"payment_method": method},
    }
    paid = buyer.page.evaluate("(params) => stripe.confirmPayment(params)", params)
    assert paid["paymentIntent"]["status"] == "succeeded"
