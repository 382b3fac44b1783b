"""Stripe's objects as its SDK gives them, reduced to the shop's own types."""

from __future__ import annotations

from typing import Any, cast

from tmt.gateway.contract import Dispute, PaymentIntent, Refund

# The entry of a refund's metadata in which the shop says which of its refunds it is.
REFERENCE = "tmt_refund"


def payment_intent(found: Any) -> PaymentIntent:
    """A PaymentIntent."""
    last_error = found.last_payment_error
    return PaymentIntent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        amount_received=found.amount_received,
        currency=found.currency,
        created=found.created,
        livemode=found.livemode,
        payment_method=_id(found.payment_method),
        metadata=found.metadata.to_dict() if found.metadata else {},
        error_code=_error_code(last_error) if last_error else None,
        client_secret=found.client_secret,
    )


def refund(found: Any) -> Refund:
    """A refund; one without a status is pending, as the SDK's annotations allow for."""
    metadata = found.metadata.to_dict() if found.metadata else {}
    return Refund(
        id=found.id,
        status=found.status or "pending",
        amount=found.amount,
        currency=found.currency,
        created=found.created,
        payment_intent=_id(found.payment_intent),
        reference=metadata.get(REFERENCE),
        failure_reason=getattr(found, "failure_reason", None),
    )


def dispute(found: Any) -> Dispute:
    """A dispute."""
    return Dispute(
        id=found.id,
        status=found.status,
        reason=found.reason,
        amount=found.amount,
        currency=found.currency,
        created=found.created,
        payment_intent=_id(found.payment_intent),
    )


def plain(found: Any) -> dict[str, Any]:
    """Any object as Stripe's JSON."""
    return cast(dict[str, Any], found.to_dict(for_json=True))


def _id(named: Any) -> str | None:
    """The id in a field that Stripe may have expanded."""
    return named if isinstance(named, str) or named is None else cast(str, named.id)


def _error_code(error: Any) -> str | None:
    return getattr(error, "decline_code", None) or getattr(error, "code", None)
