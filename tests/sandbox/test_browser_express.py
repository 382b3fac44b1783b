"""The Express Checkout Element with its test wallet, in a real browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import FrameLocator, expect

from .conftest import Checkout, until

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


def open_express(checkout: Checkout, intent: Any, **options: Any) -> None:
    checkout.open(None, elements=LATER, element="expressCheckout", options=options)
    checkout.page.evaluate("(secret) => { window.secret = secret; }", intent.client_secret)
    checkout.page.evaluate(LISTEN)


def told(checkout: Checkout, name: str) -> Any:
    """What was told of this name; waits for it."""
    script = f"told.find((event) => event.name === '{name}')"
    until(lambda: bool(checkout.page.evaluate(script)))
    return checkout.page.evaluate(script)


def wallet(checkout: Checkout) -> FrameLocator:
    checkout.frame.get_by_role("button", name="Pay with the test wallet").click()
    return checkout.page.frame_locator("dialog iframe")


def test_the_test_wallet_pays(checkout: Checkout, intent: Any, v1: Any) -> None:
    open_express(checkout, intent)
    ready = checkout.events("ready")[0]
    assert ready["elementType"] == "expressCheckout"
    assert [name for name, there in ready["availablePaymentMethods"].items() if there] == [
        "googlePay"
    ]
    sheet = wallet(checkout)
    expect(sheet.get_by_text("$20.00")).to_be_visible()
    sheet.get_by_role("button", name="Pay").click()
    confirmed = told(checkout, "confirm")
    assert confirmed["billingDetails"]["email"] == "ana@example.com"
    assert confirmed["submitted"] == {"selectedPaymentMethod": "google_pay"}
    assert told(checkout, "result")["result"]["paymentIntent"]["status"] == "succeeded"
    assert v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert told(checkout, "click")["expressPaymentType"] == "google_pay"
    assert checkout.page.locator("dialog").count() == 0
    assert checkout.problems == []


def test_the_wallet_is_left(checkout: Checkout, intent: Any) -> None:
    open_express(checkout, intent)
    wallet(checkout).get_by_role("button", name="Cancel").click()
    assert told(checkout, "cancel")["elementType"] == "expressCheckout"
    checkout.page.evaluate("told.length = 0")
    wallet(checkout).locator("button:focus").wait_for()
    checkout.page.keyboard.press("Escape")
    told(checkout, "cancel")
    assert checkout.page.evaluate("told.some((event) => event.name === 'confirm')") is False


def test_the_page_may_refuse_the_click(checkout: Checkout, intent: Any) -> None:
    open_express(checkout, intent)
    checkout.page.evaluate("window.refuse = true")
    checkout.frame.get_by_role("button").click()
    told(checkout, "click")
    checkout.page.wait_for_timeout(100)
    assert checkout.page.locator("dialog").count() == 0


def test_a_wallet_that_is_not_wanted_is_not_offered(checkout: Checkout, intent: Any) -> None:
    open_express(checkout, intent, paymentMethods={"googlePay": "never"})
    assert checkout.events("ready")[0]["availablePaymentMethods"] is None
    expect(checkout.frame.locator("button")).to_be_hidden()


def test_wallet_and_fields_live_side_by_side(checkout: Checkout, intent: Any) -> None:
    checkout.open(intent.client_secret, locale="es")
    checkout.page.evaluate(
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
    assert checkout.page.evaluate("elements.getElement('expressCheckout') === express")
    button = checkout.page.frame_locator("iframe >> nth=0").get_by_role("button")
    button.click()
    checkout.page.frame_locator("dialog iframe").get_by_role("button", name="Cancelar").click()
    assert checkout.pay()["error"]["code"] == "incomplete_number"
    button.click()
    checkout.page.evaluate("document.querySelector('#out').textContent = ''")
    checkout.page.frame_locator("dialog iframe").get_by_role("button", name="Pagar").click()
    assert checkout.result()["paymentIntent"]["status"] == "succeeded"
    # The wallet has had its turn: the fields are asked again.
    assert checkout.pay()["error"]["code"] == "incomplete_number"
