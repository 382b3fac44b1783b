"""The Express Checkout Element with its test wallet, in a real browser."""

from __future__ import annotations

from typing import Any

import stripe
from playwright.sync_api import FrameLocator, expect

from .conftest import Till, until

LATER = {"mode": "payment", "amount": 2000, "currency": "usd"}
LISTEN = """() => {
  window.told = [];
  element.on("cancel", (event) => told.push({ name: "cancel", ...event }));
  element.on("click", ({ expressPaymentType, resolve, reject }) => {
    told.push({ name: "click", expressPaymentType });
    window.refuse ? reject() : resolve({ emailRequired: true });
  });
  element.on("confirm", async ({ billingDetails }) => {
    const submitted = await elements.submit();
    told.push({ name: "confirm", billingDetails, submitted });
    const result = await stripe.confirmPayment({
      elements, clientSecret: window.secret, redirect: "if_required",
    });
    told.push({ name: "result", result });
  });
}"""


def open_express(till: Till, intent: stripe.PaymentIntent, **options: Any) -> None:
    till.open(None, elements=LATER, element="expressCheckout", options=options)
    till.page.evaluate("(secret) => { window.secret = secret; }", intent.client_secret)
    till.page.evaluate(LISTEN)


def told(till: Till, name: str) -> Any:
    """What was told of this name; waits for it."""
    script = f"told.find((event) => event.name === '{name}')"
    until(lambda: bool(till.page.evaluate(script)))
    return till.page.evaluate(script)


def wallet(till: Till) -> FrameLocator:
    till.frame.get_by_role("button", name="Pay with the test wallet").click()
    return till.page.frame_locator("dialog iframe")


def test_the_test_wallet_pays(
    till: Till, intent: stripe.PaymentIntent, client: stripe.StripeClient
) -> None:
    open_express(till, intent)
    ready = till.events("ready")[0]
    assert ready["elementType"] == "expressCheckout"
    assert [name for name, there in ready["availablePaymentMethods"].items() if there] == [
        "googlePay"
    ]
    sheet = wallet(till)
    expect(sheet.get_by_text("$20.00")).to_be_visible()
    sheet.get_by_role("button", name="Pay").click()
    confirmed = told(till, "confirm")
    assert confirmed["billingDetails"]["email"] == "ana@example.com"
    assert confirmed["submitted"] == {"selectedPaymentMethod": "google_pay"}
    assert told(till, "result")["result"]["paymentIntent"]["status"] == "succeeded"
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert told(till, "click")["expressPaymentType"] == "google_pay"
    assert till.page.locator("dialog").count() == 0
    assert till.problems == []


def test_the_wallet_is_left(till: Till, intent: stripe.PaymentIntent) -> None:
    open_express(till, intent)
    wallet(till).get_by_role("button", name="Cancel").click()
    assert told(till, "cancel")["elementType"] == "expressCheckout"
    till.page.evaluate("told.length = 0")
    wallet(till).locator("button:focus").wait_for()
    till.page.keyboard.press("Escape")
    told(till, "cancel")
    assert till.page.evaluate("told.some((event) => event.name === 'confirm')") is False


def test_the_page_may_refuse_the_click(till: Till, intent: stripe.PaymentIntent) -> None:
    open_express(till, intent)
    till.page.evaluate("window.refuse = true")
    till.frame.get_by_role("button").click()
    told(till, "click")
    till.page.wait_for_timeout(100)
    assert till.page.locator("dialog").count() == 0


def test_a_wallet_that_is_not_wanted_is_not_offered(
    till: Till, intent: stripe.PaymentIntent
) -> None:
    open_express(till, intent, paymentMethods={"googlePay": "never"})
    assert till.events("ready")[0]["availablePaymentMethods"] is None
    expect(till.frame.locator("button")).to_be_hidden()


def test_wallet_and_fields_live_side_by_side(till: Till, intent: stripe.PaymentIntent) -> None:
    till.open(str(intent.client_secret), locale="es")
    till.page.evaluate(
        """(secret) => {
          window.secret = secret;
          window.fields = element;
          const place = document.createElement("div");
          document.body.prepend(place);
          window.express = elements.create("expressCheckout");
          express.on("confirm", async () => {
            const result = await stripe.confirmPayment({ elements, redirect: "if_required" });
            document.querySelector("#out").textContent = JSON.stringify(result);
          });
          express.mount(place);
        }""",
        intent.client_secret,
    )
    assert till.page.evaluate("elements.getElement('expressCheckout') === express")
    button = till.page.frame_locator("iframe >> nth=0").get_by_role("button")
    button.click()
    till.page.frame_locator("dialog iframe").get_by_role("button", name="Cancelar").click()
    assert till.pay()["error"]["code"] == "incomplete_number"
    button.click()
    till.page.evaluate("document.querySelector('#out').textContent = ''")
    till.page.frame_locator("dialog iframe").get_by_role("button", name="Pagar").click()
    assert till.result()["paymentIntent"]["status"] == "succeeded"
    # The wallet has had its turn: the fields are asked again.
    assert till.pay()["error"]["code"] == "incomplete_number"
