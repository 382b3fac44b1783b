"""The official SDK at the sandbox or, with STRIPE_CONTRACT_KEY, at Stripe's own test mode.

The tests use the SDK and nothing else, so that they say the same of both. They need an account in
test mode that takes cards in usd; they create objects there and delete what can be deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from tests.sandbox.shapes import CheckingClient
from tests.servers import serve
from tmt.sandbox import Sandbox

KEY = os.environ.get("STRIPE_CONTRACT_KEY", "")
NEW = {"amount": 2000, "currency": "usd"}
NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}
Pay = Callable[..., Any]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stripe.StripeClient]:
    """The SDK's client; at the sandbox it checks the shape of each answer."""
    if KEY:
        if not KEY.startswith(("sk_test_", "rk_test_")):
            pytest.exit("STRIPE_CONTRACT_KEY must be a secret key of Stripe's test mode", 1)
        yield stripe.StripeClient(KEY, max_network_retries=3)
        return
    store = tmp_path_factory.mktemp("contract") / "sandbox.sqlite"
    box = Sandbox(store, "sk_test_contract", "pk_test_contract", any_key=True)
    server = serve(box.wsgi)
    yield stripe.StripeClient(
        "sk_test_anybody", base_addresses={"api": server.url}, http_client=CheckingClient()
    )
    server.stop()
    box.close()


@pytest.fixture
def v1(client: stripe.StripeClient) -> Any:
    return client.v1


@pytest.fixture
def pay(v1: Any) -> Pay:
    """Create and confirm a PaymentIntent of 20.00 usd with a test card."""

    def pay(token: str = "pm_card_visa", options: Any = None, **params: Any) -> Any:
        default = {**NEW, "confirm": True, "payment_method": token}
        default["automatic_payment_methods"] = NO_REDIRECTS
        return v1.payment_intents.create({**default, **params}, options)

    return pay


@pytest.fixture
def customer(v1: Any) -> Iterator[Any]:
    """A customer, who is deleted afterwards."""
    customer = v1.customers.create({"email": "ana@example.com", "name": "Ana"})
    yield customer
    v1.customers.delete(customer.id)


def error_of(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The error that the call raises."""
    with pytest.raises(stripe.StripeError) as caught:
        call(*arguments, **named)
    return caught.value


def refusal(error: Any) -> tuple[int, str | None, str | None]:
    """What identifies an error: status, code and parameter."""
    assert isinstance(error, stripe.InvalidRequestError)
    return error.http_status, error.code, error.param


def eventually(read: Callable[[], Any]) -> Any:
    """What `read` returns once it is true: at Stripe some things appear a moment later."""
    for _ in range(30 if KEY else 0):
        if value := read():
            return value
        time.sleep(1)
    value = read()
    assert value
    return value
