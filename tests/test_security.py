"""SEC-01, SEC-03, SEC-07: what strangers, writers of markup and forgers of headers get."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest
import requests
from sqlalchemy import update

from tmt.catalog.models import Event, TicketType
from tmt.core.errors import RateLimited
from tmt.core.ids import new_token
from tmt.core.limits import Limits

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]

# Every route of the shop, by who may open it. A new one fails the test until it stands here.
PUBLIC = {
    "static", "catalog.index", "catalog.poster", "checkout.event", "payments.place",
    "checkout.find", "web.language", "webhook.receive", "health.healthz", "health.readyz",
    "health.exposed_metrics", "health.probe", "web.robots", "web.security_contact",
    "api.create", "api.confirm", "api.get",
    "checkout.total", "billing.plans", "billing.join_plan", "customers.ask_for_link",
    "customers.sign_out",
}  # fmt: skip
# Opened by an order's token and by nothing else.
BY_TOKEN = {
    "payments.order", "payments.pay", "payments.return_from_stripe", "payments.status",
    "payments.cancel", "payments.confirm_email", "payments.change_email", "checkout.extend",
    "tickets.pdf", "tickets.calendar", "tickets.mail",
}  # fmt: skip
# Opened by a link in a mail, once.
BY_LINK = {"customers.sign_in_by_link", "customers.confirm_email_change"}
# Opened to who is signed in, and shows what is theirs.
BY_SESSION = {
    "account.overview", "billing.memberships", "billing.pay", "billing.return_from_stripe",
    "billing.cancel", "billing.resume", "customers.settings", "customers.company",
    "customers.change_email", "customers.give_up_email_change", "customers.sign_out_everywhere",
}  # fmt: skip


def token_routes(shopfront):
    rules = [rule for rule in shopfront.app.url_map.iter_rules() if rule.endpoint in BY_TOKEN]
    return [(m, rule.rule) for rule in rules for m in sorted(rule.methods & {"GET", "POST"})]


def paid_order(shopfront, **who):
    buyer = shopfront.buyer(**who)
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    return buyer, order


@pytest.mark.case("SEC-01")
def test_sec01_every_route_is_classified(shopfront):
    rules = list(shopfront.app.url_map.iter_rules())
    assert {rule.endpoint for rule in rules} == PUBLIC | BY_TOKEN | BY_LINK | BY_SESSION
    for rule in rules:
        assert ("token" in rule.arguments) == (rule.endpoint in BY_TOKEN | BY_LINK), rule


@pytest.mark.case("SEC-01")
def test_sec01_an_account_opens_to_nobody_who_is_not_signed_in(shopfront):
    stranger = shopfront.buyer()
    form = {"csrf_token": stranger.csrf_token("/sign-in")}
    for rule in shopfront.app.url_map.iter_rules():
        for method in sorted(rule.methods & {"GET", "POST"} if rule.endpoint in BY_SESSION else ()):
            url = shopfront.url + rule.rule.replace("<int:membership_id>", "1")
            data = form if method == "POST" else None
            answer = stranger.session.request(
                method, url, data=data, timeout=20, allow_redirects=False
            )
            assert answer.status_code == 303, (method, rule)
            assert answer.headers["Location"].startswith("/sign-in"), (method, rule)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("SEC-01")
def test_sec01_no_route_opens_to_anything_but_the_token(shopfront):
    buyer, order = paid_order(shopfront)
    stranger = shopfront.buyer(name="Eva", email="eva@example.com")
    ticket = shopfront.tickets(order)[0]
    guesses = [
        new_token(), order.code, str(order.id), order.checkout_token, ticket.code,
        order.token[:-1], order.token + "x", order.token.swapcase(), f"%20{order.token}",
        "0" * 22, "ñ" * 22, "%00" * 22, "' OR 1=1 --", "x" * 500,
    ]  # fmt: skip
    form = {"csrf_token": stranger.csrf_token("/orders/find")}
    bodies = set()
    for method, rule in token_routes(shopfront):
        for guess in guesses:
            url = shopfront.url + rule.replace("<token>", guess)
            data = form if method == "POST" else None
            answer = stranger.session.request(method, url, data=data, timeout=20)
            assert answer.status_code == 404, (method, rule, guess)
            assert order.code not in answer.text
            assert "ana@example.com" not in answer.text
            bodies.add(answer.content)
    assert len(bodies) == 1
    assert buyer.get(f"/orders/{order.token}").ok


@pytest.mark.case("SEC-01")
def test_sec01_changing_anything_needs_the_forms_token(shopfront):
    order = shopfront.buyer().reserve(1)
    paths = [rule for method, rule in token_routes(shopfront) if method == "POST"]
    paths += [f"/events/{shopfront.event.slug}/orders", "/orders/find"]
    for path in paths:
        url = shopfront.url + path.replace("<token>", order.token)
        assert requests.post(url, data={"email": "a@example.com"}, timeout=20).status_code == 400
    assert shopfront.order(order.token).status == "held"


@pytest.mark.case("SEC-01")
def test_sec01_personal_pages_are_stored_by_nobody(shopfront):
    buyer, order = paid_order(shopfront)
    for method, rule in token_routes(shopfront):
        if method == "GET":
            url = rule.replace("<token>", order.token)
            answer = buyer.get(url, allow_redirects=False)
            assert answer.headers["Cache-Control"] == "no-store", rule
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]


MARKUP = "\"'><script id={0}>alert(1)</script><img src=x onerror={0}>&{{{{7*7}}}}{{% raw %}}"
EVENT_FIELDS = ("title", "description", "venue", "address", "city")


def mark(field: str) -> str:
    return MARKUP.format(f"m_{field}")


def markup_everywhere(shopfront):
    event, general = shopfront.event, shopfront.event.ticket_types[0]

    def unit(session):
        fields = {field: mark(field) for field in EVENT_FIELDS}
        session.execute(update(Event).where(Event.id == event.id).values(**fields))
        texts = {"name": mark("type"), "description": mark("about")}
        session.execute(update(TicketType).where(TicketType.id == general.id).values(**texts))

    shopfront.shop.db.transaction(unit)


def assert_harmless(text: str, where: str) -> None:
    assert not re.search(r"<script id=m_|<img src=x|alert\(1\)</script>", text), where
    assert not re.search(r"<[^>]*\"'><", text), where
    assert "&49{%" not in text, where


@pytest.mark.case("SEC-03")
def test_sec03_markup_in_every_field_is_text_on_every_page(shopfront):
    markup_everywhere(shopfront)
    buyer = shopfront.buyer(name=mark("buyer")[:110])
    general = shopfront.event.ticket_types[0]
    order = buyer.reserve(1, **{f"holder-{general.id}": mark("holder")[:110]})
    pages = {path: buyer.get(path).text for path in (
        "/", f"/?q={mark('q')}&city={mark('city')}", f"/events/{shopfront.event.slug}",
        f"/orders/{order.token}", f"/orders/{order.token}/pay",
        f"/posters/{shopfront.event.slug}.svg",
    )}  # fmt: skip
    shopfront.confirm(buyer.open_pay_page(order))
    pages["paid"] = buyer.get(f"/orders/{order.token}/return").text
    typed = {"name": mark("name"), "email": mark("email"), f"quantity-{general.id}": '"><b>'}
    pages["refused"] = buyer.place(1, **typed).text
    pages["find"] = buyer.post(
        "/orders/find", {"email": mark("f"), "csrf_token": buyer.csrf_token("/orders/find")}
    ).text
    for path, text in pages.items():
        assert_harmless(text, path)
    for field in ("type", "title"):
        assert f"id=m_{field}" in pages["paid"], field
    assert "id=m_holder" in pages["paid"]
    assert "id=m_name" in pages["refused"]


@pytest.mark.case("SEC-03")
def test_sec03_markup_is_text_in_mails_and_harmless_in_headers(shopfront):
    markup_everywhere(shopfront)
    buyer = shopfront.buyer(name=mark("buyer")[:110])
    order = buyer.reserve(1)
    shopfront.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    token = buyer.csrf_token("/orders/find")
    buyer.post("/orders/find", {"email": buyer.email, "csrf_token": token})
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 2
    for path in shopfront.mails():
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert_harmless(mail.get_body(("html",)).get_content(), path.name)
        assert "id=m_title" in mail.get_body(("html",)).get_content()


@pytest.mark.case("SEC-03")
def test_sec03_a_redirect_leads_nowhere_else(shopfront):
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"):
        answer = shopfront.buyer().get(
            "/language/en", params={"next": target}, allow_redirects=False
        )
        assert answer.headers["Location"] == "/"


FORGED = ("203.0.113.{}", "203.0.113.{}, 10.0.0.1", "x{}", "' OR {}", "[::{}]:80", "{0}" * 300)


class TestForgedAddresses:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": "4 per hour"}

    @pytest.mark.case("SEC-07")
    @pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-Ip", "Forwarded"])
    def test_sec07_forged_headers_do_not_make_another_client(self, shopfront, header):
        codes = []
        for number in range(6):
            buyer = shopfront.buyer(email=f"buyer{number}@example.com")
            buyer.session.headers[header] = FORGED[number].format(number)
            codes.append(buyer.place(1).status_code)
        assert codes == [303] * 4 + [429] * 2

    @pytest.mark.case("SEC-07")
    def test_sec07_the_webhook_is_not_limited(self, shopfront):
        assert {shopfront.deliver("{}").status_code for _ in range(30)} == {400}


class TestBehindOneProxy:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": "2 per hour", "trusted_proxies": 1}

    def place(self, shopfront, forwarded, number):
        buyer = shopfront.buyer(email=f"buyer{number}@example.com")
        buyer.session.headers["X-Forwarded-For"] = forwarded
        return buyer.place(1).status_code

    @pytest.mark.case("SEC-07")
    def test_sec07_only_what_the_proxy_added_counts(self, shopfront):
        codes = [self.place(shopfront, f"{FORGED[n].format(n)}, 198.51.100.7", n) for n in range(4)]
        assert codes == [303, 303, 429, 429]
        assert self.place(shopfront, "198.51.100.7, 198.51.100.8", 9) == 303

    @pytest.mark.case("SEC-07")
    def test_sec07_garbage_is_no_fault_of_ours(self, shopfront):
        for number, garbage in enumerate(("", ",", ";;", "x" * 4000, "1.2.3.4:99", "ñ")):
            assert self.place(shopfront, garbage.encode(), number) in (303, 429)


@pytest.mark.case("SEC-07")
def test_sec07_workers_count_together(shopfront):
    """Two processes of a shop are two such objects on one file."""
    folder = shopfront.shop.settings.instance
    workers = [Limits("", folder) for _ in range(4)]
    for number in range(8):
        workers[number % 4].hit("8 per hour", "orders", "203.0.113.1")
    for worker in workers:
        with pytest.raises(RateLimited) as refused:
            worker.hit("8 per hour", "orders", "203.0.113.1")
        assert 3500 < refused.value.retry_after <= 3600
    workers[0].hit("8 per hour", "orders", "203.0.113.2")
