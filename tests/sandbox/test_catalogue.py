"""What only the sandbox can show of its catalogue: events, time, and clients of older versions."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tmt.sandbox.products import amount_for

from .conftest import DAY, SECRET_KEY, Receiver, error_of
from .driver import Driver

MONTHLY: Any = {"currency": "eur", "unit_amount": 400, "recurring": {"interval": "month"}}


@pytest.fixture
def older(root: str) -> Any:
    """The SDK's raw requests as of a version that has coupons of customers and of codes."""
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": root})
    options: Any = {"stripe_version": "2022-11-15"}

    def post(path: str, **params: Any) -> Any:
        answer = client.raw_request("post", f"/v1/{path}", **params, **options)
        return client.deserialize(answer.data, api_mode="V1")

    return post


def test_events_of_a_price_and_its_plan(v1: Any) -> None:
    product = v1.products.create({"name": "Friend", "default_price_data": MONTHLY})
    params = {**MONTHLY, "product": product.id, "lookup_key": "friend"}
    first = v1.prices.create(params)
    second = v1.prices.create({**params, "transfer_lookup_key": True})
    v1.prices.update(second.id, {"lookup_key": "friend_monthly"})
    v1.prices.update(first.id, {"nickname": "Old"})
    v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": 100})
    events = v1.events.list({"limit": 100}).data[::-1]
    assert [event.type for event in events] == [
        *("product.created", "plan.created", "price.created", "product.updated"),
        *("plan.created", "price.created"),
        # The lookup key is no part of the plan.
        *("price.updated", "plan.created", "price.created", "price.updated"),
        *("price.updated", "plan.updated"),
        "price.created",
    ]
    moved = events[6].data
    assert moved.previous_attributes.to_dict() == {"lookup_key": "friend"}
    assert moved.object.lookup_key is None
    plan = events[-2].data
    assert (plan.object.id, plan.previous_attributes.to_dict()) == (first.id, {"nickname": None})


@pytest.mark.parametrize(
    ("mode", "quantity", "amount"),
    [("volume", 5, 600), ("volume", 6, 543), ("graduated", 6, 691), ("graduated", 0, 100)],
)
def test_what_tiers_cost(mode: str, quantity: int, amount: int) -> None:
    first = {"up_to": 5, "unit_amount_decimal": "100", "flat_amount_decimal": "100"}
    last = {"up_to": None, "unit_amount_decimal": "90.5", "flat_amount_decimal": None}
    price = {"billing_scheme": "tiered", "tiers_mode": mode, "_tiers": [first, last]}
    assert amount_for(price, quantity) == amount


