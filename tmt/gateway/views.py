"""The webhook endpoint: verifies, stores, answers. Everything else happens from the inbox."""

from __future__ import annotations

import structlog
from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from tmt import web
from tmt.core import metrics
from tmt.core.errors import Unavailable
from tmt.core.log import bind
from tmt.gateway import inbox
from tmt.gateway.errors import InvalidEvent, InvalidSignature

log = structlog.get_logger(__name__)
# A PaymentIntent's event alone can be larger than what pages take: 50 metadata values of 500
# characters, escaped.
_BODY_LIMIT = 4 * 1024 * 1024
webhook = Blueprint("webhook", __name__)
web.csrf.exempt(webhook)


@webhook.post("/stripe_webhook", strict_slashes=False)
@webhook.post("/stripe_webhook/", strict_slashes=False)
def receive() -> ResponseReturnValue:
    """200 for every verified event; 400 for what Stripe did not sign; 503 asks for a repeat."""
    request.max_content_length = _BODY_LIMIT
    payload = request.get_data(cache=False)
    try:
        event = web.gateway().verify_event(payload, request.headers.get("Stripe-Signature"))
    except (InvalidSignature, InvalidEvent) as error:
        log.warning("webhook.rejected", reason=str(error))
        metrics.webhooks.labels("rejected").inc()
        return {"error": f"Webhook Error: {error}"}, 400
    # Every log line of this request names the event.
    bind(stripe_event=event.id, type=event.type, object=event.object_id)
    shop = web.shop()
    try:
        new = inbox.receive(shop, event)
    except (SQLAlchemyError, Unavailable) as error:
        log.error("webhook.not_stored", error=type(error).__name__)
        metrics.webhooks.labels("not_stored").inc()
        return {"error": "the event could not be stored"}, 503
    metrics.webhooks.labels("new" if new else "repeated").inc()
    if new:
        shop.jobs.trigger("inbox")
    return {"received": True}
