"""`flask stripe`: the webhook endpoint is created as the shop needs it, its secret shown once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import stripe
from click.testing import Result

from tests.servers import serve
from tests.shopfront import Shopfront
from tmt.billing.webhook_handlers import HANDLERS
from tmt.gateway.types import API_VERSION

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SECRET = re.compile(r"^ +(whsec_\w+)$", re.MULTILINE)


def register(front: Shopfront, *options: str) -> Result:
    return front.app.test_cli_runner().invoke(args=["stripe", "register-webhook", *options])


def list_webhooks(front: Shopfront) -> str:
    return front.app.test_cli_runner().invoke(args=["stripe", "webhooks"]).output


def endpoints(front: Shopfront) -> dict[str, Any]:
    return {endpoint.id: endpoint for endpoint in front.stripe.v1.webhook_endpoints.list().data}


@pytest.fixture
def no_endpoint(shopfront: Shopfront) -> None:
    """The account has no endpoint yet."""
    for endpoint in endpoints(shopfront):
        shopfront.stripe.v1.webhook_endpoints.delete(endpoint)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Another address for Stripe to send to, and the bodies that it gets with their signatures."""
    received: list[tuple[str, str]] = []

    def receive(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        received.append((body, environ["HTTP_STRIPE_SIGNATURE"]))
        start_response("200 OK", [])
        return [b"ok"]

    server = serve(receive)
    yield f"{server.url}/stripe_webhook", received
    server.stop()


@pytest.mark.usefixtures("no_endpoint")
def test_an_endpoint_is_created_as_the_shop_needs_it(shopfront: Shopfront) -> None:
    result = register(shopfront)
    assert result.exit_code == 0
    (created,) = endpoints(shopfront).values()
    assert created.url == f"{shopfront.shop.settings.base_url}/stripe_webhook"
    assert created.api_version == API_VERSION
    assert created.enabled_events == sorted(HANDLERS)
    assert created.description == "TMT (TMT)"
    assert len(SECRET.findall(result.output)) == 1
    assert "Set STRIPE_WEBHOOK_SECRET to it" in result.output


@pytest.mark.usefixtures("no_endpoint")
def test_the_secret_that_is_printed_is_the_one_that_signs(
    shopfront: Shopfront, receiver: tuple[str, list[tuple[str, str]]]
) -> None:
    url, received = receiver
    (secret,) = SECRET.findall(register(shopfront, "--url", url).output)
    buyer = shopfront.buyer()
    shopfront.confirm(buyer.open_pay_page(buyer.reserve(1)))
    deadline = time.monotonic() + 15
    while not received:
        assert time.monotonic() < deadline, "nothing was received"
        time.sleep(0.02)
    for body, signature in received:
        assert stripe.WebhookSignature.verify_header(body, signature, secret)


def test_an_existing_endpoint_is_repaired_and_keeps_its_secret(shopfront: Shopfront) -> None:
    (existing,) = endpoints(shopfront)
    events = ["customer.created", "payment_intent.succeeded"]
    changed = {"enabled_events": events, "disabled": True}
    shopfront.stripe.v1.webhook_endpoints.update(existing, changed)
    result = register(shopfront)
    (endpoint,) = endpoints(shopfront).values()
    assert (endpoint.id, endpoint.status) == (existing, "enabled")
    assert set(endpoint.enabled_events) == {"customer.created", *HANDLERS}
    assert "whsec_" not in result.output
    assert f"{existing} already exists" in result.output
    assert "--roll creates one" in result.output


def test_an_endpoint_that_gets_all_events_keeps_getting_them(shopfront: Shopfront) -> None:
    register(shopfront)
    (endpoint,) = endpoints(shopfront).values()
    assert endpoint.enabled_events == ["*"]


def test_rolling_creates_another_endpoint_and_says_what_to_do(shopfront: Shopfront) -> None:
    (existing,) = endpoints(shopfront)
    result = register(shopfront, "--roll")
    assert len(SECRET.findall(result.output)) == 1
    assert f"Delete {existing} in Stripe's dashboard" in result.output
    assert len(endpoints(shopfront)) == 2
    lines = list_webhooks(shopfront).splitlines()
    assert [line.startswith("* we_") for line in lines] == [True, True]
    assert sum("all events" in line for line in lines) == 1
    assert "whsec_" not in list_webhooks(shopfront)


def test_an_error_of_stripe_is_one_sentence(shopfront: Shopfront) -> None:
    result = register(shopfront, "--url", "nowhere")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Stripe: ")
    shopfront.servers[1].stop()
    result = register(shopfront)
    assert result.exit_code == 1
    assert result.output.startswith("Error: Stripe: ")
