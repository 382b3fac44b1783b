"""'Find my order' tells nobody who has bought."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest

from tests.actions import _HIDDEN

pytestmark = pytest.mark.usefixtures("sound")


def ask(buyer, email):
    data = {"csrf_token": buyer.csrf_token("/orders/find"), "email": email}
    return buyer.post("/orders/find", data)


def without_token(answer) -> bytes:
    return re.sub(rb'name="csrf_token" value="[^"]*"', b"", answer.content)


def without_csrf(headers) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("Date", "Set-Cookie")}


def test_known_and_unknown_addresses_get_the_same_answer(shopfront):
    shopfront.buyer().reserve(1)
    known = ask(shopfront.buyer(), "ana@example.com")
    unknown = ask(shopfront.buyer(), "nobody@example.com")
    assert known.status_code == unknown.status_code == 200
    assert without_token(known) == without_token(unknown)
    assert without_csrf(known.headers).keys() == without_csrf(unknown.headers).keys()
    assert known.headers["Content-Length"] == unknown.headers["Content-Length"]


def test_only_the_mail_brings_the_links_and_only_of_that_address(shopfront):
    mine = shopfront.buyer().reserve(1)
    other = shopfront.buyer(email="eva@example.com").reserve(1)
    ask(shopfront.buyer(), "ANA@Example.com")
    shopfront.run_jobs()
    (path,) = shopfront.mails()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    text = mail.get_body(("plain",)).get_content()
    assert mail["To"] == "ana@example.com"
    assert f"/orders/{mine.token}" in text
    assert other.token not in text


def test_nobody_gets_no_mail(shopfront):
    ask(shopfront.buyer(), "nobody@example.com")
    shopfront.run_jobs()
    assert not shopfront.mails()


def test_no_address_is_told_beside_the_field_and_kept(shopfront):
    answer = ask(shopfront.buyer(), "ana@")
    assert answer.status_code == 422
    assert 'id="email-error"' in answer.text
    assert 'value="ana@"' in answer.text
    assert "csrf_token" in dict(_HIDDEN.findall(answer.text))


class TestLimits:
    @pytest.fixture
    def settings(self):
        return {"finds_per_address": "2 per hour"}

    @pytest.mark.parametrize("email", ["ana@example.com", "nobody@example.com"])
    def test_asking_is_limited_alike_for_both(self, shopfront, email):
        shopfront.buyer().reserve(1)
        answers = [ask(shopfront.buyer(), email).status_code for _ in range(3)]
        assert answers == [200, 200, 429]