def test_a_coupon_and_its_code_come_to_their_end(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    now = v1.customers.create().created
    coupon = v1.coupons.create({"amount_off": 100, "currency": "eur", "redeem_by": now + 3 * DAY})
    promotion = {"type": "coupon", "coupon": coupon.id}
    code = v1.promotion_codes.create({"promotion": promotion, "expires_at": now + DAY})
    late = {"promotion": promotion, "expires_at": now + 4 * DAY}
    assert error_of(v1.promotion_codes.create, late).param == "expires_at"
    driver.advance(days=2)
    assert v1.promotion_codes.retrieve(code.id).active is False
    assert v1.coupons.retrieve(coupon.id).valid is True
    driver.advance(days=2)
    assert v1.coupons.retrieve(coupon.id).valid is False
    error = error_of(v1.promotion_codes.update, code.id, {"active": True})
    assert "no longer valid" in str(error)
    assert error_of(v1.promotion_codes.create, {"promotion": promotion}).code == "coupon_expired"
    assert receiver.types()[-1] == "promotion_code.updated"


def test_discounts_of_a_customer(v1: Any, older: Any, driver: Driver, receiver: Receiver) -> None:
    months = {"duration": "repeating", "duration_in_months": 25, "max_redemptions": 1}
    coupon = v1.coupons.create({"percent_off": 20, **months, "id": "FRIENDS"})
    code = older("promotion_codes", coupon=coupon.id, max_redemptions=1)
    customer = older("customers", promotion_code=code.id)
    discount = v1.customers.retrieve(customer.id, {"expand": ["discount.source.coupon"]}).discount
    assert (discount.promotion_code, discount.source.coupon.times_redeemed) == (code.id, 1)
    assert 758 * DAY <= discount.end - discount.start <= 763 * DAY
    assert v1.promotion_codes.retrieve(code.id).active is False
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        older("customers", coupon=coupon.id)
    other = v1.coupons.create({"percent_off": 30}).id
    changed = older(f"customers/{customer.id}", coupon=other).discount
    assert (changed.source.coupon, changed.end) == (other, None)
    assert v1.customers.delete_discount(customer.id).deleted
    assert v1.customers.retrieve(customer.id).discount is None
    assert error_of(v1.customers.delete_discount, customer.id).http_status == 404
    driver.deliver()
    names = ("created", "updated", "deleted")
    receiver.wait_for(*(f"customer.discount.{name}" for name in names))
    # Today's version has neither.
    assert error_of(v1.customers.create, {"coupon": other}).code == "parameter_unknown"
    assert error_of(v1.promotion_codes.create, {"coupon": other}).code == "parameter_unknown"


def test_a_discount_of_some_months_ends(
    v1: Any, older: Any, driver: Driver, receiver: Receiver
) -> None:
    coupon = {"percent_off": 20, "duration": "repeating", "duration_in_months": 1}
    short, long = v1.coupons.create(coupon).id, v1.coupons.create({**coupon, "id": "LONG"}).id
    ended, changed = (older("customers", coupon=short).id for _ in range(2))
    driver.advance(days=20)
    older(f"customers/{changed}", coupon=long)
    driver.advance(days=20)
    assert v1.customers.retrieve(ended).discount is None
    assert v1.customers.retrieve(changed).discount.source.coupon == long
    assert receiver.types().count("customer.discount.deleted") == 1
    endless = {**coupon, "duration_in_months": 200000}
    assert error_of(v1.coupons.create, endless).param == "duration_in_months"


def test_codes_for_one_customer_and_for_the_first_payment(v1: Any, older: Any, pay: Any) -> None:
    promotion = {"type": "coupon", "coupon": v1.coupons.create({"percent_off": 20}).id}
    customer = v1.customers.create({"name": "Ana"}).id
    params = {"promotion": promotion, "customer": customer, "code": "FRIEND"}
    own = v1.promotion_codes.create(params).id
    error = error_of(v1.promotion_codes.create, {"promotion": promotion, "code": "friend"})
    assert error.code == "resource_already_exists"
    other = v1.customers.create().id
    assert v1.promotion_codes.create({**params, "customer": other}).active
    minimum = {"promotion": promotion, "restrictions": {"minimum_amount": 100}}
    assert error_of(v1.promotion_codes.create, minimum).code == "parameter_missing"
    first = {"promotion": promotion, "restrictions": {"first_time_transaction": True}}
    first = v1.promotion_codes.create(first).id
    with pytest.raises(stripe.InvalidRequestError, match="by this customer"):
        older(f"customers/{other}", promotion_code=own)
    assert older(f"customers/{customer}", promotion_code=first).discount.promotion_code == first
    pay(customer=customer)
    with pytest.raises(stripe.InvalidRequestError, match="prior transactions"):
        older(f"customers/{customer}", promotion_code=first)


@pytest.mark.parametrize(
    ("value", "status"),
    [("ESB12345678", "verified"), ("DE111111111", "unverified"), ("DE222222222", "pending")],
)
def test_a_tax_id_is_looked_up(
    v1: Any, driver: Driver, receiver: Receiver, value: str, status: str
) -> None:
    data = [{"type": "eu_vat", "value": value}]
    customer = v1.customers.create({"name": "Sala", "tax_id_data": data}).id
    driver.advance(seconds=2)
    (tax_id,) = v1.customers.tax_ids.list(customer).data
    assert tax_id.verification.status == status
    assert ("customer.tax_id.updated" in receiver.types()) == (status != "pending")


def test_a_customer_with_everything_from_the_start(v1: Any) -> None:
    customer = v1.customers.create(
        {"source": "tok_visa", "balance": -500, "invoice_prefix": "FRIEND", "tax_exempt": "reverse"}
    )
    assert (customer.balance, customer.currency) == (-500, "eur")
    (initial,) = v1.customers.balance_transactions.list(customer.id).data
    assert (initial.type, initial.ending_balance) == ("initial", -500)
    card = customer.default_source
    assert v1.customers.payment_methods.retrieve(customer.id, card).card.brand == "visa"
    assert v1.customers.payment_sources.list(customer.id, {"object": "bank_account"}).data == []
    v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card}})
    v1.payment_methods.detach(card)
    customer = v1.customers.retrieve(customer.id)
    defaults = customer.default_source, customer.invoice_settings.default_payment_method
    assert defaults == (None, None)
    error = error_of(v1.customers.create, {"invoice_prefix": "FRIEND"})
    assert error.param == "invoice_prefix"
    assert v1.customers.update(customer.id, {"tax_exempt": ""}).tax_exempt == "none"
