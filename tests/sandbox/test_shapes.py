"""Every object has the fields, and the types, that the official SDK annotates.

The annotations themselves are the list of fields; there is none here.
"""

from __future__ import annotations

import builtins
import sys
import types
import typing
from typing import Any

import pytest
import requests
import stripe
from stripe._object_classes import get_object_class

from tmt.sandbox.objects import API_VERSION
from tmt.sandbox.registry import ROUTES
from tmt.sandbox.resources import list_objects

from .conftest import SECRET_KEY, Pay, refused
from .driver import Driver


class _Names(dict[str, Any]):
    """Resolves names that the SDK imports for type checkers only."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(self.module, name) or hasattr(builtins, name):
            raise KeyError(name)
        return getattr(stripe, name, stripe.StripeObject)


def hints(cls: type) -> dict[str, Any]:
    """The annotated fields of an SDK class."""
    found = typing.get_type_hints(cls, None, _Names(sys.modules[cls.__module__]))
    return {n: h for n, h in found.items() if not n.startswith("_") and n != "OBJECT_NAME"}


def problems(value: Any, hint: Any, path: str, top: bool = False) -> list[str]:
    """What about a JSON value contradicts its annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or origin is typing.ClassVar:
        return []
    if origin is typing.Union:
        tried = [problems(value, argument, path, top) for argument in arguments]
        return min(tried, key=len)
    if origin is typing.Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments[:5]}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [p for item in value for p in problems(item, arguments[0], f"{path}[]")]
    kind = origin or hint
    if kind in (str, int, bool, float, type(None)):
        return [] if type(value) is kind else [f"{path}: {value!r} is no {kind.__name__}"]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    return object_problems(value, kind, path, top)


def object_problems(value: dict[str, Any], cls: type, path: str, top: bool) -> list[str]:
    fields = hints(cls)
    if not fields:
        return []
    # A hash named as one of the object's possible types belongs to objects of that type only.
    kinds = {w for part in typing.get_args(fields.get("type", str)) for w in typing.get_args(part)}
    found = []
    for name, hint in fields.items():
        optional = type(None) in typing.get_args(hint)
        only_when_set = typing.Literal[True] in typing.get_args(hint)
        if name in value:
            found += problems(value[name], hint, f"{path}.{name}")
        elif not optional or (top and name not in kinds and not only_when_set):
            found.append(f"{path}.{name}: absent")
    return found


def sample(client: stripe.StripeClient, pay: Pay, name: str) -> stripe.StripeObject:
    """An object of each class, with as much in it as there can be."""
    v1 = client.v1
    if name == "WebhookEndpoint":
        given = {"url": "http://127.0.0.1:9/x", "enabled_events": ["refund.created"]}
        return v1.webhook_endpoints.create(given)  # type: ignore[arg-type]
    address = {"line1": "Calle Mayor 1", "city": "Madrid", "postal_code": "28001", "country": "ES"}
    shipping = {"name": "Ana", "address": address}
    intent = pay(capture_method="automatic", shipping=shipping, metadata={"a": "b"})
    refund = v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert isinstance(intent.latest_charge, str)
    charge = v1.charges.retrieve(intent.latest_charge)
    assert isinstance(charge.balance_transaction, str)
    assert isinstance(intent.payment_method, str)
    return {
        "PaymentIntent": intent,
        "Charge": charge,
        "Refund": refund,
        "Event": v1.events.list().data[0],
        "BalanceTransaction": v1.balance_transactions.retrieve(charge.balance_transaction),
        "PaymentMethod": v1.payment_methods.retrieve(intent.payment_method),
    }[name]


NAMES = "PaymentIntent Charge Refund Event WebhookEndpoint BalanceTransaction PaymentMethod".split()


@pytest.mark.parametrize("name", NAMES)
def test_every_annotated_field_is_there_with_its_type(
    client: stripe.StripeClient, pay: Pay, name: str
) -> None:
    body = sample(client, pay, name).to_dict()
    assert object_problems(body, getattr(stripe, name), name, top=True) == []


def test_failed_and_challenged_payments_keep_the_shape(
    client: stripe.StripeClient, pay: Pay
) -> None:
    refused(lambda: pay("pm_card_visa_chargeDeclined"))
    pay("pm_card_authenticationRequired")
    pay("pm_card_threeDSecureOptional", capture_method="manual")
    for intent in client.v1.payment_intents.list({"expand": ["data.latest_charge"]}).data:
        shown = intent.to_dict()
        assert object_problems(shown, stripe.PaymentIntent, "PaymentIntent", top=True) == []


