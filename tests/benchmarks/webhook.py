"""Taking in Stripe's events against an application that checks the signature and keeps one row."""

from __future__ import annotations

import json
from typing import Any

from tests.benchmarks import bare
from tests.benchmarks.bench_env import DATABASES, BenchEnv
from tests.benchmarks.client import UNIQUE, Plan
from tests.benchmarks.load import Target, take_turns
from tests.benchmarks.page import bare_app
from tests.benchmarks.table import Row, rate_row
from tests.deployment import UNLIMITED, deploy
from tmt.gateway.types import API_VERSION

GOAL = 0.6
_HEAD = (
    "POST /stripe_webhook HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
    "Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\n"
    "Content-Type: application/json; charset=utf-8"
)


def run(env: BenchEnv) -> list[Row]:
    """Distinct, validly signed events per second, on each kind of database."""
    return [_compared(env, kind) for kind in DATABASES]


def plan_for(port: int, secret: str) -> Plan:
    """Events for the webhook of this port, each with an id of its own."""
    return Plan(port, _HEAD, json.dumps(_event(), indent=2), secret)


def _compared(env: BenchEnv, kind: str) -> Row:
    url, bare_url = env.shop_database(kind), env.empty_database(kind)
    bare.prepare(bare_url)
    secret = "whsec_benchmarks"
    with (
        deploy(env.folder(), url, UNLIMITED, jobs=0, sandbox=False) as shop,
        bare_app(env, f"webhook({bare_url!r}, {secret!r})") as (port, other),
    ):
        ours = plan_for(shop.port, shop.signing_secret)
        targets = {
            "ours": Target(ours, shop.web.processor_seconds),
            "bare": Target(plan_for(port, secret), other.processor_seconds),
        }
        turns = take_turns(targets)
    return rate_row(f"webhook intake, {kind}", turns["ours"], turns["bare"], GOAL)


def _event() -> dict[str, Any]:
    return {
        "id": f"evt_{UNIQUE}",
        "object": "event",
        "api_version": API_VERSION,
        "created": 1767225600,
        "data": {"object": _payment_intent()},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_benchmarks", "idempotency_key": UNIQUE},
        "type": "payment_intent.succeeded",
    }


def _payment_intent() -> dict[str, Any]:
    """A PaymentIntent in the breadth in which Stripe renders it."""
    nothing = """
        application application_fee_amount canceled_at cancellation_reason customer
        customer_account excluded_payment_method_types last_payment_error next_action on_behalf_of
        payment_method_configuration_details presentment_details processing receipt_email review
        setup_future_usage shipping source statement_descriptor statement_descriptor_suffix
        transfer_data transfer_group
    """
    return dict.fromkeys(nothing.split()) | {
        "id": f"pi_{UNIQUE}",
        "object": "payment_intent",
        "amount": 13500,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 13500,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "capture_method": "automatic_async",
        "client_secret": f"pi_{UNIQUE}_secret_benchmarks",
        "confirmation_method": "automatic",
        "created": 1767225590,
        "currency": "usd",
        "description": "TMT K7M2QX4B",
        "latest_charge": f"ch_{UNIQUE}",
        "livemode": False,
        "metadata": {"platform": "TMT", "order": "K7M2QX4B"},
        "payment_method": f"pm_{UNIQUE}",
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            },
            "link": {"persistent_token": None},
        },
        "payment_method_types": ["card", "link"],
        "status": "succeeded",
    }
