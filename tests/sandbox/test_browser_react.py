"""A React application with Stripe's own packages, in a real browser, on the sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page
from werkzeug.wrappers import Request, Response

from tests.journeys.axe import grave_problems, install
from tests.servers import serve

from .conftest import CHALLENGED, PUBLISHABLE_KEY, VISA, until

APPLICATION = Path(__file__).parent / "react"
DECLINED = "4000000000009995"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The application as one script, with the packages that its lock file pins."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("React's packages come with npm, and there is no Node.js on this machine")
    with FileLock(tmp_path_factory.getbasetemp().parent / "react.lock"):
        installed = APPLICATION / "node_modules" / ".package-lock.json"
        lock = APPLICATION / "package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=APPLICATION, check=True, capture_output=True)
    esbuild = APPLICATION / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--jsx=automatic", "--define:process.env.NODE_ENV='development'"]
    command = [esbuild, "app.jsx", *options]
    return subprocess.run(
        command, cwd=APPLICATION, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install(tmp_path_factory.getbasetemp().parent / "axe.lock")


@pytest.fixture
def application(browser: Browser, root: str, bundle: str, axe: str) -> Iterator[Any]:
    """Opens a form of the application; the page's problems must be none at the end."""

    def site(environ: Any, start_response: Any) -> Any:
        if Request(environ).path == "/app.js":
            return Response(bundle, mimetype="text/javascript")(environ, start_response)
        html = '<!doctype html><html lang="en"><title>Shop</title><div id="root"></div>'
        html += f'<script src="{root}/stripe.js"></script><script src="/app.js"></script></html>'
        return Response(html, mimetype="text/html")(environ, start_response)

    server = serve(site)
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(8000)
    page, problems = context.new_page(), []
    page.on("console", lambda line: problems.append(line.text))
    page.on("pageerror", lambda error: problems.append(str(error)))

    def open_form(form: str, intent: Any) -> Page:
        settings = {"key": PUBLISHABLE_KEY, "form": form, "secret": intent.client_secret}
        page.goto(f"{server.url}/#{json.dumps(settings)}")
        return page

    yield open_form
    assert grave_problems(page, axe) == []
    # Nothing but declines, and what React says of its tools.
    harmless = ("Failed to load resource: the server responded with a status of 402", "%cDownload")
    assert [text for text in problems if not text.startswith(harmless)] == []
    context.close()
    server.stop()


def pay(page: Page) -> dict[str, Any]:
    page.get_by_role("button", name="Pay").click()
    return result_of(page)


def result_of(page: Page) -> dict[str, Any]:
    page.locator("#out:not(:empty)").wait_for()
    result: dict[str, Any] = json.loads(page.text_content("#out") or "")
    return result


def test_payment_address_and_email_elements_pay(application: Any, intent: Any, v1: Any) -> None:
    page = application("payment", intent)
    contact = page.frame_locator("iframe[title='Secure email input frame']")
    address = page.frame_locator("iframe[title='Secure address input frame']")
    card = page.frame_locator("iframe[title='Secure payment input frame']")
    card.locator("[name=number]").fill(VISA)
    card.locator("[name=expiry]").fill("12/34")
    card.locator("[name=cvc]").fill("123")
    card.locator("[name=postalCode]").fill("94107")
    assert pay(page)["error"]["code"] == "incomplete_email"
    contact.locator("[name=email]").fill("ana@example.com")
    assert pay(page)["error"]["code"] == "incomplete_name"
    address.locator("[name=country]").select_option("US")
    for name, text in {
        "name": "Ana Ejemplo",
        "addressLine1": "1 Main St",
        "locality": "Springfield",
        "postalCode": "94107",
        "phone": "+1 415 555 0100",
    }.items():
        address.locator(f"[name={name}]").fill(text)
    assert pay(page)["error"]["code"] == "incomplete_state"
    address.locator("[name=administrativeArea]").select_option(label="California")
    assert pay(page)["paymentIntent"]["status"] == "succeeded"
    assert page.text_content("#email") == "ana@example.com"
    paid = v1.payment_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert paid.payment_method.billing_details.email == "ana@example.com"
    assert paid.shipping.address.state == "CA"
    assert paid.shipping.phone == "+1 415 555 0100"


def test_a_card_element_pays(application: Any, intent: Any, v1: Any) -> None:
    page = application("card", intent)
    card = page.frame_locator("iframe[title='Secure card payment input frame']")
    assert pay(page)["error"]["code"] == "incomplete_number"
    card.locator("[name=cardnumber]").press_sequentially("4242424242424241")
    until(lambda: page.get_by_text("Your card number is invalid.").is_visible())
    assert page.locator(".StripeElement--invalid").count() == 1
    card.locator("[name=cardnumber]").fill(DECLINED)
    card.locator("[name=exp-date]").fill("1234")
    card.locator("[name=cvc]").fill("123")
    card.locator("[name=postal]").fill("94107")
    error = pay(page)["error"]
    assert (error["type"], error["decline_code"]) == ("card_error", "insufficient_funds")
    assert error["payment_intent"]["id"] == intent.id
    card.locator("[name=cardnumber]").fill(CHALLENGED)
    page.get_by_role("button", name="Pay").click()
    bank = page.frame_locator("iframe[src*=three-ds-2-challenge]")
    bank.frame_locator("iframe[name=stripe-challenge-frame]").locator(
        "#test-source-authorize-3ds"
    ).click()
    assert result_of(page)["paymentIntent"]["status"] == "succeeded"
    paid = v1.payment_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    details = paid.payment_method.billing_details
    assert (details.name, details.address.postal_code) == ("Ana Ejemplo", "94107")


def test_the_three_parts_of_a_card_make_a_token_and_a_method(
    application: Any, intent: Any, v1: Any
) -> None:
    page = application("parts", intent)
    number, expiry, cvc = (
        page.frame_locator(f"iframe[title='Secure {title} input frame']")
        for title in ("card number", "expiration date", "CVC")
    )
    number.locator("[name=cardnumber]").fill(VISA)
    assert pay(page)["error"]["code"] == "incomplete_expiry"
    expiry.locator("[name=exp-date]").fill("1234")
    cvc.locator("[name=cvc]").fill("123")
    result = pay(page)
    token, method = result["token"], result["paymentMethod"]
    assert (token["object"], token["card"]["last4"], token["card"]["name"]) == (
        "token",
        "4242",
        "Ana Ejemplo",
    )
    assert (method["card"]["brand"], method["card"]["exp_year"]) == ("visa", 2034)
    assert result["paymentIntent"]["status"] == "succeeded"
    paying = {"type": "card", "card": {"token": token["id"]}}
    other = v1.payment_intents.create({"amount": 500, "currency": "usd"})
    confirm = {"payment_method_data": paying, "return_url": "https://shop.example/"}
    assert v1.payment_intents.confirm(other.id, confirm).status == "succeeded"
