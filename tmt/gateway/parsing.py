"""Stripe's answers and events as the types of `types.py`; personal data is dropped here.

What an answer always has and this one lacks, or has of another kind, raises; `stripe_api.py` makes
an `UnreadableAnswer` of that.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, TypeVar, cast

from tmt.gateway.errors import InvalidEvent
from tmt.gateway.types import (
    CONNECTED_ACCOUNT,
    DisputeStatus,
    InvoiceStatus,
    NextAction,
    PaymentIntent,
    PaymentIntentStatus,
    RefundStatus,
    StripeDispute,
    StripeEvent,
    StripeInvoice,
    StripePrice,
    StripeRefund,
    StripeSubscription,
    SubscriptionStatus,
)

T = TypeVar("T")

# The entry of a refund's metadata that names the row in our table.
REFUND_REFERENCE = "tmt_refund"
# The entry of a PaymentIntent's metadata that names the order that it was created for.
ORDER_CODE = "tmt_order"

_MISSING = object()

_MAX_LENGTH, _MAX_TYPE_LENGTH, _MAX_CODE_LENGTH = 255, 120, 80
_MAX_ACTION_LENGTH = 64
_MAX_METHODS = 50
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


class _Unreadable(ValueError):
    """An object of Stripe's lacks a field, or has a value of another kind in it."""


def payment_intent(source: Any) -> PaymentIntent:
    """The SDK's PaymentIntent."""
    error = getattr(source, "last_payment_error", None)
    code = getattr(error, "decline_code", None) or getattr(error, "code", None)
    return PaymentIntent(
        id=_required(source, "id", str),
        status=PaymentIntentStatus(_required(source, "status", str)),
        amount=_required(source, "amount", int),
        amount_received=_required(source, "amount_received", int),
        currency=_required(source, "currency", str),
        created=_required(source, "created", int),
        livemode=_required(source, "livemode", bool),
        payment_method=_id(source, "payment_method"),
        metadata=_metadata(source),
        error_code=str(code)[:_MAX_CODE_LENGTH] if code else None,
        client_secret=getattr(source, "client_secret", None),
        next_action=_next_action(source),
        method_types=_method_types(source),
    )


def _method_types(intent: Any) -> tuple[str, ...]:
    types = getattr(intent, "payment_method_types", None)
    return tuple(t for t in types if isinstance(t, str))[:_MAX_METHODS] if types else ()


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
    return StripeRefund(
        id=_required(source, "id", str),
        status=RefundStatus(getattr(source, "status", None) or "pending"),
        amount=_required(source, "amount", int),
        currency=_required(source, "currency", str),
        created=_required(source, "created", int),
        payment_intent=_id(source, "payment_intent"),
        reference=_metadata(source).get(REFUND_REFERENCE),
        failure_reason=getattr(source, "failure_reason", None),
    )


def dispute(source: Any) -> StripeDispute:
    """The SDK's Dispute."""
    return StripeDispute(
        id=_required(source, "id", str),
        status=DisputeStatus(_required(source, "status", str)),
        reason=str(getattr(source, "reason", None) or ""),
        amount=_required(source, "amount", int),
        currency=_required(source, "currency", str),
        created=_required(source, "created", int),
        is_charge_refundable=_required(source, "is_charge_refundable", bool),
        payment_intent=_id(source, "payment_intent"),
    )


def price(source: Any) -> StripePrice:
    """The SDK's Price."""
    recurring = getattr(source, "recurring", None)
    product = _id(source, "product")
    if product is None:
        raise _Unreadable("'product' is missing")
    return StripePrice(
        id=_required(source, "id", str),
        product=product,
        product_name=getattr(getattr(source, "product", None), "name", None),
        amount=getattr(source, "unit_amount", None),
        currency=_required(source, "currency", str),
        interval=_required(recurring, "interval", str) if recurring else None,
    )


def invoice(source: Any) -> StripeInvoice:
    """The SDK's Invoice."""
    parent = getattr(getattr(source, "parent", None), "subscription_details", None)
    moments = getattr(source, "status_transitions", None)
    ends = [line.period.end for line in source.lines.data]
    payments = getattr(getattr(source, "payments", None), "data", ())
    intents = [getattr(each.payment, "payment_intent", None) for each in payments]
    secret = getattr(source, "confirmation_secret", None)
    customer = _id(source, "customer")
    if customer is None:
        raise _Unreadable("'customer' is missing")
    return StripeInvoice(
        id=_required(source, "id", str),
        customer=customer,
        subscription=_id(parent, "subscription") if parent else None,
        status=InvoiceStatus(_required(source, "status", str)),
        number=getattr(source, "number", None),
        billing_reason=getattr(source, "billing_reason", None),
        collection_method=_required(source, "collection_method", str),
        currency=_required(source, "currency", str),
        total=_required(source, "total", int),
        amount_due=_required(source, "amount_due", int),
        amount_paid=_required(source, "amount_paid", int),
        amount_remaining=_required(source, "amount_remaining", int),
        attempt_count=_required(source, "attempt_count", int),
        created=_required(source, "created", int),
        due_date=getattr(source, "due_date", None),
        next_payment_attempt=getattr(source, "next_payment_attempt", None),
        period_end=max(ends, default=None),
        finalized_at=getattr(moments, "finalized_at", None),
        paid_at=getattr(moments, "paid_at", None),
        payment_intent=next((getattr(each, "id", each) for each in intents if each), None),
        client_secret=getattr(secret, "client_secret", None),
        subscription_metadata=_metadata(parent) if parent else {},
    )


