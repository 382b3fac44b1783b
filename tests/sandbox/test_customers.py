"""Customers, saved payment methods, SetupIntents, and paying without the buyer."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from .conftest import NO_REDIRECTS, PUBLISHABLE_KEY, Pay, Receiver, error_of
from .driver import Driver

RETURN_URL = "https://shop.example/"


@pytest.fixture
def customer(v1: Any) -> str:
    id: str = v1.customers.create({"name": "Ana", "email": "ana@example.com"}).id
    return id


def setup(v1: Any, token: str, **params: Any) -> Any:
    default = {"payment_method": token, "confirm": True, "automatic_payment_methods": NO_REDIRECTS}
    return v1.setup_intents.create({**default, **params})


def test_a_customer_from_creation_to_deletion(
    v1: Any, customer: str, driver: Driver, receiver: Receiver
) -> None:
    assert v1.customers.list({"email": "ana@example.com"}).data[0].id == customer
    method = v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    settings = {"default_payment_method": method.id}
    v1.customers.update(customer, {"invoice_settings": settings, "name": "Bea"})
    path = {"expand": ["invoice_settings.default_payment_method"]}
    updated = v1.customers.retrieve(customer, path)
    assert updated.name == "Bea"
    assert updated.invoice_settings.default_payment_method.id == method.id
    changes = {"billing_details": {"name": "B"}, "card": {"exp_year": 2040}}
    assert v1.payment_methods.update(method.id, changes).card.exp_year == 2040
    assert [m.id for m in v1.customers.payment_methods.list(customer).data] == [method.id]
    v1.customers.delete(customer)
    assert v1.customers.retrieve(customer).deleted
    assert v1.customers.list().data == []
    assert error_of(v1.customers.update, customer, {"name": "C"}).http_status == 404
    receiver.wait_for("customer.created", "customer.updated", "customer.deleted")
    events = ("attached", "updated", "detached")
    receiver.wait_for(*(f"payment_method.{event}" for event in events))


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
def test_a_bad_card_is_refused_when_it_is_saved(
    v1: Any, customer: str, token: str, code: str
) -> None:
    error = error_of(v1.payment_methods.attach, token, {"customer": customer})
    assert (error.http_status, error.code) == (402, code)
    failed = error_of(setup, v1, token, customer=customer).error.setup_intent
    assert failed.last_setup_error.code == code
    assert failed.status == "requires_payment_method"


def test_a_card_that_can_be_saved_and_not_charged(v1: Any, customer: str, pay: Pay) -> None:
    method = setup(v1, "pm_card_chargeCustomerFail", customer=customer).payment_method
    error = error_of(pay, method, customer=customer, off_session=True)
    assert error.code == "card_declined"


def test_a_method_without_customer_is_used_once_and_one_of_another_never(
    v1: Any, customer: str, pay: Pay
) -> None:
    used = pay().payment_method
    assert "may not be used again" in str(error_of(pay, used))
    method = v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    assert "must provide the customer" in str(error_of(pay, method))
    other = v1.customers.create().id
    assert "another Customer" in str(error_of(pay, method, customer=other))
    assert pay(method, customer=customer).status == "succeeded"
    v1.payment_methods.detach(method)
    assert "may not be used again" in str(error_of(pay, method))
    again = error_of(v1.payment_methods.attach, method, {"customer": customer})
    assert again.http_status == 400


def test_setting_up_once_exempts_later_payments_from_authentication(
    v1: Any, customer: str, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    token = "pm_card_authenticationRequiredOnSetup"
    method = v1.payment_methods.attach(token, {"customer": customer}).id
    error = error_of(pay, method, customer=customer, off_session=True)
    assert error.code == "authentication_required"
    intent = setup(v1, method, customer=customer, return_url=RETURN_URL)
    assert intent.status == "requires_action"
    url = intent.next_action.redirect_to_url.url
    back = requests.post(url, {"outcome": "complete"}, allow_redirects=False)
    assert f"setup_intent={intent.id}&setup_intent_client_secret=" in back.headers["Location"]
    assert v1.setup_intents.retrieve(intent.id).status == "succeeded"
    assert pay(method, customer=customer, off_session=True).status == "succeeded"
    receiver.wait_for("setup_intent.requires_action", "setup_intent.succeeded")


def test_paying_can_save_the_card(v1: Any, customer: str, pay: Pay) -> None:
    paid = pay(customer=customer, setup_future_usage="off_session")
    assert v1.payment_methods.retrieve(paid.payment_method).customer == customer
    again = pay(paid.payment_method, customer=customer, off_session=True)
    assert again.status == "succeeded"


def test_a_saved_debit_is_charged_again_under_its_mandate(v1: Any, customer: str, pay: Pay) -> None:
    offline = {"customer_acceptance": {"type": "offline"}}
    token = "pm_sepaDebit_success_de"
    intent = setup(v1, token, customer=customer, mandate_data=offline)
    assert (intent.status, intent.mandate[:8]) == ("succeeded", "mandate_")
    method = intent.payment_method
    again = pay(method, currency="eur", customer=customer, off_session=True)
    assert again.status == "processing"


def test_the_states_of_a_setup_intent(v1: Any) -> None:
    setups = v1.setup_intents
    intent = setups.create({"metadata": {"a": "1"}})
    assert intent.status == "requires_payment_method"
    with_card = setups.update(intent.id, {"payment_method": "pm_card_visa"})
    assert with_card.status == "requires_confirmation"
    assert setups.confirm(intent.id, {"return_url": RETURN_URL}).status == "succeeded"
    for action in (setups.cancel, setups.confirm):
        assert error_of(action, intent.id).code == "setup_intent_unexpected_state"
    canceled = setups.cancel(setups.create().id, {"cancellation_reason": "abandoned"})
    assert canceled.cancellation_reason == "abandoned"


def test_a_browser_sets_up_with_the_client_secret_only(v1: Any, root: str) -> None:
    intent = v1.setup_intents.create({"metadata": {"name": "Ana"}})
    url = f"{root}/v1/setup_intents/{intent.id}"
    headers = {"Authorization": f"Bearer {PUBLISHABLE_KEY}"}
    secret = {"client_secret": intent.client_secret}
    assert "metadata" not in requests.get(url, secret, headers=headers).json()
    assert requests.get(url, headers=headers).status_code == 400
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 34, "cvc": "123"}
    data = {f"payment_method_data[card][{name}]": value for name, value in card.items()}
    data |= {"payment_method_data[type]": "card", **secret}
    assert requests.post(f"{url}/confirm", data, headers=headers).json()["status"] == "succeeded"
