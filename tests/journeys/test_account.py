"""A buyer's account: signing in by a mailed link, the orders in it, and what changes there."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.customers.flows import links_in_mails
from tests.journeys.steps import VISA, Visitor, eventually
from tmt.checkout.models import OrderStatus


def _submit(visitor: Visitor, action: str) -> None:
    visitor.page.locator(f"main form[action='{action}'] button").click()


def _open_link(visitor: Visitor, count: int, which: int = -1) -> str:
    """Opens one of so many mailed links, and clicks its button; its path."""
    eventually(lambda: len(links_in_mails(visitor.front)) == count)
    link = links_in_mails(visitor.front)[which][1]
    visitor.go(link)
    _submit(visitor, link)
    return link


def _ask_for_link(visitor: Visitor, email: str) -> str:
    """What the page says then."""
    visitor.go("/sign-in")
    visitor.page.fill("#email", email)
    _submit(visitor, "/sign-in")
    expect(visitor.page.locator("main form")).to_have_count(0)
    # Before the style sheet is there, lines break elsewhere.
    return " ".join(visitor.page.locator("main").inner_text().split())


def test_a_buyer_signs_in_and_changes_everything(visitors: Callable[..., Visitor]) -> None:
    ana, phone = visitors("en"), visitors("en", viewport={"width": 390, "height": 800})
    ana.reserve(2)
    _ask_for_link(ana, "ana@example.com")
    link = _open_link(ana, 1)
    ana.page.get_by_role("link", name=re.compile("^Pay now")).click()
    ana.pay(VISA)
    ana.page.wait_for_url(re.compile(r"/orders/[\w-]{22}$"))
    order = ana.order
    assert order.status == OrderStatus.PAID
    assert _ask_for_link(phone, "nobody@example.com") == _ask_for_link(phone, "ana@example.com")
    phone.go(link)
    expect(phone.page.get_by_role("heading", level=1)).to_have_text(
        "This link does not work any more"
    )
    _open_link(phone, 2)
    expect(phone.page.locator("main")).to_contain_text(order.code)
    with phone.page.expect_download() as download:
        phone.page.get_by_role("link", name=re.compile("^Download PDF")).click()
    assert download.value.suggested_filename.endswith(".pdf")

    ana.go("/account/settings")
    expect(ana.page.locator("main")).to_contain_text("You are signed in on 2 devices.")
    ana.page.fill("#name", "Ana Nueva")
    ana.page.select_option("#language", "es")
    _submit(ana, "/account/settings")
    expect(ana.page.get_by_role("heading", level=1)).to_have_text("Ajustes")
    expect(ana.page.locator("#name")).to_have_value("Ana Nueva")
    ana.page.fill("#email", "eva@example.com")
    _submit(ana, "/account/email")
    expect(ana.page.locator("main")).to_contain_text("eva@example.com")
    eventually(lambda: len(links_in_mails(ana.front)) == 4)
    _open_link(ana, 4, 2)
    expect(ana.page.get_by_role("heading", level=1)).to_have_text("Falta un paso")
    _open_link(ana, 4, 3)
    phone.go("/account")
    expect(phone.page).to_have_url(re.compile("/sign-in$"))

    _ask_for_link(ana, "eva@example.com")
    _open_link(ana, 5)
    ana.go("/orders/find")
    ana.page.locator("main a[href='/account']").click()
    expect(ana.page.locator("main")).to_contain_text(order.code)
    ana.go("/account/settings")
    _submit(ana, "/account/sign-out-everywhere")
    ana.go("/account")
    expect(ana.page).to_have_url(re.compile("/sign-in$"))


def test_a_company_is_typed_once_whatever_the_language(visitors: Callable[..., Visitor]) -> None:
    ana = visitors("en")
    ana.reserve(1)
    _ask_for_link(ana, "ana@example.com")
    _open_link(ana, 1)
    ana.go("/account/company")
    typed = {"company": "Ruido S.L.", "tax_id": "B12345678", "street": "Mayor 1", "city": "Madrid"}
    for name, value in (typed | {"postal_code": "28001"}).items():
        ana.page.fill(f"#{name}", value)
    ana.page.select_option("#country", "ES")
    ana.page.locator(".languages a[lang=es]").click()
    expect(ana.page.get_by_role("heading", level=1)).to_have_text("Empresa")
    expect(ana.page.locator("#country option:checked")).to_have_text("España")
    _submit(ana, "/account/company")
    expect(ana.page.locator("#company")).to_have_value("Ruido S.L.")
    ana.page.reload()
    expect(ana.page.locator("#country")).to_have_value("ES")
