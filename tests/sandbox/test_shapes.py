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
import stripe

from .conftest import Pay, refused


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
