"""Every object has the fields and types that Stripe's SDKs annotate; `v1` checks each answer."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tmt.sandbox.objects import API_VERSION
from tmt.sandbox.registry import ROUTES
from tmt.sandbox.resources import list_objects

from .conftest import BEARER, Pay, error_of
from .driver import Driver
from .shapes import wrong_fields
from .test_debits import debit, pay_with_ideal
from .test_invoices import draft

# The URL of each list, by the kind of object.
LISTS = {
    route.handler.keywords["kind"]: route.rule.split()[1]
    for route in ROUTES.values()
    if route.handler.func is list_objects
}


def test_objects_of_requests_have_every_field(v1: Any, pay: Pay) -> None:
    address = {"line1": "Calle Mayor 1", "city": "Madrid", "postal_code": "28001", "country": "ES"}
    shipping = {"name": "Ana", "address": address}
    intent = pay(capture_method="automatic", shipping=shipping, metadata={"a": "b"})
    charge = v1.charges.retrieve(intent.latest_charge)
    endpoint = {"url": "http://127.0.0.1:9/x", "enabled_events": ["refund.created"]}
    for body in (
        intent,
        charge,
        v1.refunds.create({"payment_intent": intent.id, "amount": 500}),
        v1.events.list().data[0],
        v1.webhook_endpoints.create(endpoint),
        v1.balance_transactions.retrieve(charge.balance_transaction),
        v1.payment_methods.retrieve(intent.payment_method),
    ):
        assert wrong_fields(body.to_dict()) == []


def test_failed_and_challenged_payments_have_every_field(v1: Any, pay: Pay) -> None:
    error_of(pay, "pm_card_visa_chargeDeclined")
    pay("pm_card_authenticationRequired")
    pay("pm_card_threeDSecureOptional", capture_method="manual")
    for intent in v1.payment_intents.list({"expand": ["data.latest_charge"]}).data:
        assert wrong_fields(intent.to_dict()) == []


def test_a_missing_and_a_wrong_field_are_noticed(pay: Pay) -> None:
    body = pay().to_dict()
    del body["latest_charge"]
    body["amount"] = "2000"
    names = sorted(line.partition(":")[0] for line in wrong_fields(body))
    assert names == ["payment_intent.amount", "payment_intent.latest_charge"]


@pytest.fixture
def full_account(v1: Any, pay: Pay, driver: Driver) -> Any:
    """An account in which everything has happened."""
    debit(v1, mandate_data={"customer_acceptance": {"type": "offline"}})
    pay_with_ideal(v1)
    pay("pm_card_authenticationRequired", return_url="https://a.b/")
    error_of(pay, "pm_card_visa_chargeDeclined")
    pay("pm_card_riskLevelElevated")
    for token in ("createDispute", "createDisputeInquiry", "createIssuerFraudRecord"):
        pay(f"pm_card_{token}")
    for token in ("visa", "pendingRefund", "refundFail"):
        v1.refunds.create({"payment_intent": pay(f"pm_card_{token}").id, "amount": 500})
    customer = v1.customers.create({"address": {"city": "Madrid"}, "name": "Ana"})
    yearly = {"currency": "eur", "unit_amount": 6000, "recurring": {"interval": "year"}}
    v1.products.create({"name": "Friend", "default_price_data": yearly})
    promotion = {"type": "coupon", "coupon": v1.coupons.create({"percent_off": 20}).id}
    v1.promotion_codes.create({"promotion": promotion})
    v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "ESB12345678"})
    v1.customers.payment_sources.create(customer.id, {"source": "tok_visa"})
    v1.tax_rates.create({"display_name": "IVA", "inclusive": True, "percentage": 10})
    setup = {"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    v1.setup_intents.create({**setup, "return_url": "https://a.b/"})
    error_of(v1.setup_intents.create, {**setup, "payment_method": "pm_card_chargeDeclined"})
    v1.setup_intents.create({"usage": "on_session"})
    open_invoice = v1.invoices.finalize_invoice(draft(v1, customer).id)
    v1.credit_notes.create({"invoice": open_invoice.id, "amount": 100})
    v1.test_helpers.test_clocks.create({"frozen_time": 1800000000})
    v1.payment_method_domains.create({"domain_name": "shop.example"})
    driver.advance(days=6)
    evidence = {"uncategorized_text": "winning_evidence"}
    v1.disputes.update(v1.disputes.list().data[-1].id, {"evidence": evidence})
    return v1


def test_everything_that_is_listed_has_every_field(full_account: Any, root: str) -> None:
    v1, headers = full_account, {**BEARER, "Stripe-Version": API_VERSION}
    for kind, path in LISTS.items():
        listed = requests.get(f"{root}{path}?limit=100", headers=headers).json()
        assert listed["data"], kind
        for body in listed["data"]:
            assert body["object"] == kind
            assert wrong_fields(body) == []
            if kind == "event":
                assert wrong_fields(body["data"]["object"]) == []
    charges = v1.charges.list({"limit": 100}).data
    details = [charge.payment_method_details for charge in charges]
    mandate = next(d.sepa_debit.mandate for d in details if d.type == "sepa_debit")
    assert wrong_fields(v1.mandates.retrieve(mandate).to_dict()) == []
    assert wrong_fields(v1.balance.retrieve().to_dict()) == []
    assert wrong_fields(v1.accounts.retrieve_current().to_dict()) == []
    (methods,) = v1.payment_method_configurations.list().data
    for method in (methods.card, methods.ideal, methods.sepa_debit):
        assert (method.available, method.display_preference.value) == (True, "on")
