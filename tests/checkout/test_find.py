"""'Find my order' does not disclose who has orders."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest

from tests.buyer import HIDDEN

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


def find_orders(buyer, email):
    data = {"csrf_token": buyer.csrf_token("/orders/find"), "email": email}
    return buyer.post("/orders/find", data)


def without_random_text(answer) -> bytes:
    return re.sub(rb'(name="csrf_token" value|nonce)="[^"]*"', b"", answer.content)


def comparable(headers) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("Date", "Set-Cookie")}


def test_addresses_with_and_without_orders_get_the_same_response(shopfront):
    shopfront.buyer().reserve(1)
    with_orders = find_orders(shopfront.buyer(), "ana@example.com")
    without_orders = find_orders(shopfront.buyer(), "nobody@example.com")
    assert with_orders.status_code == without_orders.status_code == 200
    assert without_random_text(with_orders) == without_random_text(without_orders)
    assert comparable(with_orders.headers).keys() == comparable(without_orders.headers).keys()
    assert with_orders.headers["Content-Length"] == without_orders.headers["Content-Length"]


def test_only_the_mail_has_the_links_and_only_of_that_address(shopfront):
    mine = shopfront.buyer().reserve(1)
    other = shopfront.buyer(email="eva@example.com").reserve(1)
    find_orders(shopfront.buyer(), "ANA@Example.com")
    shopfront.run_jobs()
    (path,) = shopfront.mails()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    text = mail.get_body(("plain",)).get_content()
    assert mail["To"] == "ana@example.com"
    assert f"/orders/{mine.token}" in text
    assert other.token not in text


def test_an_address_without_orders_gets_no_mail(shopfront):
    find_orders(shopfront.buyer(), "nobody@example.com")
    shopfront.run_jobs()
    assert not shopfront.mails()


def test_an_invalid_address_is_shown_again_with_its_error(shopfront):
    answer = find_orders(shopfront.buyer(), "ana@")
    assert answer.status_code == 422
    assert 'id="email-error"' in answer.text
    assert 'value="ana@"' in answer.text
    assert "csrf_token" in dict(HIDDEN.findall(answer.text))


class TestLimits:
    @pytest.fixture
    def settings(self):
        return {"finds_per_address": "2 per hour"}

    @pytest.mark.parametrize("email", ["ana@example.com", "nobody@example.com"])
    def test_requests_are_limited_alike_for_both(self, shopfront, email):
        shopfront.buyer().reserve(1)
        answers = [find_orders(shopfront.buyer(), email).status_code for _ in range(3)]
        assert answers == [200, 200, 429]
