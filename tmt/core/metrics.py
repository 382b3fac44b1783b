"""Counters for Prometheus.

Behind several workers, set PROMETHEUS_MULTIPROC_DIR in the environment (not in `.env`: the library
reads it itself) to a folder that all of them may write to; each of them then reports for all.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

requests = Counter("tmt_requests", "Requests answered", ["route", "method", "status"])
request_seconds = Histogram("tmt_request_seconds", "Time to answer a request", ["route"])
stripe_calls = Counter("tmt_stripe_calls", "Calls to Stripe", ["operation", "outcome"])
webhooks = Counter("tmt_webhooks", "Webhook deliveries", ["result"])
syncs = Counter("tmt_payment_syncs", "PaymentIntents synced", ["outcome", "trigger"])
# Each has a label: without one it would open its file at import, before the shared folder exists.
decline_rate_alerts = Counter(
    "tmt_decline_rate_alerts", "Minutes with too many declined payments", ["mode"]
)
orders = Counter("tmt_orders", "Attempts to place an order", ["result"])


def exposition() -> bytes:
    """All metrics in Prometheus' text format, those of every worker if they share a folder."""
    if values.ValueClass is values.MutexValue:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
