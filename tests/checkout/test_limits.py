"""Rate limits: requests beyond them get 429 with Retry-After, and holds are not affected."""

from __future__ import annotations

import pytest

from tests.stripe_proxy import wait_for_event
from tmt.core.ids import new_token

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def place(buyer, number):
    """Another order of the same browser, as if for another person."""
    return buyer.place(1, checkout_token=new_token(), email=f"buyer{number}@example.com")


class TestSessions:
    @pytest.fixture
    def settings(self):
        return {"orders_per_session": "2 per hour"}

    @pytest.mark.case("STK-03")
    def test_so_many_orders_for_one_session(self, shopfront):
        buyer = shopfront.buyer()
        form, cookies = buyer.form(), buyer.session.cookies.copy()
        codes = []
        for number in range(4):
            quantities = {f"quantity-{shopfront.event.ticket_types[0].id}": "1"}
            other = {"checkout_token": new_token(), "email": f"buyer{number}@example.com"}
            path = f"/events/{shopfront.event.slug}/orders"
            # With a newer cookie the browser would be led to its first order.
            buyer.session.cookies = cookies.copy()
            answer = buyer.post(path, form | quantities | other, allow_redirects=False)
            codes.append(answer.status_code)
        assert codes == [303, 303, 429, 429]
        assert shopfront.stock() == (2, 0)
        assert place(shopfront.buyer(), 9).status_code == 303

    def test_an_older_cookie_is_the_same_session(self, shopfront):
        buyer = shopfront.buyer()
        buyer.form()
        cookies = buyer.session.cookies.copy()
        codes = []
        for number in range(3):
            buyer.session.cookies = cookies.copy()
            codes.append(place(buyer, number).status_code)
        assert codes == [303, 303, 429]


class TestOverall:
    @pytest.fixture
    def settings(self):
        return {"orders_overall": "3 per hour", "trusted_proxies": 1}

    def test_orders_of_all_buyers_are_limited(self, shopfront):
        codes = []
        for number in range(4):
            buyer = shopfront.buyer()
            buyer.session.headers["X-Forwarded-For"] = f"203.0.113.{number}"
            codes.append(place(buyer, number).status_code)
        assert codes == [303, 303, 303, 429]


class TestTwoLimitsTogether:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": "9 per minute; 2 per hour"}

    def test_both_apply_and_the_longer_wait_is_in_the_response(self, shopfront):
        answers = [place(shopfront.buyer(), n) for n in range(3)]
        assert [a.status_code for a in answers] == [303, 303, 429]
        assert 3500 < int(answers[2].headers["Retry-After"]) <= 3600


class TestConfirmsOfOneOrder:
    @pytest.fixture
    def settings(self):
        return {"confirms_per_order": "3 per hour"}

    def test_page_views_of_one_order_are_limited_and_its_hold_stays(self, shopfront):
        buyer = shopfront.buyer()
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        responses = [
            buyer.get(f"/orders/{order.token}/{page}") for page in ("return", "pay", "pay")
        ]
        # The return page redirects to the order's page here, which does not call Stripe.
        assert [a.status_code for a in responses] == [200, 200, 429]
        assert 3500 < int(responses[2].headers["Retry-After"]) <= 3600
        assert pi not in responses[2].text
        assert shopfront.order(order.token).status == "held"
        assert shopfront.stock() == (1, 0)
        assert buyer.get(f"/orders/{order.token}").status_code == 200
        other = shopfront.buyer()
        assert other.open_pay_page(other.reserve(1))

    def test_a_limit_on_the_return_page_does_not_prevent_the_payment(self, shopfront):
        buyer = shopfront.buyer()
        order = buyer.reserve(1)
        pi = buyer.open_pay_page(order)
        shopfront.confirm(pi)
        wait_for_event(shopfront, "payment_intent.succeeded", pi)
        shopfront.run_jobs()
        for _look in range(5):
            buyer.get(f"/orders/{order.token}/return")
        assert shopfront.order(order.token).status == "paid"

    def test_calls_of_confirm_payment_are_limited(self, shopfront):
        buyer = shopfront.buyer()
        pi = buyer.open_pay_page(buyer.reserve(1))
        data = {"payment_intent_id": pi}
        answers = [shopfront.api("confirm_payment", data) for _ in range(4)]
        assert [a.status_code for a in answers] == [400, 400, 400, 429]
        assert answers[3].json()["error"] == "Demasiadas peticiones"
        assert 3500 < int(answers[3].headers["Retry-After"]) <= 3600
        assert shopfront.api("get_payment_intent", data).status_code == 200


class TestConfirmsOfOneAddress:
    @pytest.fixture
    def settings(self):
        return {"confirms_per_address": "3 per hour", "trusted_proxies": 1}

    def test_page_views_from_one_address_are_limited(self, shopfront):
        codes = []
        for _order in range(4):
            buyer = shopfront.buyer()
            buyer.session.headers["X-Forwarded-For"] = "203.0.113.7"
            order = buyer.reserve(1)
            codes.append(buyer.get(f"/orders/{order.token}/pay").status_code)
        assert codes == [200, 200, 200, 429]
        buyer.session.headers["X-Forwarded-For"] = "203.0.113.8"
        assert buyer.get(f"/orders/{order.token}/pay").status_code == 200
