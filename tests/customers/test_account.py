"""The account page: whose orders it shows, and what customers change about themselves."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from tests.customers.flows import (
    ask_for_link,
    is_signed_in,
    mailed_links,
    signed_in,
    submit,
    use,
)
from tmt.checkout.models import Order
from tmt.customers.models import Customer


def customers(front) -> dict[str, str]:
    """The names of all customers by their address."""
    with front.shop.db.reading() as session:
        return {c.email: c.name for c in session.scalars(select(Customer))}


def orders_shown(buyer, *orders) -> list[bool]:
    page = buyer.get("/account").text
    return [order.code in page for order in orders]


def test_the_account_has_the_orders_of_its_address_and_those_placed_signed_in(shopfront):
    mine = shopfront.buyer().reserve(1)
    others = shopfront.buyer(email="eva@example.com").reserve(1)
    ana, eva = signed_in(shopfront), signed_in(shopfront, "eva@example.com")
    ana.email = "gift@example.com"
    gift = ana.reserve(1)
    assert orders_shown(ana, mine, others, gift) == [True, False, True]
    assert orders_shown(eva, mine, others, gift) == [False, True, False]
    # An order of a version without customers is found by its address.
    unlinked = update(Order).where(Order.id == mine.id).values(customer_id=None)
    shopfront.shop.db.transaction(lambda session: session.execute(unlinked))
    assert orders_shown(ana, mine) == [True]
    assert orders_shown(eva, mine) == [False]


@pytest.mark.databases("sqlite")
def test_paid_orders_have_their_tickets_and_past_ones_come_last(shopfront):
    buyer = signed_in_with_order(shopfront)
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    link = f"/orders/{order.token}/tickets.pdf"
    page = buyer.get("/account").text
    assert link in page
    assert 'id="earlier-title"' not in page
    shopfront.clock.move(days=25)
    buyer = signed_in(shopfront)
    shopfront.clock.move(days=6)
    page = buyer.get("/account").text
    assert page.index('id="earlier-title"') < page.index(link)


def signed_in_with_order(front, email="ana@example.com"):
    front.buyer(email=email).reserve(1)
    return signed_in(front, email)


def test_a_corrected_address_is_that_of_another_customer(shopfront):
    wrong = shopfront.buyer(email="wrong@example.com")
    order = wrong.reserve(1)
    submit(wrong, f"/orders/{order.token}", f"/orders/{order.token}/email", email="ana@example.com")
    assert customers(shopfront) == {"wrong@example.com": "", "ana@example.com": "Ana Ejemplo"}
    assert orders_shown(signed_in(shopfront), order) == [True]
    assert orders_shown(signed_in(shopfront, "wrong@example.com"), order) == [False]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "  Ana\nMaría ", "language": "en"}, 303),
        ({"name": "", "language": "en"}, 422),
        ({"name": "see www.example.com", "language": "en"}, 422),
        ({"name": "x" * 121, "language": "en"}, 422),
        ({"name": "Ana", "language": "de"}, 422),
    ],
)
def test_name_and_language(shopfront, fields, status):
    buyer = signed_in_with_order(shopfront)
    answer = submit(buyer, "/account/settings", "/account/settings", **fields)
    assert answer.status_code == status
    page = buyer.get("/account/settings").text
    assert customers(shopfront)["ana@example.com"] == (
        "Ana María" if status == 303 else "Ana Ejemplo"
    )
    assert ('<html lang="en">' in page, "Your changes are saved." in page) == (status == 303,) * 2


def ask_for_change(buyer, email) -> None:
    answer = submit(buyer, "/account/settings", "/account/email", email=email)
    assert answer.status_code == 303, answer.text


@pytest.mark.parametrize("old_first", [True, False])
def test_an_address_changes_once_both_have_confirmed(shopfront, old_first):
    buyer, stranger = signed_in_with_order(shopfront), shopfront.buyer()
    ask_for_change(buyer, "new@example.com")
    links = dict(mailed_links(shopfront)[-2:])
    assert set(links) == {"ana@example.com", "new@example.com"}
    order = ["ana@example.com", "new@example.com"]
    first, second = order if old_first else order[::-1]
    assert stranger.get(links[first]).status_code == 200
    assert use(stranger, links[first]).status_code == 200
    assert stranger.get(links[first]).status_code == 410
    assert list(customers(shopfront)) == ["ana@example.com"]
    assert is_signed_in(buyer)
    assert use(stranger, links[second]).status_code == 200
    assert list(customers(shopfront)) == ["new@example.com"]
    # Whoever was signed in by the old address is so no more.
    assert not is_signed_in(buyer)
    assert is_signed_in(signed_in(shopfront, "new@example.com"))


def test_two_customers_who_are_one_person_become_one(shopfront):
    mine = shopfront.buyer().reserve(1)
    other = signed_in_with_order(shopfront, "eva@example.com")
    theirs = other.reserve(0, 1)
    buyer = signed_in(shopfront)
    ask_for_change(buyer, "EVA@example.com")
    # The answer is that to any address.
    assert "EVA@example.com" in buyer.get("/account/settings").text
    for _to, link in mailed_links(shopfront)[-2:]:
        use(buyer, link)
    assert list(customers(shopfront)) == ["EVA@example.com"]
    assert not is_signed_in(other)
    assert orders_shown(signed_in(shopfront, "eva@example.com"), mine, theirs) == [True, True]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("how", ["given up", "another one", "a day"])
def test_a_change_that_ended_cannot_be_confirmed(shopfront, how):
    buyer = signed_in_with_order(shopfront)
    ask_for_change(buyer, "new@example.com")
    (_, old), (_, new) = mailed_links(shopfront)[-2:]
    assert use(buyer, old).status_code == 200
    if how == "given up":
        submit(buyer, "/account/settings", "/account/email/give-up")
    elif how == "another one":
        ask_for_change(buyer, "newer@example.com")
    else:
        shopfront.clock.move(hours=25)
    assert submit(buyer, "/sign-in", new).status_code in (400, 410)
    assert buyer.get(new).status_code == 410
    assert list(customers(shopfront)) == ["ana@example.com"]
    assert "new@example.com" not in buyer.get("/account/settings").text


@pytest.mark.databases("sqlite")
def test_the_form_of_an_event_knows_who_is_signed_in(shopfront):
    buyer = signed_in_with_order(shopfront)
    page = f"/events/{shopfront.event.slug}"
    assert 'value="ana@example.com"' in buyer.get(page).text
    assert "ana@example.com" not in shopfront.buyer().get(page).text


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("chosen", "language"), [("", "en"), ("es", "es")])
def test_who_signs_in_elsewhere_reads_the_language_of_the_account(shopfront, chosen, language):
    buyer, settings = signed_in_with_order(shopfront), "/account/settings"
    submit(buyer, settings, settings, name="Ana", language="en")
    ask_for_link(shopfront.buyer())
    elsewhere, link = shopfront.buyer(), mailed_links(shopfront)[-1][1]
    elsewhere.session.headers["Accept-Language"] = "es"
    if chosen:
        elsewhere.get(f"/language/{chosen}")
    use(elsewhere, link)
    assert f'<html lang="{language}">' in elsewhere.get("/account").text


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("email", ["ana@example.com", "ana@", "ana@gmial.com"])
def test_no_change_to_what_is_no_other_address(shopfront, email):
    buyer = signed_in_with_order(shopfront)
    answer = submit(buyer, "/account/settings", "/account/email", email=email)
    assert (answer.status_code, 'id="email-error"' in answer.text) == (422, True)
    assert 'value="Ana Ejemplo"' in answer.text
