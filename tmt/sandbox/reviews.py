"""Radar's reviews: of a payment with an elevated risk, until a person has looked at it."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext


def open_review(context: RequestContext, intent: Json, charge: Json) -> None:
    """Have a payment reviewed, which changes nothing about the payment itself."""
    review = new(
        "review",
        context.now,
        billing_zip=charge["billing_details"]["address"]["postal_code"],
        charge=charge["id"],
        payment_intent=intent["id"],
    )
    charge["review"] = intent["review"] = review["id"]
    context.save_and_emit(review, "review.opened")


def close_review(context: RequestContext, charge: Json, reason: str) -> None:
    """Close the charge's review, if it has an open one, for one of Stripe's reasons."""
    review = context.store.get(charge["review"] or "", "review")
    if review and review["open"]:
        _close(context, review, reason)


@route("POST /v1/reviews/<id>/approve")
def approve_review(context: RequestContext, params: Json, id: str) -> Json:
    """Approve a review: the payment is as it should be."""
    review = context.fetch("review", id)
    if not review["open"]:
        raise api_error("review_closed", id=id)
    return _close(context, review, "approved")


def _close(context: RequestContext, review: Json, reason: str) -> Json:
    changes = {"open": False, "closed_reason": reason, "reason": reason}
    return context.save_and_emit(review | changes, "review.closed")
