"""The company that a customer orders for."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.customers.flows import mailed_links, submit, use
from tests.customers.test_account import ask_for_change, signed_in_with_order
from tmt.customers.models import Company

COMPANY = {
    "company": "Ruido  S.L.",
    "tax_id": "b-12.345 678",
    "street": "Calle Mayor 1",
    "postal_code": "28013",
    "city": "Madrid",
    "country": "ES",
}
EMPTY = dict.fromkeys(COMPANY, "")


def send(buyer, **fields: str):
    fields = COMPANY | fields
    return submit(buyer, "/account/company", "/account/company", **fields).status_code


def companies(front) -> list[tuple[str, str]]:
    with front.shop.db.reading() as session:
        return [(c.name, c.tax_id) for c in session.scalars(select(Company))]


def test_a_company_is_stored_changed_and_removed(shopfront):
    buyer = signed_in_with_order(shopfront)
    assert (send(buyer), companies(shopfront)) == (303, [("Ruido S.L.", "B12345678")])
    page = buyer.get("/account/company").text
    assert 'value="Ruido S.L."' in page
    assert '<option value="ES" selected>España' in page
    assert (send(buyer, company="Eco"), companies(shopfront)) == (303, [("Eco", "B12345678")])
    assert (send(buyer, **EMPTY), companies(shopfront)) == (303, [])
    assert (send(buyer, **EMPTY | {"country": "ES"}), companies(shopfront)) == (303, [])


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, "") for name in COMPANY), ("tax_id", "¿?"), ("country", "XX"), ("city", "x" * 101)],
)
def test_what_is_incomplete_is_shown_again(shopfront, name, value):
    buyer = signed_in_with_order(shopfront)
    answer = submit(buyer, "/account/company", "/account/company", **COMPANY | {name: value})
    assert (answer.status_code, f'id="{name}-error"' in answer.text) == (422, True)
    assert companies(shopfront) == []


def test_a_company_is_that_of_the_customer_who_stays(shopfront):
    other = signed_in_with_order(shopfront, "eva@example.com")
    assert send(other) == 303
    buyer = signed_in_with_order(shopfront)
    ask_for_change(buyer, "eva@example.com")
    for _to, link in mailed_links(shopfront)[-2:]:
        use(buyer, link)
    assert companies(shopfront) == [("Ruido S.L.", "B12345678")]
