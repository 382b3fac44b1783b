"""What Stripe refuses, and what it shows of a customer's payment methods."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import NEW, NO_REDIRECTS, Pay, error_of, refusal

RETURN: Any = {"payment_method": "pm_card_visa", "confirm": True, "return_url": "somewhere"}
SHIPPING: Any = {"name": "Ana", "address": {"line1": "Calle 1", "country": "JA"}}


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        (RETURN, "url_invalid", "return_url"),
        ({"shipping": SHIPPING}, "country_code_invalid", "shipping[address][country]"),
        (
            {"payment_method_configuration": "pmc_none"},
            "resource_missing",
            "payment_method_configuration",
        ),
        ({"excluded_payment_method_types": ["carrd"]}, None, "excluded_payment_method_types[0]"),
        ({"allowed_payment_method_types": ["carrd"]}, None, "allowed_payment_method_types[0]"),
        ({"statement_descriptor_suffix": "a" * 23}, None, "statement_descriptor_suffix"),
    ],
)
def test_payment_intents(v1: Any, params: Any, code: str | None, param: str) -> None:
    error = error_of(v1.payment_intents.create, {**NEW, **params})
    assert refusal(error) == (400, code, param)


@pytest.mark.parametrize(
    ("family", "filters"),
    [
        ("payment_intents", {"customer": "cus_none"}),
        ("charges", {"payment_intent": "pi_none"}),
        ("refunds", {"charge": "ch_none"}),
        ("disputes", {"payment_intent": "pi_none"}),
    ],
)
def test_lists_of_what_is_not_there(v1: Any, family: str, filters: Any) -> None:
    error = error_of(getattr(v1, family).list, filters)
    assert (error.http_status, error.code) == (400, "resource_missing")


def test_the_payment_methods_of_a_customer(v1: Any, customer: Any) -> None:
    unknown = error_of(v1.customers.create, {"payment_method": "pm_none"})
    assert (unknown.http_status, unknown.code) == (400, "resource_missing")
    method = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id}).id
    settings = {"invoice_settings": {"default_payment_method": method}}
    v1.customers.update(customer.id, settings)
    of_customer = v1.customers.payment_methods
    assert of_customer.retrieve(customer.id, method).card.last4 == "4242"
    assert error_of(of_customer.retrieve, customer.id, "pm_none").http_status == 404
    v1.payment_methods.detach(method)
    assert v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    assert error_of(of_customer.retrieve, customer.id, method).http_status == 404


def test_an_unknown_mandate(v1: Any, pay: Pay) -> None:
    error = error_of(pay, mandate="mandate_none", automatic_payment_methods=NO_REDIRECTS)
    assert (error.http_status, error.code) == (400, "resource_missing")


def test_the_balance_always_has_the_accounts_currency(v1: Any) -> None:
    assert isinstance(v1.balance.retrieve().available[0].amount, int)
