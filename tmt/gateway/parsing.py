"""Stripe's answers and events as the types of `types.py`; personal data is dropped here."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, cast

from tmt.gateway.errors import InvalidEvent
from tmt.gateway.types import (
    DisputeStatus,
    NextAction,
    PaymentIntent,
    PaymentIntentStatus,
    RefundStatus,
    StripeDispute,
    StripeEvent,
    StripeRefund,
)

# The entry of a refund's metadata that names the row in our table.
REFUND_REFERENCE = "tmt_refund"

_MAX_LENGTH, _MAX_TYPE_LENGTH, _MAX_CODE_LENGTH = 255, 120, 80
_MAX_ACTION_LENGTH = 64
_LINK = re.compile(r"https?://[!-~]{1,1990}")
_MAX_NUMBER = 253_402_300_799  # The end of the year 9999, in Unix seconds.

# The fields of an event's object that are stored: enough to act on and to retrieve it, nothing
# personal.
_STORED_FIELDS = frozenset(
    """
    id object status amount amount_received amount_refunded currency created livemode
    payment_method payment_intent charge latest_charge reason cancellation_reason
    """.split()
)


def payment_intent(source: Any) -> PaymentIntent:
    """The SDK's PaymentIntent."""
    error = source.last_payment_error
    code = getattr(error, "decline_code", None) or getattr(error, "code", None)
    return PaymentIntent(
        id=source.id,
        status=PaymentIntentStatus(source.status),
        amount=source.amount,
        amount_received=source.amount_received,
        currency=source.currency,
        created=source.created,
        livemode=source.livemode,
        payment_method=_id(source.payment_method),
        metadata=source.metadata.to_dict() if source.metadata else {},
        error_code=code[:_MAX_CODE_LENGTH] if code else None,
        client_secret=source.client_secret,
        next_action=_next_action(source),
    )


def _next_action(intent: Any) -> NextAction | None:
    """What the SDK's PaymentIntent waits for; details that cannot be used are left out."""
    source = getattr(intent, "next_action", None)
    if source is None:
        return None
    action = NextAction(str(getattr(source, "type", ""))[:_MAX_ACTION_LENGTH])
    kind, details = action.kind, getattr(source, action.type, None)
    url = getattr(details, kind.url_field, None) if kind.url_field else None
    # It becomes a link on the order's page.
    if not isinstance(url, str) or not _LINK.fullmatch(url):
        url = None
    start = getattr(details, kind.expiry_field, None) if kind.expiry_field else intent.created
    expires_at = None
    if type(start) is int and (kind.expiry_field or kind.lapses_days):
        expires_at = start + int(timedelta(days=kind.lapses_days).total_seconds())
    if expires_at is not None and not 0 <= expires_at <= _MAX_NUMBER:
        expires_at = None
    return NextAction(action.type, url, expires_at)


def refund(source: Any) -> StripeRefund:
    """The SDK's Refund; one without a status, which its annotations allow, is pending."""
    metadata = source.metadata.to_dict() if source.metadata else {}
    return StripeRefund(
        id=source.id,
        status=RefundStatus(source.status or "pending"),
        amount=source.amount,
        currency=source.currency,
        created=source.created,
        payment_intent=_id(source.payment_intent),
        reference=metadata.get(REFUND_REFERENCE),
        failure_reason=getattr(source, "failure_reason", None),
    )


def dispute(source: Any) -> StripeDispute:
    """The SDK's Dispute."""
    return StripeDispute(
        id=source.id,
        status=DisputeStatus(source.status),
        reason=source.reason,
        amount=source.amount,
        currency=source.currency,
        created=source.created,
        payment_intent=_id(source.payment_intent),
    )


def to_json(source: Any) -> dict[str, Any]:
    """Any of the SDK's objects as Stripe's JSON."""
    return cast(dict[str, Any], source.to_dict(for_json=True))


def event_from_payload(payload: bytes) -> StripeEvent:
    """The event in a webhook body whose signature has been verified; raises `InvalidEvent`."""
    try:
        body = json.loads(payload, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
    return event(body)


def event(body: Any) -> StripeEvent:
    """The event in Stripe's JSON; raises `InvalidEvent` for anything else."""
    types = {"id": str, "type": str, "created": int, "livemode": bool, "data": dict}
    if not isinstance(body, dict) or body.get("object") != "event":
        raise InvalidEvent("the body is not an event")
    for name, expected in types.items():
        max_length = _MAX_TYPE_LENGTH if name == "type" else _MAX_LENGTH
        if type(body.get(name)) is not expected or not _fits_column(body[name], max_length):
            raise InvalidEvent(f"the event's '{name}' is missing or wrong")
    version = body.get("api_version")
    return StripeEvent(
        id=body["id"],
        type=body["type"],
        created=body["created"],
        livemode=body["livemode"],
        api_version=version if isinstance(version, str) and len(version) <= 60 else None,
        object=_stored_fields(body["data"].get("object")),
    )


def _stored_fields(source: Any) -> dict[str, Any]:
    """What is stored of an event's object, whatever shape that has."""
    if not isinstance(source, dict):
        return {}
    fields = {
        name: value
        for name, value in source.items()
        if name in _STORED_FIELDS and not isinstance(value, dict | list)
    }
    metadata = source.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("order"), str):
        # Decides nothing; it only tells an event that is early from one that is not ours.
        fields["order"] = metadata["order"]
    return {name: value for name, value in fields.items() if _fits_column(value)}


def _fits_column(value: Any, max_length: int = _MAX_LENGTH) -> bool:
    """Whether a column takes the value; Stripe's ids, types and times are within these bounds."""
    if isinstance(value, str):
        return len(value) <= max_length and value.isprintable()
    return not isinstance(value, int | float) or abs(value) <= _MAX_NUMBER


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _id(field: Any) -> str | None:
    """The id in a field that Stripe may have expanded."""
    return field if isinstance(field, str) or field is None else cast(str, field.id)
