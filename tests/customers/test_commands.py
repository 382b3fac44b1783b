"""What the organiser does for customers: `flask customer`."""

from __future__ import annotations

import pytest

from tests.customers.flows import ask_for_link, is_signed_in, mailed_links, signed_in
from tests.customers.test_account import customers, orders_shown, signed_in_with_order


def flask(front, *words, **more):
    return front.app.test_cli_runner().invoke(args=["customer", *words], **more)


@pytest.mark.databases("sqlite")
def test_a_customer_is_signed_out_everywhere(shopfront):
    buyer, other = signed_in_with_order(shopfront), signed_in_with_order(shopfront, "b@example.com")
    ask_for_link(shopfront.buyer())
    link = mailed_links(shopfront)[-1][1]
    assert flask(shopfront, "sign-out", "ANA@example.com").exit_code == 0
    assert [is_signed_in(buyer), is_signed_in(other)] == [False, True]
    assert buyer.get(link).status_code == 410
    answer = flask(shopfront, "sign-out", "nobody@example.com")
    assert (answer.exit_code, "no customer has the address" in answer.output) == (1, True)


@pytest.mark.parametrize("new", ["new@example.com", "eva@example.com"])
def test_an_address_is_changed_for_who_lost_it(shopfront, new):
    order = shopfront.buyer().reserve(1)
    shopfront.buyer(email="eva@example.com").reserve(1)
    buyer, change = signed_in(shopfront), ("change-email", "ana@example.com")
    for refused in (flask(shopfront, *change, "ana@"), flask(shopfront, *change, new, input="n\n")):
        assert refused.exit_code == 1
        assert "ana@example.com" in customers(shopfront)
    answer = flask(shopfront, *change, new, input="y\n")
    assert answer.exit_code == 0, answer.output
    assert ("the two become one" in answer.output) == (new == "eva@example.com")
    assert set(customers(shopfront)) == {new, "eva@example.com"}
    assert not is_signed_in(buyer)
    assert orders_shown(signed_in(shopfront, new), order) == [True]