def invoice_unless_deleted(source: Any) -> StripeInvoice | None:
    """The SDK's Invoice; None for what is left of a draft that was deleted."""
    return None if getattr(source, "deleted", False) else invoice(source)


def subscription(source: Any) -> StripeSubscription:
    """The SDK's Subscription, with its latest invoice if that was expanded."""
    # "items" is a method of the SDK's objects.
    items = source["items"].data
    latest = getattr(source, "latest_invoice", None)
    customer = _id(source, "customer")
    if customer is None:
        raise _Unreadable("'customer' is missing")
    return StripeSubscription(
        id=_required(source, "id", str),
        customer=customer,
        status=SubscriptionStatus(_required(source, "status", str)),
        price=items[0].price.id if items else None,
        period_start=max((item.current_period_start for item in items), default=None),
        period_end=max((item.current_period_end for item in items), default=None),
        cancel_at_period_end=_required(source, "cancel_at_period_end", bool),
        cancel_at=getattr(source, "cancel_at", None),
        ended_at=getattr(source, "ended_at", None),
        metadata=_metadata(source),
        latest_invoice=invoice(latest) if hasattr(latest, "lines") else None,
    )


def object_id(source: Any) -> str:
    """The id of any of the SDK's objects."""
    return _required(source, "id", str)


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
    # Connect names the account in the one, and an organization in the other.
    account = body.get("account") if body.get("account") is not None else body.get("context")
    return StripeEvent(
        id=body["id"],
        type=body["type"],
        created=body["created"],
        livemode=body["livemode"],
        api_version=version if isinstance(version, str) and len(version) <= 60 else None,
        object=_stored_fields(body["data"].get("object"), account),
    )


def _stored_fields(source: Any, account: Any) -> dict[str, Any]:
    """What is stored of an event's object, whatever shape that has, and of the event's account.

    Of an object that Stripe has expanded into it, that is its id.
    """
    if not isinstance(source, dict):
        source = {}
    fields: dict[str, Any] = {}
    for name in _STORED_FIELDS & source.keys():
        value = source[name].get("id") if isinstance(source[name], dict) else source[name]
        if not isinstance(value, dict | list):
            fields[name] = value
    metadata = source.get("metadata")
    if isinstance(metadata, dict):
        # Decides nothing; it only tells an event that is early from one that is not ours.
        order = metadata.get(ORDER_CODE, metadata.get("order"))
        if isinstance(order, str):
            fields["order"] = order
    if account is not None:
        is_id = isinstance(account, str) and _fits_column(account)
        fields[CONNECTED_ACCOUNT] = account if is_id else "unreadable"
    return {name: value for name, value in fields.items() if _fits_column(value)}


def _fits_column(value: Any, max_length: int = _MAX_LENGTH) -> bool:
    """Whether a column takes the value; Stripe's ids, types and times are within these bounds."""
    if isinstance(value, str):
        return len(value) <= max_length and value.isprintable()
    return not isinstance(value, int | float) or abs(value) <= _MAX_NUMBER


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _required(source: Any, name: str, kind: type[T]) -> T:
    """A field that the object always has, if it is of this very kind."""
    value = getattr(source, name, None)
    if type(value) is not kind or value == "":
        problem = "missing" if value is None else f"a {type(value).__name__}"
        raise _Unreadable(f"'{name}' is {problem}")
    return value


def _id(source: Any, name: str) -> str | None:
    """The id in a field that the object always has, and that Stripe may have expanded."""
    value = getattr(source, name, _MISSING)
    value = getattr(value, "id", value)
    if value is not None and (not isinstance(value, str) or not value):
        raise _Unreadable(f"'{name}' is no id")
    return value


def _metadata(source: Any) -> dict[str, str]:
    # An object is looked up by them: one without would be taken for another, and created again.
    metadata: Any = getattr(source, "metadata", _MISSING)
    if metadata is _MISSING:
        raise _Unreadable("'metadata' is missing")
    return cast(dict[str, str], metadata.to_dict()) if metadata else {}
