"""`flask stripe`: the webhook endpoint is made as the shop needs it, its secret told once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import stripe
from click.testing import Result

from tests.actions import Shopfront
from tests.servers import serve
from tmt.gateway.types import API_VERSION
from tmt.payments.webhook_handlers import HANDLERS

SECRET = re.compile(r"^ +(whsec_\w+)$", re.MULTILINE)


def register(front: Shopfront, *options: str) -> Result:
    return front.app.test_cli_runner().invoke(args=["stripe", "register-webhook", *options])


def listed(front: Shopfront) -> str:
    return front.app.test_cli_runner().invoke(args=["stripe", "webhooks"]).output


def endpoints(front: Shopfront) -> dict[str, Any]:
    return {one.id: one for one in front.stripe.v1.webhook_endpoints.list().data}


@pytest.fixture
def forgotten(shopfront: Shopfront) -> None:
    """Stripe knows no endpoint yet."""
    for one in endpoints(shopfront):
        shopfront.stripe.v1.webhook_endpoints.delete(one)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Another address for Stripe to send to, and what came there, with its signature."""
    came: list[tuple[str, str]] = []

    def receive(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        came.append((body, environ["HTTP_STRIPE_SIGNATURE"]))
        start_response("200 OK", [])
        return [b"ok"]

    server = serve(receive)
    yield f"{server.url}/stripe_webhook", came
    server.stop()


@pytest.mark.usefixtures("forgotten")
def test_an_endpoint_is_made_as_the_shop_needs_it(shopfront: Shopfront) -> None:
    answer = register(shopfront)
    assert answer.exit_code == 0
    (made,) = endpoints(shopfront).values()
    assert made.url == f"{shopfront.shop.settings.base_url}/stripe_webhook"
    assert made.api_version == API_VERSION
    assert made.enabled_events == sorted(HANDLERS)
    assert made.description == "TMT (TMT)"
    assert len(SECRET.findall(answer.output)) == 1
    assert "Set STRIPE_WEBHOOK_SECRET to it" in answer.output


@pytest.mark.usefixtures("forgotten")
def test_the_secret_that_is_told_is_the_one_that_signs(
    shopfront: Shopfront, elsewhere: tuple[str, list[tuple[str, str]]]
) -> None:
    url, came = elsewhere
    (secret,) = SECRET.findall(register(shopfront, "--url", url).output)
    buyer = shopfront.buyer()
    shopfront.confirm(buyer.open_pay_page(buyer.reserve(1)))
    deadline = time.monotonic() + 15
    while not came:
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)
    for body, signature in came:
        assert stripe.WebhookSignature.verify_header(body, signature, secret)


def test_one_that_stands_is_mended_and_keeps_its_secret(shopfront: Shopfront) -> None:
    (standing,) = endpoints(shopfront)
    events = ["customer.created", "payment_intent.succeeded"]
    changed = {"enabled_events": events, "disabled": True}
    shopfront.stripe.v1.webhook_endpoints.update(standing, changed)
    answer = register(shopfront)
    (one,) = endpoints(shopfront).values()
    assert (one.id, one.status) == (standing, "enabled")
    assert set(one.enabled_events) == {"customer.created", *HANDLERS}
    assert "whsec_" not in answer.output
    assert f"{standing} stood already" in answer.output
    assert "--roll makes one" in answer.output


def test_one_that_is_told_of_everything_stays_so(shopfront: Shopfront) -> None:
    register(shopfront)
    (one,) = endpoints(shopfront).values()
    assert one.enabled_events == ["*"]


def test_rolling_makes_another_one_and_says_what_to_do(shopfront: Shopfront) -> None:
    (standing,) = endpoints(shopfront)
    answer = register(shopfront, "--roll")
    assert len(SECRET.findall(answer.output)) == 1
    assert f"Delete {standing} in Stripe's dashboard" in answer.output
    assert len(endpoints(shopfront)) == 2
    lines = listed(shopfront).splitlines()
    assert [line.startswith("* we_") for line in lines] == [True, True]
    assert sum("all events" in line for line in lines) == 1
    assert "whsec_" not in listed(shopfront)


def test_what_stripe_refuses_is_told_in_a_sentence(shopfront: Shopfront) -> None:
    answer = register(shopfront, "--url", "nowhere")
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: Stripe: ")
    shopfront.servers[1].stop()
    answer = register(shopfront)
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: Stripe: ")
