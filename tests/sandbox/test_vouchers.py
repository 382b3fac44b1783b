"""OXXO: what Stripe does not do with it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import error_of
from .driver import Driver

OWNER = {"name": "Ana Ejemplo", "email": "ana@example.com"}


def test_it_cannot_be_refunded(v1: Any, driver: Driver) -> None:
    method = {"type": "oxxo", "billing_details": OWNER}
    params = {"amount": 15000, "currency": "mxn", "payment_method_data": method, "confirm": True}
    intent = v1.payment_intents.create({**params, "return_url": "https://shop.example/"})
    driver.advance(minutes=3)
    assert v1.payment_intents.retrieve(intent.id).status == "succeeded"
    error = error_of(v1.refunds.create, {"payment_intent": intent.id})
    assert (error.http_status, error.code) == (400, "charge_not_refundable")
    assert v1.refunds.list().data == []


@pytest.mark.parametrize(
    ("amount", "accepts"), [(1000, True), (1000000, True), (1000001, False), (10000, True)]
)
def test_it_has_a_least_and_a_most_amount(v1: Any, amount: int, accepts: bool) -> None:
    params = {"amount": amount, "currency": "mxn"}
    assert ("oxxo" in v1.payment_intents.create(params).payment_method_types) == accepts
    if not accepts:
        params |= {"allowed_payment_method_types": ["oxxo"]}
        error = error_of(v1.payment_intents.create, params)
        assert (error.http_status, error.param) == (400, "allowed_payment_method_types")
