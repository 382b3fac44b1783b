"""The pay page on bad days: a blocked or slow Stripe.js, a decline, another language half-way."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest
from playwright.sync_api import Route, expect

from tests.journeys.steps import DECLINED, VISA, VISA_CHALLENGED, Visitor, eventually
from tests.shopfront import add_event

SHIFTS = """
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const { hadRecentInput, value } of list.getEntries())
        if (!hadRecentInput) window.shifts += value;
    }).observe({ type: "layout-shift", buffered: true });
"""


def test_a_blocked_stripe_js_says_what_to_do_and_loads_again(visitor: Visitor) -> None:
    visitor.page.route("**/stripe.js", lambda route: route.abort())
    visitor.reserve(1)
    expect(visitor.alert).to_contain_text("could not be loaded. Check your connection")
    expect(visitor.page.locator("#payment-loading")).to_be_hidden()
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.alert).to_contain_text("No se ha podido cargar")
    expect(visitor.pay_button).to_have_text(re.compile("^Pagar"))
    visitor.page.get_by_role("link", name="English").click()
    visitor.page.unroute("**/stripe.js")
    visitor.page.get_by_role("button", name="Load again").click()
    visitor.pay()
    visitor.expect_tickets(1)


def test_a_broken_stripe_js_says_what_to_do(visitor: Visitor) -> None:
    visitor.page.route("**/stripe.js", lambda route: route.fulfill(body="window.Stripe = 7;"))
    visitor.reserve(1)
    expect(visitor.alert).to_contain_text("could not be loaded")


def test_name_and_email_go_into_stripes_form(visitor: Visitor) -> None:
    create = "(_, options) => { window.options = options; return { on() {}, mount() {} }; }"
    stub = f"window.Stripe = () => ({{ elements: () => ({{ create: {create} }}) }});"
    visitor.page.route("**/stripe.js", lambda route: route.fulfill(body=stub))
    visitor.reserve(1)
    details = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    defaults = visitor.page.wait_for_function("window.options && window.options.defaultValues")
    assert defaults.json_value() == {"billingDetails": details}


def hold_back_stripe_js(visitor: Visitor) -> list[Route]:
    """Opens a pay page whose Stripe.js does not come; the requests for it, to be continued."""
    waiting: list[Route] = []
    visitor.page.add_init_script(SHIFTS)

    def hold_back(route: Route) -> None:
        # Stripe's own frame loads the file, too.
        route.continue_() if waiting else waiting.append(route)

    visitor.page.route("**/stripe.js", hold_back)
    order = visitor.front.buyer().reserve(1)
    address = f"{visitor.front.url}/orders/{order.token}/pay"
    visitor.page.goto(address, wait_until="domcontentloaded")
    expect(visitor.page.get_by_text("Loading payment form…")).to_be_visible()
    return waiting


def test_a_form_that_does_not_come_is_offered_again(visitor: Visitor) -> None:
    visitor.page.clock.install()
    hold_back_stripe_js(visitor)
    visitor.page.clock.fast_forward("00:21")
    expect(visitor.alert).to_contain_text("taking long to load")
    expect(visitor.page.get_by_role("button", name="Load again")).to_be_visible()


def test_the_payment_form_moves_nothing_when_it_appears(visitor: Visitor) -> None:
    waiting = hold_back_stripe_js(visitor)
    waiting[0].continue_()
    expect(visitor.pay_button).to_be_enabled()
    expect(visitor.card.locator("[name=number]")).to_be_visible()
    expect(visitor.page.locator("#payment-loading")).to_be_hidden()
    assert visitor.page.evaluate("window.shifts") < 0.01


@pytest.mark.parametrize(("number", "bank"), [(DECLINED, None), (VISA_CHALLENGED, "Fail")])
def test_after_a_refusal_the_focus_is_on_the_message(
    visitor: Visitor, number: str, bank: str | None
) -> None:
    visitor.reserve(1)
    visitor.pay(number)
    if bank:
        visitor.answer_bank(bank)
    expect(visitor.alert).to_be_visible()
    expect(visitor.alert).to_be_focused()


def test_more_time_and_another_language_lose_nothing_typed(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.type_card(VISA)
    visitor.page.get_by_role("button", name="Get more time").click()
    expect(visitor.page.get_by_text("Your reservation has been extended.")).to_be_visible()
    visitor.page.get_by_text("Change email").click()
    visitor.page.fill("#email", "eva@example")
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.page.locator("html")).to_have_attribute("lang", "es")
    expect(visitor.page.get_by_text("Hemos ampliado tu reserva")).to_be_visible()
    expect(visitor.page.locator("#email")).to_be_visible()
    expect(visitor.page.locator("#email")).to_have_value("eva@example")
    expect(visitor.pay_button).to_have_text(re.compile("^Pagar"))
    expect(visitor.card.locator("[name=number]")).to_have_value(re.compile("4242"))
    visitor.pay_button.click()
    visitor.expect_tickets(1)


def test_another_language_keeps_the_order_form(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.choose(2)
    visitor.introduce()
    visitor.page.get_by_text("Names on the tickets").click()
    visitor.page.get_by_label("General, ticket 2").fill("Luis")
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.page.locator("html")).to_have_attribute("lang", "es")
    expect(visitor.page.locator("#email")).to_have_value("ana@example.com")
    expect(visitor.page.locator("[name^=holder-]").nth(1)).to_have_value("Luis")
    visitor.reserve_button.click()
    visitor.page.wait_for_url("**/pay")
    assert visitor.order.lines[0].holders == ["", "Luis"]


def test_a_refused_form_has_the_focus_and_another_language_keeps_it(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.choose(1)
    visitor.introduce(name="www.example.org")
    visitor.reserve_button.click()
    problems = visitor.page.get_by_role("alert").filter(has_text="Please check")
    expect(problems).to_be_focused()
    visitor.reserve(1)
    visitor.go(f"/orders/{visitor.order.token}")
    visitor.page.get_by_text("Change email").click()
    visitor.page.fill("#email", "eva@gmial.com")
    visitor.page.get_by_role("button", name="Use this address").click()
    expect(problems).to_be_focused()
    visitor.page.fill("#email", "eva@example.or")
    visitor.page.get_by_role("link", name="Español").click()
    expect(visitor.page.locator("html")).to_have_attribute("lang", "es")
    expect(visitor.page.locator("#email")).to_be_visible()
    expect(visitor.page.locator("#email")).to_have_value("eva@example.or")


@pytest.mark.parametrize(
    "wakes",
    [
        "document.dispatchEvent(new Event('visibilitychange'))",
        "(() => { const now = Date.now; Date.now = () => now() + 540000; })()",
    ],
)
def test_the_clock_asks_the_server_when_the_page_comes_back(visitor: Visitor, wakes: str) -> None:
    visitor.reserve(1)
    expect(visitor.page.locator("#hold-left")).to_have_text(re.compile(r"1[45]:\d\d"))
    visitor.front.clock.move(minutes=9)
    visitor.page.evaluate(wakes)
    expect(visitor.page.locator("#hold-left")).to_have_text(re.compile(r"^[56]:\d\d"))


def test_a_free_event_speaks_of_no_money(visitor: Visitor) -> None:
    event = add_event(visitor.front.shop.db, slug="gratis", prices=(0,), capacities=(9,))
    visitor.open_event(event)
    visitor.choose(1)
    expect(visitor.page.locator("#total-line")).to_be_hidden()
    expect(visitor.reserve_button).to_have_text("Get tickets")
    assert "0.00" not in visitor.page.inner_text("main")
    assert "while you pay" not in visitor.page.inner_text("main")


@pytest.mark.parametrize(
    "settings",
    [{"organiser": "Teatro Central S.L.", "contact": "hola@example.org", "tax_line": "IVA incluido",
      "terms_url": "https://example.org/terms", "privacy_url": "https://example.org/privacy"}],
)  # fmt: skip
def test_who_sells_is_on_the_pages_and_in_the_mails(visitor: Visitor) -> None:
    visitor.reserve(1)
    expect(visitor.page.locator(".seller")).to_contain_text("buying from Teatro Central S.L.")
    foot = visitor.page.locator("footer")
    for text in ("Teatro Central S.L.", "Terms of sale", "Privacy", "hola@example.org", "IVA"):
        expect(foot).to_contain_text(text)
    visitor.pay()
    visitor.expect_tickets(1)
    eventually(visitor.front.mails)
    mail = message_from_bytes(visitor.front.mails()[0].read_bytes(), policy=policy.default)
    bodies = [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]  # type: ignore[attr-defined]
    for text in ("Teatro Central S.L.", "hola@example.org", "https://example.org/terms"):
        assert all(text in body for body in bodies), text
