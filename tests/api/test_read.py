"""stripe_confirm_payment and stripe_get_payment_intent: only Stripe's data counts."""

from __future__ import annotations

import pytest

from tests.api.test_envelope import readable_from_anywhere
from tests.invariants import check_money, check_stock, check_tickets

pytestmark = pytest.mark.databases("sqlite")


def create(front, amount=75, currency="usd", **data):
    answer = front.api("create_payment_intent", {"amount": amount, "currency": currency, **data})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["payment_intent_id"]


def call(front, endpoint, payment_intent, **more):
    answer = front.api(endpoint, {"payment_intent_id": payment_intent, **more})
    readable_from_anywhere(answer)
    assert answer.json()["status"] == answer.status_code
    return answer


def test_a_succeeded_payment_is_confirmed(shopfront):
    pi = create(shopfront, "75.50")
    intent = shopfront.confirm(pi)
    answer = call(shopfront, "confirm_payment", pi)
    assert answer.status_code == 200
    body = answer.json()
    assert body["message"] == "Procesado"
    fields = body["data"]["payment_intent"]
    charges = fields.pop("charges")
    assert fields == {
        "id": pi,
        "status": "succeeded",
        "amount": 75.5,
        "currency": "usd",
        "created": intent.created,
        "payment_method": intent.payment_method,
    }
    assert body["data"].keys() == {"success", "payment_intent"}
    assert body["data"]["success"] is True
    assert [(c["object"], c["payment_intent"], c["amount"]) for c in charges] == [
        ("charge", pi, 7550)
    ]
    assert charges[0]["id"] == intent.latest_charge


def test_any_other_status_is_no_success(shopfront):
    pi = create(shopfront)
    _not_completed(shopfront, pi, "requires_payment_method", charges=0)
    with pytest.raises(Exception, match="declined"):
        shopfront.confirm(pi, "pm_card_visa_chargeDeclined")
    _not_completed(shopfront, pi, "requires_payment_method", charges=1)
    shopfront.confirm(pi, "pm_card_authenticationRequired")
    _not_completed(shopfront, pi, "requires_action", charges=1)
    shopfront.stripe.v1.payment_intents.cancel(pi)
    _not_completed(shopfront, pi, "canceled", charges=1)


def _not_completed(front, pi, status, charges):
    answer = call(front, "confirm_payment", pi, status="succeeded", amount=0)
    body = answer.json()
    assert answer.status_code == 400
    assert (body["message"], body["data"]["success"]) == ("Error", False)
    assert body["error"] == f"El pago no fue completado. Estado: {status}"
    fields = body["data"]["payment_intent"]
    assert fields.keys() == {
        "id",
        "status",
        "amount",
        "currency",
        "created",
        "payment_method",
        "charges",
    }
    assert (fields["status"], fields["amount"], len(fields["charges"])) == (status, 75, charges)


def test_get_returns_the_payment_intent_in_any_status(shopfront):
    pi = create(shopfront, metadata={"cart": 7})
    for status in ("requires_payment_method", "succeeded"):
        answer = call(shopfront, "get_payment_intent", pi)
        assert answer.status_code == 200
        data = answer.json()["data"]
        assert data.keys() == {"success", "payment_intent"}
        assert data["success"] is True
        fields = data["payment_intent"]
        metadata = fields.pop("metadata")
        assert fields == {"id": pi, "status": status, "amount": 75, "currency": "usd"}
        assert (metadata["cart"], metadata["platform"]) == ("7", "TMT")
        assert "secret" not in answer.text
        if status != "succeeded":
            shopfront.confirm(pi)


@pytest.mark.case("MON-01")
@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("75.00", "usd", "75"),
        ("0.55", "usd", "0.55"),
        ("999999.99", "usd", "999999.99"),
        ("80", "jpy", "80"),
        ("1.23", "kwd", "1.23"),
        ("10", "isk", "10"),
    ],
)
def test_mon01_amounts_are_told_in_major_units(shopfront, amount, currency, expected):
    pi = create(shopfront, amount, currency)
    shopfront.confirm(pi)
    for endpoint in ("get_payment_intent", "confirm_payment"):
        text = call(shopfront, endpoint, pi).text
        assert f'"amount":{expected},' in text.replace(" ", ""), text


def test_a_currency_that_the_shop_does_not_sell_in_has_two_decimals(shopfront):
    pi = shopfront.stripe.v1.payment_intents.create({"amount": 5000, "currency": "hrk"})
    answer = call(shopfront, "get_payment_intent", pi.id)
    assert answer.json()["data"]["payment_intent"]["amount"] == 50


def test_confirm_syncs_an_order_of_the_shop(shopfront):
    shopfront.silence_stripe()
    order = shopfront.buyer().reserve(2, 1)
    pi = _open(shopfront, order)
    assert call(shopfront, "confirm_payment", pi).status_code == 400
    assert shopfront.order(order.token).status == "held"
    shopfront.confirm(pi)
    assert call(shopfront, "get_payment_intent", pi).status_code == 200
    assert shopfront.order(order.token).status == "held"
    for _ in range(3):
        assert call(shopfront, "confirm_payment", pi).status_code == 200
    assert shopfront.order(order.token).status == "paid"
    shopfront.run_jobs()
    assert (shopfront.stock(), len(shopfront.mails())) == ((0, 3), 1)
    _at_rest(shopfront)


@pytest.mark.case("PAY-09")
def test_pay09_metadata_never_pays_for_an_order(shopfront):
    order = shopfront.buyer().reserve(1)
    own = _open(shopfront, order)
    claims = {"order": order.code, "order_id": order.id, "token": order.token}
    claims |= {"payment_intent": own, "platform": "TMT", "orders": order.code}
    for amount in ("75", "0.50", "150"):
        foreign = create(shopfront, amount, metadata=claims)
        shopfront.confirm(foreign)
        assert call(shopfront, "confirm_payment", foreign, order=order.code).status_code == 200
        shopfront.run_jobs()
        page = f"/orders/{order.token}/return?payment_intent={foreign}&redirect_status=succeeded"
        shopfront.buyer().get(page)
        assert shopfront.order(order.token).status == "held"
    assert shopfront.payment(order).payment_intent_id == own
    assert not shopfront.tickets(order)
    assert not shopfront.mails()
    _at_rest(shopfront)


@pytest.mark.case("PAY-09")
def test_pay09_a_settled_payment_pays_no_second_order(shopfront):
    first, second = (shopfront.buyer().reserve(1) for _ in range(2))
    first_intent = _open(shopfront, first)
    second_intent = _open(shopfront, second)
    shopfront.confirm(first_intent)
    for _ in range(2):
        call(shopfront, "confirm_payment", first_intent, order=second.code, other=second_intent)
        shopfront.buyer().get(f"/orders/{second.token}/return?payment_intent={first_intent}")
        shopfront.run_jobs()
    assert shopfront.order(first.token).status == "paid"
    assert shopfront.order(second.token).status == "held"
    assert not shopfront.tickets(second)
    _at_rest(shopfront)


def _open(front, order):
    return front.buyer().open_pay_page(order)


def _at_rest(front):
    check_stock(front.shop.db)
    check_tickets(front.shop.db)
    check_money(front)
