"""One mail to who was declined and left: while the tickets wait, and only then."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
import stripe

from tests.payments.flows import english_buyer, run_until_idle
from tmt.checkout.holds import extend
from tmt.checkout.orders import renew_token

pytestmark = pytest.mark.usefixtures("sound")


def decline(shopfront, pi, method="pm_card_visa_chargeDeclined"):
    with pytest.raises(stripe.CardError):
        shopfront.confirm(pi, method)
    run_until_idle(shopfront)


def later(shopfront, minutes):
    """So many minutes go by, in each of which the jobs run; the mails about a decline by then."""
    for _minute in range(minutes):
        shopfront.clock.move(minutes=1)
        shopfront.shop.jobs.run("outbox")
    mails = [message_from_bytes(p.read_bytes(), policy=policy.default) for p in shopfront.mails()]
    return [mail for mail in mails if "not completed" in mail["Subject"]]


@pytest.fixture
def declined(shopfront):
    """A buyer at the pay page, their order, and its PaymentIntent, on which a card was declined."""
    buyer = english_buyer(shopfront)
    order = buyer.reserve(2)
    pi = buyer.open_pay_page(order)
    decline(shopfront, pi)
    return buyer, order, pi


@pytest.mark.parametrize("language", ["en", "es"])
def test_who_left_gets_one_mail_with_the_link_and_the_ways_to_pay(shopfront, language):
    buyer = shopfront.buyer()
    buyer.session.headers["Accept-Language"] = language
    order = buyer.reserve(2)
    decline(shopfront, buyer.open_pay_page(order))
    assert not later(shopfront, 4)
    later(shopfront, 2)
    (mail,) = (message_from_bytes(p.read_bytes(), policy=policy.default) for p in shopfront.mails())
    for part in ("plain", "html"):
        text = mail.get_body((part,)).get_content()
        assert f"{shopfront.url}/orders/{order.token}/pay" in text
        assert {"en": "You can pay with: card", "es": "Puedes pagar con: tarjeta"}[language] in text
    # Neither a new link nor another decline after more time brings a second one.
    order = renew_token(shopfront.shop, order.code)
    extend(shopfront.shop, order.id)
    decline(shopfront, shopfront.payment(order).payment_intent_id, "pm_card_chargeDeclined")
    later(shopfront, 9)
    assert len(shopfront.mails()) == 1


def test_a_failed_redirect_counts_without_any_webhook(shopfront):
    shopfront.silence_stripe()
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    with pytest.raises(stripe.CardError):
        shopfront.confirm(pi, "pm_card_visa_chargeDeclined")
    assert "not completed" in buyer.get(f"/orders/{order.token}/return").text
    assert len(later(shopfront, 6)) == 1


@pytest.mark.parametrize("still_here", ["status", "pay", "another card"])
def test_nobody_is_written_to_who_is_still_there(shopfront, declined, still_here):
    buyer, order, pi = declined
    for _ in range(4):
        assert not later(shopfront, 3)
        if still_here == "another card":
            decline(shopfront, pi)
        else:
            assert buyer.get(f"/orders/{order.token}/{still_here}").ok
        if shopfront.order(order.token).extensions < 2:
            extend(shopfront.shop, order.id)
    assert len(later(shopfront, 6)) == 1


@pytest.mark.parametrize(("minutes", "mails"), [(9, 1), (12, 0)])
def test_it_waits_less_towards_the_end_and_comes_not_at_all_without_time(shopfront, minutes, mails):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    later(shopfront, minutes)
    decline(shopfront, pi)
    assert len(later(shopfront, 10)) == mails


@pytest.mark.parametrize("then", ["pays", "gives up", "is asked by the bank", "lets it expire"])
def test_it_is_not_sent_to_who_needs_it_no_more(shopfront, then, declined):
    buyer, order, pi = declined
    if then == "pays":
        shopfront.confirm(pi)
        run_until_idle(shopfront)
    elif then == "gives up":
        buyer.cancel(order)
    elif then == "is asked by the bank":
        shopfront.confirm(pi, "pm_card_threeDSecure2Required")
        run_until_idle(shopfront)
    else:
        # The jobs were down all the time.
        shopfront.clock.move(minutes=20)
        run_until_idle(shopfront)
    assert not later(shopfront, 14)
