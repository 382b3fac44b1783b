"""Customers, saved payment methods, SetupIntents, and paying without the buyer."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from .conftest import NO_REDIRECTS, PUBLISHABLE_KEY, Pay, Receiver, refused
from .driver import Driver


@pytest.fixture
def customer(client: stripe.StripeClient) -> str:
    return client.v1.customers.create({"name": "Ana", "email": "ana@example.com"}).id


def setup(client: stripe.StripeClient, token: str, **more: Any) -> Any:
    given: Any = {"payment_method": token, "confirm": True}
    given["automatic_payment_methods"] = NO_REDIRECTS
    return client.v1.setup_intents.create({**given, **more})


def test_a_customers_life(
    client: stripe.StripeClient, customer: str, driver: Driver, receiver: Receiver
) -> None:
    v1 = client.v1
    assert v1.customers.list({"email": "ana@example.com"}).data[0].id == customer
    method = v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    default: Any = {"invoice_settings": {"default_payment_method": method.id}, "name": "Bea"}
    v1.customers.update(customer, default)
    found: Any = v1.customers.retrieve(
        customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    assert (found.name, found.invoice_settings.default_payment_method.id) == ("Bea", method.id)
    changed: Any = {"billing_details": {"name": "B"}, "card": {"exp_year": 2040}}
    assert v1.payment_methods.update(method.id, changed).card.exp_year == 2040  # type: ignore[union-attr]
    assert [m.id for m in v1.customers.payment_methods.list(customer).data] == [method.id]
    v1.customers.delete(customer)
    assert v1.customers.retrieve(customer).deleted
    assert v1.customers.list().data == []
    assert refused(lambda: v1.customers.update(customer, {"name": "C"})).http_status == 404
    receiver.wait_for(
        "customer.created", "payment_method.attached", "customer.updated",
        "payment_method.updated", "payment_method.detached", "customer.deleted",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
def test_a_bad_card_is_refused_when_it_is_saved(
    client: stripe.StripeClient, customer: str, token: str, code: str
) -> None:
    given: Any = {"customer": customer}
    error = refused(lambda: client.v1.payment_methods.attach(token, given))
    assert (error.http_status, error.code) == (402, code)
    failed: Any = refused(lambda: setup(client, token, customer=customer))
    assert failed.error.setup_intent.last_setup_error.code == code
    assert failed.error.setup_intent.status == "requires_payment_method"


def test_a_card_that_can_be_saved_and_not_charged(
    client: stripe.StripeClient, customer: str, pay: Pay
) -> None:
    method = setup(client, "pm_card_chargeCustomerFail", customer=customer).payment_method
    error = refused(lambda: pay(method, customer=customer, off_session=True))
    assert error.code == "card_declined"


def test_a_method_without_customer_is_used_once_and_one_of_another_never(
    client: stripe.StripeClient, customer: str, pay: Pay
) -> None:
    used = str(pay().payment_method)
    assert "may not be used again" in str(refused(lambda: pay(used)))
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    assert "must provide the customer" in str(refused(lambda: pay(method)))
    other = client.v1.customers.create().id
    assert "another Customer" in str(refused(lambda: pay(method, customer=other)))
    assert pay(method, customer=customer).status == "succeeded"
    client.v1.payment_methods.detach(method)
    assert "may not be used again" in str(refused(lambda: pay(method)))
    again: Any = {"customer": customer}
    assert refused(lambda: client.v1.payment_methods.attach(method, again)).http_status == 400


def test_setting_up_once_frees_later_payments_of_authentication(
    client: stripe.StripeClient, customer: str, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    token = "pm_card_authenticationRequiredOnSetup"
    saved = client.v1.payment_methods.attach(token, {"customer": customer}).id
    error = refused(lambda: pay(saved, customer=customer, off_session=True))
    assert error.code == "authentication_required"
    intent = setup(client, saved, customer=customer, return_url="https://shop.example/")
    assert intent.status == "requires_action"
    url = intent.next_action.redirect_to_url.url
    back = requests.post(url, {"outcome": "complete"}, allow_redirects=False)
    assert f"setup_intent={intent.id}&setup_intent_client_secret=" in back.headers["Location"]
    assert client.v1.setup_intents.retrieve(intent.id).status == "succeeded"
    assert pay(saved, customer=customer, off_session=True).status == "succeeded"
    receiver.wait_for("setup_intent.requires_action", "setup_intent.succeeded")


def test_paying_can_save_the_card(client: stripe.StripeClient, customer: str, pay: Pay) -> None:
    paid = pay(customer=customer, setup_future_usage="off_session")
    assert client.v1.payment_methods.retrieve(str(paid.payment_method)).customer == customer
    again = pay(str(paid.payment_method), customer=customer, off_session=True)
    assert again.status == "succeeded"


def test_a_saved_debit_is_charged_again_under_its_mandate(
    client: stripe.StripeClient, customer: str, driver: Driver
) -> None:
    accepted: Any = {"customer_acceptance": {"type": "offline"}}
    intent = setup(client, "pm_sepaDebit_success_de", customer=customer, mandate_data=accepted)
    assert (intent.status, intent.mandate[:8]) == ("succeeded", "mandate_")
    given: Any = {"amount": 2000, "currency": "eur", "customer": customer, "confirm": True}
    given |= {"payment_method": intent.payment_method, "off_session": True}
    given["automatic_payment_methods"] = NO_REDIRECTS
    assert client.v1.payment_intents.create(given).status == "processing"


def test_a_setup_intents_states(client: stripe.StripeClient) -> None:
    v1 = client.v1.setup_intents
    intent = v1.create({"metadata": {"a": "1"}})
    assert intent.status == "requires_payment_method"
    with_card = v1.update(intent.id, {"payment_method": "pm_card_visa"})
    assert with_card.status == "requires_confirmation"
    done = v1.confirm(intent.id, {"return_url": "https://shop.example/"})
    assert done.status == "succeeded"
    for action in (v1.cancel, v1.confirm):
        error = refused(lambda action=action: action(intent.id))
        assert error.code == "setup_intent_unexpected_state"
    reason: Any = {"cancellation_reason": "abandoned"}
    assert v1.cancel(v1.create().id, reason).cancellation_reason == "abandoned"


def test_a_browser_sets_up_with_the_client_secret_only(
    client: stripe.StripeClient, root: str
) -> None:
    intent = client.v1.setup_intents.create({"metadata": {"name": "Ana"}})
    url, headers = f"{root}/v1/setup_intents/{intent.id}", {}
    headers["Authorization"] = f"Bearer {PUBLISHABLE_KEY}"
    seen = requests.get(url, {"client_secret": str(intent.client_secret)}, headers=headers).json()
    assert "metadata" not in seen
    assert requests.get(url, headers=headers).status_code == 400
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 34, "cvc": "123"}
    data = {f"payment_method_data[card][{name}]": value for name, value in card.items()}
    data |= {"payment_method_data[type]": "card", "client_secret": intent.client_secret}
    assert requests.post(f"{url}/confirm", data, headers=headers).json()["status"] == "succeeded"
