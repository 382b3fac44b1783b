"""The Express Buyer Element with its test wallet, in a real browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import FrameLocator, expect

from .conftest import Buyer, until

LATER = {"mode": "payment", "amount": 2000, "currency": "usd"}
LISTEN = """() => {
  window.emitted = [];
  element.on("cancel", (event) => emitted.push({ name: "cancel", ...event }));
  element.on("click", ({ expressPaymentType, resolve, reject }) => {
    emitted.push({ name: "click", expressPaymentType });
    window.refuse ? reject() : resolve({ emailRequired: true });
  });
  element.on("confirm", async ({ billingDetails }) => {
    const submitted = await elements.submit();
    emitted.push({ name: "confirm", billingDetails, submitted });
    const result = await stripe.confirmPayment({
      elements, clientSecret: window.secret, redirect: "if_required",
    });
    emitted.push({ name: "result", result });
  });
}"""


def open_express(buyer: Buyer, intent: Any, **options: Any) -> None:
    buyer.open(None, elements=LATER, element="expressCheckout", options=options)
    buyer.page.evaluate("(secret) => { window.secret = secret; }", intent.client_secret)
    buyer.page.evaluate(LISTEN)


def emitted(buyer: Buyer, name: str) -> Any:
    """What was emitted of this name; waits for it."""
    script = f"emitted.find((event) => event.name === '{name}')"
    until(lambda: bool(buyer.page.evaluate(script)))
    return buyer.page.evaluate(script)


def wallet(buyer: Buyer) -> FrameLocator:
    buyer.frame.get_by_role("button", name="Pay with the test wallet").click()
    return buyer.page.frame_locator("dialog iframe")


def test_the_test_wallet_pays(buyer: Buyer, intent: Any, v1: Any) -> None:
    open_express(buyer, intent)
    ready = buyer.events("ready")[0]
    assert ready["elementType"] == "expressCheckout"
    assert [name for name, there in ready["availablePaymentMethods"].items() if there] == [
        "googlePay"
    ]
    sheet = wallet(buyer)
    expect(sheet.get_by_text("$20.00")).to_be_visible()
    sheet.get_by_role("button", name="Pay").click()
    confirmed = emitted(buyer, "confirm")
    assert confirmed["billingDetails"]["email"] == "ana@example.com"
    assert confirmed["submitted"] == {"selectedPaymentMethod": "google_pay"}
    assert emitted(buyer, "result")["result"]["paymentIntent"]["status"] == "succeeded"
    assert v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert emitted(buyer, "click")["expressPaymentType"] == "google_pay"
    assert buyer.page.locator("dialog").count() == 0
    assert buyer.problems == []


def test_the_wallet_is_left(buyer: Buyer, intent: Any) -> None:
    open_express(buyer, intent)
    wallet(buyer).get_by_role("button", name="Cancel").click()
    assert emitted(buyer, "cancel")["elementType"] == "expressCheckout"
    buyer.page.evaluate("emitted.length = 0")
    wallet(buyer).locator("button:focus").wait_for()
    buyer.page.keyboard.press("Escape")
    emitted(buyer, "cancel")
    assert buyer.page.evaluate("emitted.some((event) => event.name === 'confirm')") is False


def test_the_page_may_refuse_the_click(buyer: Buyer, intent: Any) -> None:
    open_express(buyer, intent)
    buyer.page.evaluate("window.refuse = true")
    buyer.frame.get_by_role("button").click()
    emitted(buyer, "click")
    buyer.page.wait_for_timeout(100)
    assert buyer.page.locator("dialog").count() == 0


def test_a_wallet_that_is_not_wanted_is_not_offered(buyer: Buyer, intent: Any) -> None:
    open_express(buyer, intent, paymentMethods={"googlePay": "never"})
    assert buyer.events("ready")[0]["availablePaymentMethods"] is None
    expect(buyer.frame.locator("button")).to_be_hidden()


def test_wallet_and_fields_live_side_by_side(buyer: Buyer, intent: Any) -> None:
    buyer.open(intent.client_secret, locale="es")
    buyer.page.evaluate(
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
    assert buyer.page.evaluate("elements.getElement('expressCheckout') === express")
    button = buyer.page.frame_locator("iframe >> nth=0").get_by_role("button")
    button.click()
    buyer.page.frame_locator("dialog iframe").get_by_role("button", name="Cancelar").click()
    assert buyer.pay()["error"]["code"] == "incomplete_number"
    button.click()
    buyer.page.evaluate("document.querySelector('#out').textContent = ''")
    buyer.page.frame_locator("dialog iframe").get_by_role("button", name="Pagar").click()
    assert buyer.result()["paymentIntent"]["status"] == "succeeded"
    # After the wallet, the fields are used again.
    assert buyer.pay()["error"]["code"] == "incomplete_number"
