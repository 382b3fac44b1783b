"""Small shops, written as Stripe's guides teach it, in a real browser, on the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.wrappers import Request, Response

from tests.servers import serve

from .conftest import CHALLENGED, IBAN, PUBLISHABLE_KEY, VISA

DECLINED = "4000000000009995"
SCRIPT = (Path(__file__).parent / "pages.js").read_text()
PAGE = """<!doctype html><html lang="en"><title>Shop</title>
<form><label for="name">Name</label><input id="name" value="Ana Ejemplo"><div id="address"></div>
<label for="fields">Card</label><div id="fields"></div><button disabled>Pay</button></form>
<ul id="out" role="status"></ul>
<script src="{root}/stripe.js"></script><script src="/pages.js"></script></html>"""


@pytest.fixture
def shop_page(browser: Browser, root: str, v1: Any) -> Iterator[tuple[Page, str]]:
    """A page, and the address of the shop whose server answers it."""

    def site(environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        if request.path == "/pages.js":
            return Response(SCRIPT, mimetype="text/javascript")(environ, start_response)
        if f'"{request.path}":' in SCRIPT:
            html = PAGE.format(root=root)
            return Response(html, mimetype="text/html")(environ, start_response)
        answer: dict[str, Any] = {"publishableKey": PUBLISHABLE_KEY}
        if request.path == "/intents":
            intent = v1.payment_intents.create(request.get_json(force=True))
            answer = {"id": intent.id, "clientSecret": intent.client_secret}
        elif request.path.startswith("/intents/"):
            intent = v1.payment_intents.confirm(request.path.split("/")[2])
            answer = {"id": intent.id, "status": intent.status}
        return Response(json.dumps(answer), mimetype="application/json")(environ, start_response)

    server = serve(site)
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(8000)
    yield context.new_page(), server.url
    context.close()
    server.stop()


def pay(page: Page, text: str) -> None:
    page.evaluate("document.querySelector('#out').replaceChildren()")
    page.get_by_role("button", name="Pay").click()
    expect(page.locator("#out")).to_contain_text(text)


def type_card(page: Page, number: str) -> None:
    """Type a card as a buyer does: the fields of the Card Element follow each other."""
    page.get_by_text("Card", exact=True).click()
    field = page.frame_locator("#fields iframe").locator("[name=cardnumber]")
    expect(field).to_be_focused()
    field.fill("")
    page.keyboard.type(f"{number}1234123")


def pay_and_complete(page: Page) -> None:
    """Pay, and say yes at the bank."""
    page.get_by_role("button", name="Pay").click()
    bank = page.frame_locator("dialog iframe").frame_locator("iframe")
    bank.get_by_role("button", name="Complete").click()
    expect(page.locator("#out")).to_contain_text("succeeded")


def test_the_payment_element_redirects(shop_page: tuple[Page, str]) -> None:
    page, shop = shop_page
    page.goto(f"{shop}/payment")
    fields = page.frame_locator("iframe[title='Secure payment input frame']")
    fields.locator("#payment-numberInput").fill(DECLINED)
    fields.locator("#payment-expiryInput").fill("1234")
    fields.locator("#payment-cvcInput").fill("123")
    fields.locator("#payment-countryInput").select_option("ES")
    pay(page, "Your card has insufficient funds.")
    fields.locator("[name=number]").fill(VISA)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url("**/return?payment_intent=pi_*")
    expect(page.locator("#out")).to_contain_text("succeeded")


def test_a_card_element_is_typed_in_one_go(shop_page: tuple[Page, str], v1: Any) -> None:
    page, shop = shop_page
    page.goto(f"{shop}/card")
    pay(page, "Your card number is incomplete.")
    type_card(page, DECLINED)
    expect(page).to_have_title("visa true")
    classes = "StripeElement StripeElement--focus StripeElement--complete"
    expect(page.locator("#fields")).to_have_class(classes)
    style = "(node) => getComputedStyle(node).color"
    fields = page.frame_locator("#fields iframe")
    assert fields.locator("[name=cvc]").evaluate(style) == "rgb(1, 2, 3)"
    pay(page, "Your card has insufficient funds.")
    type_card(page, CHALLENGED)
    pay_and_complete(page)
    (last, *_others) = v1.payment_intents.list({"expand": ["data.payment_method"]}).data
    assert last.payment_method.billing_details.name == "Ana Ejemplo"


def test_the_server_confirms_with_a_method(shop_page: tuple[Page, str]) -> None:
    page, shop = shop_page
    page.goto(f"{shop}/method")
    type_card(page, CHALLENGED)
    pay_and_complete(page)


def test_the_server_confirms_with_a_token(shop_page: tuple[Page, str], v1: Any) -> None:
    page, shop = shop_page
    page.goto(f"{shop}/token")
    card = page.frame_locator("iframe[title='Secure payment input frame']")
    card.locator("[name=number]").fill(CHALLENGED)
    card.locator("[name=expiry]").fill("1234")
    card.locator("[name=cvc]").fill("123")
    # The Address Element asks for the country; the Payment Element does not.
    expect(card.locator("[name=country]")).to_be_hidden()
    pay(page, "Your address is incomplete.")
    address = page.frame_locator("iframe[title='Secure address input frame']")
    for name, text in {"addressLine1": "Calle Mayor 1", "locality": "Madrid"}.items():
        address.locator(f"[name={name}]").fill(text)
    address.locator("[name=postalCode]").fill("28013")
    assert page.evaluate("address.getValue()")["complete"] is False
    address.get_by_label("Province").select_option("Madrid")
    value = page.evaluate("address.getValue()")
    assert (value["complete"], value["value"]["address"]["line2"]) == (True, None)
    pay(page, "3184")
    page.frame_locator("dialog iframe").frame_locator("iframe").get_by_role(
        "button", name="Complete"
    ).click()
    expect(page.locator("#out")).to_contain_text("succeeded")
    (last,) = v1.payment_intents.list({"expand": ["data.payment_method"]}).data
    details = last.payment_method.billing_details
    assert (details.name, details.address.postal_code) == ("Ana Ejemplo", "28013")


def test_a_debit_is_confirmed_with_an_iban_element(shop_page: tuple[Page, str]) -> None:
    page, shop = shop_page
    page.goto(f"{shop}/debit")
    pay(page, "Your IBAN is incomplete.")
    page.frame_locator("iframe[title='Secure IBAN input frame']").locator("[name=iban]").fill(IBAN)
    pay(page, "processing")
