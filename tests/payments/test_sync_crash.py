"""PAY-13: the call to Stripe breaks off, or the process that makes it dies."""

from __future__ import annotations

import multiprocessing

import pytest

from tests import race_workers
from tests.invariants import check_money
from tests.stripe_proxy import StripeProxy

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]
CREATE = "POST /v1/payment_intents"


@pytest.fixture
def settings():
    return {"stripe_retries": 0}


def intents(shopfront):
    return [pi.id for pi in shopfront.stripe.v1.payment_intents.list().data]


@pytest.mark.case("PAY-13")
@pytest.mark.parametrize(("fate", "expected"), [("refused", 0), ("lost", 0), ("unanswered", 1)])
def test_pay13_the_answer_is_lost_and_the_next_try_finds_the_same(shopfront, fate, expected):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    line = StripeProxy(shopfront)
    line.fate = lambda call: fate if call == CREATE else None
    page = buyer.get(f"/orders/{order.token}/pay")
    assert page.status_code == 503
    assert 'role="alert"' in page.text
    assert "data-client-secret" not in page.text
    before = intents(shopfront)
    assert len(before) == expected
    line.fate = lambda _call: None
    pi = buyer.open_pay_page(order)
    assert intents(shopfront) == [pi]
    assert before in ([], [pi])
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    check_money(shopfront)


@pytest.mark.case("PAY-13")
@pytest.mark.parametrize("after", [False, True])
def test_pay13_the_process_dies_and_the_next_one_gets_the_same(shopfront, after):
    order = shopfront.place_directly(1)
    settings = shopfront.shop.settings.model_dump()
    child = multiprocessing.get_context("spawn").Process(
        target=race_workers.die_while_creating, args=(settings, order.id, after)
    )
    child.start()
    child.join(60)
    assert child.exitcode == race_workers.DIED
    before = intents(shopfront)
    assert len(before) == int(after)
    assert shopfront.payment(order).payment_intent_id is None
    pi = shopfront.buyer().open_pay_page(order)
    assert intents(shopfront) == [pi]
    assert before in ([], [pi])


@pytest.mark.case("PAY-13")
def test_pay13_the_order_ends_while_stripe_makes_its_payment_intent(shopfront):
    """What comes back then is canceled at once: nobody was told its secret."""
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    line = StripeProxy(shopfront)

    def give_up(call):
        if call == CREATE:
            buyer.cancel(order)

    line.fate = give_up
    answer = shopfront.buyer().get(f"/orders/{order.token}/pay", allow_redirects=False)
    assert answer.status_code == 303
    assert shopfront.order(order.token).status == "canceled"
    (pi,) = intents(shopfront)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).status == "canceled"
    assert shopfront.stock() == (0, 0)