def test_the_walk_notices_a_missing_and_a_wrong_field(pay: Pay) -> None:
    body = pay().to_dict()
    del body["latest_charge"]
    body["amount"] = "2000"
    found = object_problems(body, stripe.PaymentIntent, "PaymentIntent", top=True)
    assert sorted(line.partition(":")[0] for line in found) == [
        "PaymentIntent.amount",
        "PaymentIntent.latest_charge",
    ]


LISTS = {
    listed.handler.keywords["kind"]: listed.rule.split()[1]  # type: ignore[attr-defined]
    for listed in ROUTES.values()
    if listed.handler.func is list_objects  # type: ignore[attr-defined]
}
IBAN: Any = {
    "type": "sepa_debit",
    "sepa_debit": {"iban": "DE89370400440532013000"},
    "billing_details": {"name": "Ana Ejemplo", "email": "ana@example.com"},
}


@pytest.fixture
def lived(client: stripe.StripeClient, pay: Pay, driver: Driver) -> stripe.StripeClient:
    """An account in which everything has happened."""
    v1, offline = client.v1, {"customer_acceptance": {"type": "offline"}}
    debit: Any = {"payment_method_data": IBAN, "currency": "eur", "payment_method": None}
    debit |= {
        "mandate_data": offline,
        "amount": 2000,
        "confirm": True,
        "return_url": "https://a.b/",
    }
    v1.payment_intents.create({name: value for name, value in debit.items() if value})
    ideal = {"payment_method_data": {"type": "ideal"}, "mandate_data": "", "payment_method": ""}
    v1.payment_intents.create({k: v for k, v in {**debit, **ideal}.items() if v})  # type: ignore[typeddict-item]
    pay("pm_card_authenticationRequired", return_url="https://a.b/")
    refused(lambda: pay("pm_card_visa_chargeDeclined"))
    for token in ("createDispute", "createDisputeInquiry", "createIssuerFraudRecord"):
        pay(f"pm_card_{token}")
    for token in ("visa", "pendingRefund", "refundFail"):
        v1.refunds.create({"payment_intent": pay(f"pm_card_{token}").id, "amount": 500})
    customer = v1.customers.create({"address": {"city": "Madrid"}, "name": "Ana"})
    setup: Any = {"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    v1.setup_intents.create({**setup, "return_url": "https://a.b/"})
    refused(lambda: v1.setup_intents.create({**setup, "payment_method": "pm_card_chargeDeclined"}))
    v1.setup_intents.create({"usage": "on_session"})
    v1.test_helpers.test_clocks.create({"frozen_time": 1800000000})
    driver.advance(days=6)
    evidence: Any = {"evidence": {"uncategorized_text": "winning_evidence"}}
    v1.disputes.update(v1.disputes.list().data[-1].id, evidence)
    return client


def test_everything_that_is_listed_keeps_the_shape(lived: stripe.StripeClient, root: str) -> None:
    headers = {"Authorization": f"Bearer {SECRET_KEY}", "Stripe-Version": API_VERSION}
    for kind, path in LISTS.items():
        listed = requests.get(f"{root}{path}?limit=100", headers=headers).json()
        assert listed["data"], kind
        for body in listed["data"]:
            if kind == "webhook_endpoint":  # Stripe shows it in the answer to create alone
                assert body.setdefault("secret", "whsec_") == "whsec_"
            assert body["object"] == kind
            assert wrong_fields(body, kind) == []
            if kind == "event":
                assert wrong_fields(body["data"]["object"], body["type"]) == []
    mandate = lived.v1.mandates.retrieve(mandate_of(lived)).to_dict()
    assert wrong_fields(mandate, "mandate") == []
    balance = lived.v1.balance.retrieve().to_dict()
    assert object_problems(balance, stripe.Balance, "balance", top=True) == []
    (methods,) = lived.v1.payment_method_configurations.list().data
    for method in (methods.card, methods.ideal, methods.sepa_debit):
        assert method is not None
        assert (method.available, method.display_preference.value) == (True, "on")
    account = lived.v1.accounts.retrieve_current().to_dict()
    assert object_problems(account, stripe.Account, "account", top=True) == []


def wrong_fields(body: dict[str, Any], path: str) -> list[str]:
    cls = get_object_class("V1", body["object"])
    assert hints(cls), f"the SDK knows no {body['object']}"
    # A configuration names the payment methods of its account only, not all that there are.
    return object_problems(body, cls, path, top=path != "payment_method_configuration")


def mandate_of(client: stripe.StripeClient) -> str:
    charges: Any = client.v1.charges.list({"limit": 100}).data
    details = [charge.payment_method_details for charge in charges]
    return str(next(d.sepa_debit.mandate for d in details if d.type == "sepa_debit"))
