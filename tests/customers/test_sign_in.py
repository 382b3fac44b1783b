"""Signing in by a mailed link, and the sessions that follow."""

from __future__ import annotations

import re
import threading
from email import message_from_bytes, policy

import pytest
from sqlalchemy import func, select

from tests.customers.flows import ask_for_link, is_signed_in, mailed_links, signed_in, submit, use
from tests.test_personal_data import values
from tmt.core.log import redact_text
from tmt.customers import sign_in
from tmt.customers.links import LinkEnded
from tmt.customers.models import Customer, CustomerLink, CustomerSession


def plain(answer) -> bytes:
    return re.sub(rb'(name="csrf_token" value|nonce)="[^"]*"', b"", answer.content)


def test_every_address_gets_the_same_answer_and_customers_alone_a_mail(shopfront):
    shopfront.buyer().reserve(1)
    known = ask_for_link(shopfront.buyer(), "ANA@Example.com")
    unknown = ask_for_link(shopfront.buyer(), "nobody@example.com")
    assert (known.status_code, plain(known)) == (200, plain(unknown))
    assert known.headers["Content-Length"] == unknown.headers["Content-Length"]
    assert [to for to, _link in mailed_links(shopfront)] == ["ana@example.com"]


def test_a_link_signs_in_once_and_only_by_its_button(shopfront):
    order = shopfront.buyer().reserve(1)
    buyer, other = shopfront.buyer(), shopfront.buyer()
    ask_for_link(buyer)
    ((_to, link),) = mailed_links(shopfront)
    page = other.get(link)
    assert "ana@example.com" in page.text
    assert 'name="robots" content="noindex"' in page.text
    assert not is_signed_in(other)
    assert use(buyer, link).status_code == 303
    assert order.code in buyer.get("/account").text
    again = other.get(link)
    assert (again.status_code, "Este enlace ya no funciona" in again.text) == (410, True)
    assert submit(other, "/sign-in", link).status_code == 410
    assert not is_signed_in(other)


def test_of_two_who_use_a_link_at_once_one_is_signed_in(shopfront):
    shopfront.buyer().reserve(1)
    ask_for_link(shopfront.buyer())
    token = mailed_links(shopfront)[0][1].rpartition("/")[2]
    results, together = [], threading.Barrier(4)

    def race():
        together.wait()
        try:
            results.append(bool(sign_in.sign_in(shopfront.shop, token)))
        except LinkEnded:
            results.append(False)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]
    with shopfront.shop.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(CustomerSession)) == 1


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("minutes", [14, 16])
def test_a_link_is_for_fifteen_minutes_from_when_it_was_asked_for(shopfront, minutes):
    shopfront.buyer().reserve(1)
    buyer = shopfront.buyer()
    ask_for_link(buyer)
    shopfront.clock.move(minutes=7)
    ((_to, link),) = mailed_links(shopfront)
    shopfront.clock.move(minutes=minutes - 7)
    assert buyer.get(link).status_code == (200 if minutes < 15 else 410)


@pytest.mark.databases("sqlite")
def test_a_mail_that_was_late_is_not_sent(shopfront):
    shopfront.buyer().reserve(1)
    ask_for_link(shopfront.buyer())
    shopfront.clock.move(minutes=16)
    assert mailed_links(shopfront) == []


@pytest.mark.databases("sqlite")
def test_signing_in_ends_other_links_and_what_the_browser_had(shopfront):
    """Whoever planted a cookie before knows nothing of the session that begins."""
    shopfront.buyer().reserve(1)
    buyer = shopfront.buyer()
    ask_for_link(buyer)
    ask_for_link(buyer)
    first, second = (link for _to, link in mailed_links(shopfront))
    old_token, old_cookie = buyer.csrf_token("/sign-in"), buyer.session.cookies["tmt"]
    assert use(buyer, first).status_code == 303
    assert buyer.get(second).status_code == 410
    assert buyer.session.cookies["tmt"] != old_cookie
    assert buyer.post("/sign-out", {"csrf_token": old_token}).status_code == 400
    assert is_signed_in(buyer)


