"""Products, prices, plans, discounts and taxes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from .conftest import error_of, eventually, refusal

MONTHLY: Any = {"currency": "eur", "unit_amount": 400, "recurring": {"interval": "month"}}


@pytest.fixture
def product(v1: Any) -> Iterator[Any]:
    """A product, which is archived afterwards."""
    product = v1.products.create({"name": "Friend", "metadata": {"family": "friends"}})
    yield product
    v1.products.update(product.id, {"active": False})


def test_products(v1: Any) -> None:
    params = {"name": "Friend", "default_price_data": MONTHLY, "expand": ["default_price"]}
    created = v1.products.create(params)
    price = created.default_price
    assert (price.product, price.unit_amount, price.type) == (created.id, 400, "recurring")
    error = error_of(v1.prices.update, price.id, {"active": False})
    assert (error.http_status, "default price" in str(error)) == (400, True)
    error = error_of(v1.products.delete, created.id)
    assert "user-created prices" in str(error)
    changed = v1.products.update(created.id, {"default_price": "", "description": "All events"})
    assert (changed.default_price, changed.description) == (None, "All events")
    assert v1.prices.update(price.id, {"active": False}).active is False
    error = error_of(v1.products.update, created.id, {"default_price": price.id})
    assert error.http_status == 400
    assert v1.products.update(created.id, {"active": False, "description": ""}).description is None
    id = uuid.uuid4().hex
    assert v1.products.create({"name": "Named", "id": id}).id == id
    error = error_of(v1.products.create, {"name": "Named", "id": id})
    assert (error.http_status, error.code) == (400, "resource_already_exists")
    assert [p.id for p in v1.products.list({"ids": [id, created.id]}).data] == [id, created.id]
    assert v1.products.delete(id).deleted is True
    assert error_of(v1.products.retrieve, id).http_status == 404


def test_a_changed_price_is_a_new_one_with_the_lookup_key(v1: Any, product: Any) -> None:
    key = uuid.uuid4().hex
    params = {**MONTHLY, "product": product.id, "lookup_key": key}
    old = v1.prices.create(params)
    assert (old.unit_amount_decimal, old.recurring.interval_count) == (Decimal(400), 1)
    assert "lookup key" in str(error_of(v1.prices.create, params))
    new = v1.prices.create({**params, "unit_amount": 500, "transfer_lookup_key": True})
    assert [price.id for price in v1.prices.list({"lookup_keys": [key]}).data] == [new.id]
    assert v1.prices.retrieve(old.id).lookup_key is None
    changed = v1.prices.update(old.id, {"active": False, "nickname": "Old"})
    assert (changed.active, changed.nickname, changed.unit_amount) == (False, "Old", 400)
    fraction = {**MONTHLY, "product": product.id, "unit_amount_decimal": Decimal("12.5")}
    del fraction["unit_amount"]
    price = v1.prices.create({**fraction, "active": False})
    assert (price.unit_amount, price.unit_amount_decimal) == (None, Decimal("12.5"))
    listed = v1.prices.list({"product": product.id, "active": True, "recurring": {}}).data
    assert [price.id for price in listed] == [new.id]
    wanted = {"product": product.id, "recurring": {"interval": "month"}, "type": "recurring"}
    assert len(v1.prices.list(wanted).data) == 3
    assert v1.prices.list({**wanted, "recurring": {"interval": "year"}}).data == []
    error = error_of(v1.prices.update, old.id, {"unit_amount": 1})
    assert refusal(error) == (400, "parameter_unknown", "unit_amount")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"unit_amount_decimal": Decimal("1.5")}, None),
        ({"unit_amount": -1}, "unit_amount"),
        ({"currency": "xxx"}, "currency"),
        ({"recurring": {"interval": "decade"}}, "recurring[interval]"),
        ({"recurring": {"interval": "year", "interval_count": 4}}, None),
        ({"product": "prod_none"}, "product"),
        ({"product": None}, None),
    ],
)
def test_wrong_prices(v1: Any, product: Any, changes: Any, param: str | None) -> None:
    params = {**MONTHLY, "product": product.id, **changes}
    error = error_of(v1.prices.create, {k: v for k, v in params.items() if v is not None})
    assert error.http_status == 400
    assert param in (None, error.param)


def test_tiers(v1: Any, product: Any) -> None:
    tiers = [{"up_to": 5, "unit_amount": 100}, {"up_to": "inf", "unit_amount": 90}]
    params = {"product": product.id, "currency": "eur", "billing_scheme": "tiered", "tiers": tiers}
    params["recurring"] = {"interval": "month"}
    price = v1.prices.create({**params, "tiers_mode": "volume", "expand": ["tiers"]})
    assert [tier.up_to for tier in price.tiers] == [5, None]
    assert (price.unit_amount, price.tiers[1].unit_amount_decimal) == (None, Decimal(90))
    with pytest.raises(AttributeError):
        _ = v1.prices.retrieve(price.id).tiers
    assert error_of(v1.prices.create, params).http_status == 400


def test_plans(v1: Any, product: Any) -> None:
    params = {"currency": "eur", "interval": "month", "amount": 300, "product": product.id}
    plan = v1.plans.create(params)
    assert (plan.amount, plan.interval, plan.product) == (300, "month", product.id)
    assert v1.prices.retrieve(plan.id).unit_amount == 300
    price = v1.prices.create({**MONTHLY, "product": product.id})
    assert v1.plans.retrieve(price.id).amount == 400
    listed = v1.plans.list({"product": product.id, "expand": ["data.product"]}).data
    assert {(p.id, p.product.name) for p in listed} == {(i, "Friend") for i in (plan.id, price.id)}
    assert v1.plans.update(plan.id, {"nickname": "Old"}).nickname == "Old"
    assert v1.plans.delete(plan.id).deleted is True
    assert error_of(v1.plans.retrieve, plan.id).http_status == 404


def test_coupons_and_their_codes(v1: Any, customer: Any) -> None:
    coupon = v1.coupons.create({"percent_off": 20, "max_redemptions": 5})
    assert (coupon.duration, coupon.valid, coupon.times_redeemed) == ("once", True, 0)
    promotion = {"type": "coupon", "coupon": coupon.id}
    code = f"Friend{uuid.uuid4().hex[:8]}"
    params = {"promotion": promotion, "code": code, "customer": customer.id}
    created = v1.promotion_codes.create({**params, "expand": ["promotion.coupon"]})
    assert (created.active, created.promotion.coupon.percent_off) == (True, 20)
    found = v1.promotion_codes.list({"code": code.upper(), "coupon": coupon.id}).data
    assert [one.id for one in found] == [created.id]
    error = error_of(v1.promotion_codes.create, {**params, "code": code.lower()})
    assert (error.http_status, "already exists" in str(error)) == (400, True)
    assert v1.promotion_codes.update(created.id, {"active": False}).active is False
    generated = v1.promotion_codes.create({"promotion": promotion}).code
    assert (len(generated), generated.upper()) == (8, generated)
    renamed = v1.coupons.update(coupon.id, {"name": "Friends", "metadata": {"a": "b"}})
    assert (renamed.name, renamed.metadata.to_dict()) == ("Friends", {"a": "b"})
    assert v1.coupons.delete(coupon.id).deleted is True
    assert error_of(v1.coupons.retrieve, coupon.id).http_status == 404


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, None),
        ({"percent_off": 120}, "percent_off"),
        ({"amount_off": 100}, "currency"),
        ({"percent_off": 10, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 10, "redeem_by": 1000000000}, "redeem_by"),
    ],
)
def test_wrong_coupons(v1: Any, params: Any, param: str | None) -> None:
    error = error_of(v1.coupons.create, params)
    assert error.http_status == 400
    assert param in (None, error.param)


def test_tax_rates(v1: Any) -> None:
    params = {"display_name": "IVA", "inclusive": True, "percentage": 10.0, "country": "ES"}
    rate = v1.tax_rates.create({**params, "tax_type": "vat"})
    assert (rate.percentage, rate.inclusive, rate.country) == (10.0, True, "ES")
    changed = v1.tax_rates.update(rate.id, {"active": False, "description": "Reduced"})
    assert (changed.active, changed.description) == (False, "Reduced")
    assert rate.id in {r.id for r in v1.tax_rates.list({"active": False, "limit": 100}).data}
    error = error_of(v1.tax_rates.update, rate.id, {"percentage": 21})
    assert refusal(error) == (400, "parameter_unknown", "percentage")


def test_tax_ids_of_a_customer(v1: Any, customer: Any) -> None:
    vat = v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "ESB12345678"})
    assert (vat.country, vat.owner.customer) == ("ES", customer.id)
    assert vat.verification.status in ("pending", "verified", "unverified", "unavailable")
    cif = v1.customers.tax_ids.create(customer.id, {"type": "es_cif", "value": "B12345678"})
    listed = v1.customers.tax_ids.list(customer.id).data
    assert [tax_id.id for tax_id in listed] == [cif.id, vat.id]
    shown = v1.customers.retrieve(customer.id, {"expand": ["tax_ids"]}).tax_ids
    assert len(shown.data) == 2
    owner = {"type": "customer", "customer": customer.id}
    assert len(v1.tax_ids.list({"owner": owner}).data) == 2
    wrong = {"type": "eu_vat", "value": "no id"}
    error = error_of(v1.customers.tax_ids.create, customer.id, wrong)
    assert (error.http_status, error.code) == (400, "tax_id_invalid")
    missing = error_of(v1.customers.tax_ids.create, "cus_none", wrong)
    assert refusal(missing) == (404, "resource_missing", "id")
    assert v1.customers.tax_ids.delete(customer.id, cif.id).deleted is True
    assert error_of(v1.customers.tax_ids.retrieve, customer.id, cif.id).http_status == 404


def test_the_balance_of_a_customer(v1: Any, customer: Any) -> None:
    transactions = v1.customers.balance_transactions
    credit = transactions.create(customer.id, {"amount": -500, "currency": "eur"})
    assert (credit.type, credit.ending_balance) == ("adjustment", -500)
    charged = transactions.create(customer.id, {"amount": 200, "currency": "eur"})
    assert charged.ending_balance == -300
    shown = v1.customers.retrieve(customer.id)
    assert (shown.balance, shown.currency) == (-300, "eur")
    listed = transactions.list(customer.id).data
    assert [transaction.id for transaction in listed] == [charged.id, credit.id]
    assert v1.customers.update(customer.id, {"balance": 0}).balance == 0
    dollars = {"amount": 1, "currency": "usd"}
    assert error_of(transactions.create, customer.id, dollars).http_status == 400


def test_sources_of_a_customer(v1: Any, customer: Any, pay: Any) -> None:
    sources = v1.customers.payment_sources
    card = sources.create(customer.id, {"source": "tok_visa"})
    assert (card.object, card.brand, card.customer) == ("card", "Visa", customer.id)
    second = sources.create(customer.id, {"source": "tok_mastercard"})
    path = {"expand": ["default_source", "sources"]}
    shown = v1.customers.retrieve(customer.id, path)
    assert (shown.default_source.last4, len(shown.sources.data)) == ("4242", 2)
    assert pay(card.id, customer=customer.id).status == "succeeded"
    changed = sources.update(customer.id, card.id, {"exp_year": "2037", "name": "Ana"})
    assert (changed.exp_year, changed.name) == (2037, "Ana")
    assert sources.delete(customer.id, card.id).deleted is True
    assert v1.customers.retrieve(customer.id).default_source == second.id
    declined = error_of(sources.create, customer.id, {"source": "tok_chargeDeclined"})
    assert (declined.http_status, declined.code) == (402, "card_declined")


def test_searching_products_and_prices(v1: Any) -> None:
    family = uuid.uuid4().hex
    product = v1.products.create({"name": "Friend", "metadata": {"family": family}})
    price = v1.prices.create({**MONTHLY, "product": product.id, "lookup_key": family})
    query = f"active:'true' AND metadata['family']:'{family}'"
    (found,) = eventually(lambda: v1.products.search({"query": query}).data)
    assert found.id == product.id
    query = f"lookup_key:'{family}' AND type:'recurring'"
    (found,) = eventually(lambda: v1.prices.search({"query": query}).data)
    assert found.id == price.id
