"""The pages of a member: joining, paying, what happens next, canceling; nobody else's."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.billing.members import add_member, add_plan
from tests.billing.test_joining import customer_of, now_of, pay, plan_of, subscriptions
from tests.customers.flows import mailed_links, signed_in, submit, use
from tmt.billing.memberships import memberships_of
from tmt.billing.models import Membership
from tmt.customers.accounts import find_by_email
from tmt.gateway.types import SubscriptionStatus

pytestmark = pytest.mark.databases("sqlite")
PAGE = "/account/memberships"


def membership_of(front, email="ana@example.com") -> Membership:
    with front.shop.db.reading() as session:
        customer = find_by_email(session, email)
        return memberships_of(session, customer.id)[0]


def test_a_stranger_becomes_a_member(shopfront):
    front, buyer = shopfront, shopfront.buyer(email="eva@example.com")
    buyer.session.headers["Accept-Language"] = "en"
    plan_of(front, member_percent_off=20, member_places=2, names={"en": "Friends"})
    assert "20% off for 2 tickets of each event." in buyer.get("/plans").text
    path = "/plans/amigos/join"
    assert submit(buyer, path, path, name="", email="eva@example.com").status_code == 422
    assert "Eva" not in submit(buyer, path, path, name="Eva", email="eva@example.com").text
    use(buyer, mailed_links(front)[-1][1])
    joined = submit(buyer, "/plans", path)
    page = buyer.get(joined.headers["Location"]).text
    secret = re.search(r'data-client-secret="(pi_\w+_secret_\w+)"', page)
    assert secret, page
    assert 'data-amount-label="Pay €10.00"' in page
    front.confirm(secret[1].split("_secret_")[0])
    membership = membership_of(front, "eva@example.com")
    shown = buyer.get(f"{PAGE}/{membership.id}/return?redirect_status=failed").text
    assert "You are a member now" in shown
    assert "It is renewed on" in shown
    assert "for €10.00." in shown
    assert now_of(front, membership)[0].status == "active"
    # Joining again leads to the membership that there is.
    again = submit(buyer, PAGE, path)
    assert again.headers["Location"].endswith(PAGE)
    assert len(subscriptions(front)) == 1
    assert "You are a member already" in buyer.get("/plans").text


def test_canceling_and_taking_it_back(shopfront):
    front = shopfront
    plan_of(front)
    customer_of(front)
    buyer = signed_in(front)
    submit(buyer, "/plans", "/plans/amigos/join")
    membership = membership_of(front)
    pay(front, membership)
    buyer.get(f"{PAGE}/{membership.id}/return")
    submit(buyer, PAGE, f"{PAGE}/{membership.id}/cancel")
    assert "It ends on" in buyer.get(PAGE).text
    assert subscriptions(front)[0].cancel_at_period_end
    submit(buyer, PAGE, f"{PAGE}/{membership.id}/resume")
    assert "It is renewed on" in buyer.get(PAGE).text


def test_a_membership_is_its_customers_alone(shopfront):
    front = shopfront
    other = add_member(front, add_plan(front), "eva@example.com")
    customer_of(front)
    buyer, stranger = signed_in(front), front.buyer()
    assert "You are not a member yet" in buyer.get(f"{PAGE}").text
    for path in ("pay", "return"):
        assert buyer.get(f"{PAGE}/{other}/{path}").status_code == 404
        assert stranger.get(f"{PAGE}/{other}/{path}", allow_redirects=False).status_code == 303
    for path in ("cancel", "resume"):
        assert submit(buyer, PAGE, f"{PAGE}/{other}/{path}").status_code == 404
    assert buyer.get("/plans/nothing/join").status_code == 404


@pytest.mark.parametrize(
    ("status", "paid", "text"),
    [
        ("past_due", -1, "The last invoice is not paid. Everything stays until"),
        ("past_due", -9, "It is suspended until the open invoice is paid."),
        ("canceled", 9, "It has ended."),
        ("paused", 9, "It is paused."),
        ("incomplete", None, "It begins when the first invoice is paid."),
        ("invented", 9, "Please ask the organizer about it."),
    ],
)
def test_each_state_says_what_happens_next(shopfront, status, paid, text):
    front, now = shopfront, shopfront.clock.now()
    through = None if paid is None else now + timedelta(days=paid)
    status = SubscriptionStatus(status)
    add_member(front, add_plan(front), status=status, paid_through=through)
    assert text in signed_in(front).get(f"{PAGE}").text
