"""A buyer corrects the e-mail address, by the order's link and by nothing else."""

from __future__ import annotations

from email import message_from_bytes

import pytest
import requests

from tests.payments.flows import english_buyer, paid
from tests.shopfront import Shopfront
from tmt.checkout.models import Order

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def change(shopfront: Shopfront, order: Order, email: str, **more: str) -> requests.Response:
    buyer = english_buyer(shopfront)
    token = buyer.csrf_token(f"/orders/{order.token}")
    data = {"csrf_token": token, "email": email} | more
    return buyer.post(f"/orders/{order.token}/email", data)


def recipients(shopfront: Shopfront) -> list[str]:
    return [message_from_bytes(path.read_bytes())["To"] for path in shopfront.mails()]


def test_a_held_orders_address_is_shown_and_changed_on_the_pay_page(shopfront: Shopfront) -> None:
    buyer = english_buyer(shopfront)
    order = buyer.reserve(2)
    assert order.email in buyer.get(f"/orders/{order.token}/pay").text
    answer = change(shopfront, order, " Eva <eva@example.org>")
    assert answer.url.endswith("/pay")
    assert "eva@example.org" in answer.text
    shopfront.run_jobs()
    assert recipients(shopfront) == []
    assert shopfront.order(order.token).email_key == "eva@example.org"


def test_a_paid_orders_tickets_are_sent_to_the_new_address_once(shopfront: Shopfront) -> None:
    order, _pi = paid(shopfront)
    for _twice in range(2):
        change(shopfront, order, "eva@example.org")
    shopfront.run_jobs()
    assert sorted(recipients(shopfront)) == ["ana@example.com", "eva@example.org"]


@pytest.mark.parametrize("email", ["", "nobody", "eva@gmial.com"])
def test_what_is_no_address_or_looks_mistyped_changes_nothing(
    shopfront: Shopfront, email: str
) -> None:
    order = english_buyer(shopfront).reserve(1)
    answer = change(shopfront, order, email)
    assert answer.status_code == 422
    assert "field-error" in answer.text
    assert shopfront.order(order.token).email == order.email
    if "@" in email:
        assert change(shopfront, order, email, email_as_typed=email).ok
        assert shopfront.order(order.token).email == email


def test_changes_are_limited_and_end_with_the_order(shopfront: Shopfront) -> None:
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    answers = [change(shopfront, order, f"eva{n}@example.org") for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    buyer.cancel(order)
    assert "Change email" not in buyer.get(f"/orders/{order.token}").text