def test_sessions_end_here_everywhere_and_by_time(shopfront):
    shopfront.buyer().reserve(1)
    one, two, three = (signed_in(shopfront) for _ in range(3))
    cookie = one.session.cookies["tmt"]
    submit(one, "/account", "/sign-out")
    assert [is_signed_in(buyer) for buyer in (one, two, three)] == [False, True, True]
    # A copy of the cookie does not sign in again.
    thief = shopfront.buyer()
    thief.session.cookies.set("tmt", cookie)
    assert not is_signed_in(thief)
    assert "2 dispositivos" in two.get("/account/settings").text
    ask_for_link(shopfront.buyer())
    link = mailed_links(shopfront)[-1][1]
    submit(two, "/account", "/account/sign-out-everywhere")
    assert [is_signed_in(buyer) for buyer in (two, three)] == [False, False]
    assert two.get(link).status_code == 410
    four = signed_in(shopfront)
    shopfront.clock.move(days=31)
    assert not is_signed_in(four)
    shopfront.shop.jobs.run("purge")
    with shopfront.shop.db.reading() as session:
        for table in (CustomerSession, CustomerLink):
            assert session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.databases("sqlite")
def test_the_database_and_the_logs_have_no_token(shopfront):
    shopfront.buyer().reserve(1)
    ask_for_link(shopfront.buyer())
    link = mailed_links(shopfront)[-1][1]
    stored = {value for _table, _column, value in values(shopfront.shop.db)}
    assert not [value for value in stored if link.rpartition("/")[2] in value]
    for path in (link, f"/account/email/{'x' * 22}"):
        assert path.rpartition("/")[2] not in redact_text(f"GET {path}?next=1")


@pytest.mark.databases("sqlite")
class TestRefusals:
    @pytest.fixture
    def settings(self):
        return {"finds_per_address": "2 per hour"}

    @pytest.mark.parametrize("email", ["ana@example.com", "nobody@example.com"])
    def test_requests_are_limited_alike_for_both(self, shopfront, email):
        shopfront.buyer().reserve(1)
        answers = [ask_for_link(shopfront.buyer(), email).status_code for _ in range(3)]
        assert answers == [200, 200, 429]

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/account", 303), ("/account/settings", 303), ("/sign-in/nothing", 410)],
    )
    def test_strangers_see_nothing(self, shopfront, path, status):
        answer = shopfront.buyer().get(path, allow_redirects=False)
        assert answer.status_code == status
        if status == 303:
            assert answer.headers["Location"].endswith("/sign-in")

    @pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/account/sign-out-everywhere"])
    def test_a_form_without_token_does_nothing(self, shopfront, path):
        assert shopfront.buyer().post(path, {"email": "ana@example.com"}).status_code == 400

    def test_an_invalid_address_is_shown_again(self, shopfront):
        answer = ask_for_link(shopfront.buyer(), "ana@")
        assert (answer.status_code, 'id="email-error"' in answer.text) == (422, True)


def test_an_address_is_one_customer_however_it_is_written(shopfront):
    first = shopfront.buyer().reserve(1)
    second = shopfront.buyer(email="ANA@example.com", name="Other").reserve(1)
    assert first.customer_id == second.customer_id
    with shopfront.shop.db.reading() as session:
        assert [c.name for c in session.scalars(select(Customer))] == ["Ana Ejemplo"]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("language", "subject"), [("en", "Sign in at"), ("es", "Inicia sesión en")]
)
def test_the_mail_is_in_the_language_of_who_asks(shopfront, language, subject):
    shopfront.buyer().reserve(1)
    buyer = shopfront.buyer()
    buyer.session.headers["Accept-Language"] = language
    ask_for_link(buyer)
    ((_to, link),) = mailed_links(shopfront)
    (path,) = shopfront.mails()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert mail["Subject"].startswith(subject)
    body = mail.get_body(("html",)).get_content()
    assert (f'href="{shopfront.url}{link}"' in body, "<img" in body) == (True, False)
