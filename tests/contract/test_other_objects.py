"""Refunds, customers and their payment methods, SetupIntents, endpoints, events, the balance."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from .conftest import NEW, NO_REDIRECTS, Pay, error_of, eventually, refusal

HOOK: Any = {"url": "https://example.com/hook", "enabled_events": ["refund.created"]}
EXPIRY = {"exp_month": 1, "exp_year": 2037}


def test_refunds(v1: Any, pay: Pay) -> None:
    paid = pay()
    part = v1.refunds.create({"payment_intent": paid.id, "amount": 500, "reason": "duplicate"})
    assert (part.amount, part.status, part.reason) == (500, "succeeded", "duplicate")
    assert (part.charge, part.currency) == (paid.latest_charge, "usd")
    assert v1.charges.retrieve(part.charge).amount_refunded == 500
    error = error_of(v1.refunds.create, {"payment_intent": paid.id, "amount": 1501})
    assert (error.http_status, error.param) == (400, "amount")
    rest = v1.refunds.create({"charge": paid.latest_charge, "metadata": {"a": "b"}})
    assert (rest.amount, rest.metadata.to_dict()) == (1500, {"a": "b"})
    charge = v1.charges.retrieve(rest.charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    error = error_of(v1.refunds.create, {"payment_intent": paid.id})
    assert (error.http_status, error.code) == (400, "charge_already_refunded")
    listed = v1.refunds.list({"payment_intent": paid.id}).data
    assert [refund.id for refund in listed] == [rest.id, part.id]
    assert v1.refunds.retrieve(part.id).amount == 500
    # Nothing failed, so that Stripe leaves this field out.
    with pytest.raises(AttributeError):
        _ = part.failure_reason


def test_refunds_that_are_refused(v1: Any, pay: Pay) -> None:
    unpaid = v1.payment_intents.create(NEW)
    assert error_of(v1.refunds.create, {"payment_intent": unpaid.id}).http_status == 400
    assert error_of(v1.refunds.create, {}).http_status == 400
    missing = error_of(v1.refunds.create, {"payment_intent": "pi_none"})
    assert missing.code == "resource_missing"
    reason = {"payment_intent": pay().id, "reason": "whim"}
    assert refusal(error_of(v1.refunds.create, reason))[::2] == (400, "reason")


@pytest.mark.parametrize("token", ["pm_card_pendingRefund", "pm_card_refundFail"])
def test_refunds_that_take_time(v1: Any, pay: Pay, token: str) -> None:
    refund = v1.refunds.create({"payment_intent": pay(token).id})
    assert refund.status in ("pending", "succeeded")


def test_customers(v1: Any) -> None:
    address = {"city": "Madrid", "country": "ES"}
    created = v1.customers.create({"email": "ana@example.com", "address": address})
    assert (created.email, created.name, created.shipping) == ("ana@example.com", None, None)
    assert (created.address.city, created.address.line1) == ("Madrid", None)
    changed = v1.customers.update(created.id, {"name": "Ana", "address": ""})
    assert (changed.name, changed.address) == ("Ana", None)
    error = error_of(v1.customers.create, {"email": "nobody"})
    assert refusal(error) == (400, "email_invalid", "email")
    deleted = v1.customers.delete(created.id)
    assert (deleted.id, deleted.deleted) == (created.id, True)
    assert v1.customers.retrieve(created.id).deleted is True
    assert refusal(error_of(v1.customers.retrieve, "cus_none")) == (404, "resource_missing", "id")


def test_a_customer_with_a_card_from_the_start(v1: Any) -> None:
    default = {"default_payment_method": "pm_card_visa"}
    params = {"payment_method": "pm_card_visa", "invoice_settings": default}
    customer = v1.customers.create(params)
    (saved,) = v1.customers.payment_methods.list(customer.id).data
    assert customer.invoice_settings.default_payment_method == saved.id
    assert (saved.customer, saved.card.last4) == (customer.id, "4242")
    default = {"default_payment_method": v1.payment_methods.retrieve("pm_card_visa").id}
    error = error_of(v1.customers.update, customer.id, {"invoice_settings": default})
    assert (error.http_status, error.code) == (400, "resource_missing")
    v1.customers.delete(customer.id)


def test_payment_methods(v1: Any, pay: Pay, customer: Any) -> None:
    attached = v1.payment_methods.attach("pm_card_mastercard", {"customer": customer.id})
    assert (attached.customer, attached.card.brand) == (customer.id, "mastercard")
    assert (attached.type, attached.card.funding) == ("card", "credit")
    changed = v1.payment_methods.update(attached.id, {"card": EXPIRY, "metadata": {"a": "b"}})
    assert (changed.card.exp_year, changed.metadata.to_dict()) == (2037, {"a": "b"})
    error = error_of(pay, attached.id)
    assert (error.http_status, error.param) == (400, "payment_method")
    assert pay(attached.id, customer=customer.id).status == "succeeded"
    assert v1.payment_methods.detach(attached.id).customer is None
    error = error_of(pay, attached.id, customer=customer.id)
    assert error.http_status == 400
    card = {"type": "card", "card": {"token": "tok_visa"}}
    details = {"name": "Ana", "address": {"postal_code": "28001"}}
    created = v1.payment_methods.create({**card, "billing_details": details})
    assert (created.billing_details.name, created.billing_details.email) == ("Ana", None)
    assert (created.billing_details.address.postal_code, created.customer) == ("28001", None)
    token = "pm_card_visa_chargeDeclined"
    error = error_of(v1.payment_methods.attach, token, {"customer": customer.id})
    assert (type(error), error.http_status) == (stripe.CardError, 402)
    missing = error_of(v1.payment_methods.retrieve, "pm_none")
    assert refusal(missing)[:2] == (404, "resource_missing")


def test_setup_intents(v1: Any, pay: Pay, customer: Any) -> None:
    params = {"customer": customer.id, "automatic_payment_methods": NO_REDIRECTS}
    created = v1.setup_intents.create(params)
    assert (created.status, created.usage) == ("requires_payment_method", "off_session")
    card = {"payment_method": "pm_card_visa"}
    done = v1.setup_intents.confirm(created.id, card)
    assert (done.status, done.customer) == ("succeeded", customer.id)
    paid = pay(done.payment_method, customer=customer.id, off_session=True)
    assert paid.status == "succeeded"
    declined = {**params, "confirm": True, "payment_method": "pm_card_visa_chargeDeclined"}
    error = error_of(v1.setup_intents.create, declined)
    assert (type(error), error.code) == (stripe.CardError, "card_declined")
    assert error.error.setup_intent.status == "requires_payment_method"
    open_one = v1.setup_intents.create(params)
    assert v1.setup_intents.cancel(open_one.id).status == "canceled"
    error = error_of(v1.setup_intents.confirm, open_one.id, card)
    assert (error.http_status, error.code) == (400, "setup_intent_unexpected_state")


def test_webhook_endpoints(v1: Any) -> None:
    created = v1.webhook_endpoints.create({**HOOK, "metadata": {"a": "b"}})
    try:
        assert created.secret.startswith("whsec_")
        assert (created.status, created.enabled_events) == ("enabled", ["refund.created"])
        shown = v1.webhook_endpoints.retrieve(created.id)
        with pytest.raises(AttributeError):
            _ = shown.secret
        params = {"enabled_events": ["charge.succeeded"], "disabled": True}
        changed = v1.webhook_endpoints.update(created.id, params)
        assert (changed.status, changed.enabled_events) == ("disabled", ["charge.succeeded"])
    finally:
        assert v1.webhook_endpoints.delete(created.id).deleted is True
    assert error_of(v1.webhook_endpoints.retrieve, created.id).http_status == 404


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"enabled_events": ["refund.vanished"]}, "enabled_events[0]"),
        ({"url": "no address"}, "url"),
        ({"api_version": "2026-10-28.nowhere"}, "api_version"),
    ],
)
def test_wrong_webhook_endpoints(v1: Any, changes: Any, param: str) -> None:
    error = error_of(v1.webhook_endpoints.create, {**HOOK, **changes})
    assert (type(error), error.http_status) == (stripe.InvalidRequestError, 400)
    assert error.param == param


def test_events(v1: Any, pay: Pay) -> None:
    paid = pay()
    created = {"gte": paid.created}

    def succeeded() -> Any:
        params = {"type": "payment_intent.succeeded", "created": created}
        return [e for e in v1.events.list(params).data if e.data.object.id == paid.id]

    (event,) = eventually(succeeded)
    assert (event.object, event.livemode) == ("event", False)
    assert event.request.id.startswith("req_")
    assert v1.events.retrieve(event.id).data.object.status == "succeeded"
    types = ["charge.succeeded", "payment_intent.created"]
    found = {event.type for event in v1.events.list({"types": types, "created": created}).data}
    assert found == set(types)
    assert error_of(v1.events.retrieve, "evt_none").http_status == 404


def test_the_balance(v1: Any, pay: Pay) -> None:
    account = v1.accounts.retrieve_current()
    charge = pay(capture_method="automatic", expand=["latest_charge"]).latest_charge
    entry = v1.balance_transactions.retrieve(charge.balance_transaction)
    assert (entry.type, entry.source, entry.net) == ("charge", charge.id, entry.amount - entry.fee)
    assert sum(detail.amount for detail in entry.fee_details) == entry.fee
    # The balance is in a currency of the account.
    assert entry.currency in ("usd", account.default_currency)
    if entry.currency == "usd":
        assert (entry.amount, entry.exchange_rate) == (2000, None)
    else:
        assert abs(entry.amount - 2000 * entry.exchange_rate) < 1
    refund = v1.refunds.create({"charge": charge.id})
    taken = v1.balance_transactions.retrieve(refund.balance_transaction)
    assert (taken.type, taken.currency, taken.amount < 0) == ("refund", entry.currency, True)
    listed = v1.balance_transactions.list({"source": charge.id}).data
    assert [transaction.id for transaction in listed] == [entry.id]
    assert entry.currency in {amount.currency for amount in v1.balance.retrieve().pending}


def test_accounts_and_keys(client: Any, v1: Any) -> None:
    account = v1.accounts.retrieve_current()
    assert v1.accounts.retrieve(account.id).id == account.id
    error = error_of(v1.customers.list, {}, {"stripe_account": "acct_1000000000000000"})
    assert (type(error), error.http_status) == (stripe.PermissionError, 403)
    error = error_of(v1.customers.list, {}, {"api_key": "sk_nobody"})
    assert (type(error), error.http_status) == (stripe.AuthenticationError, 401)
    with pytest.raises(stripe.InvalidRequestError):
        client.raw_request("get", "/v1/unknown_things")
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.list({}, {"stripe_version": "1999-01-01"})
