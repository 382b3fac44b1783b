"""Refunds of captured charges."""

from __future__ import annotations

from tmt.sandbox import objects
from tmt.sandbox.call import Call
from tmt.sandbox.cards import BY_KEY
from tmt.sandbox.currencies import spelled
from tmt.sandbox.errors import ApiError, invalid
from tmt.sandbox.params import merged_metadata
from tmt.sandbox.shape import Json


def create(call: Call, p: Json) -> Json:
    """POST /v1/refunds."""
    charge = _charge_of(call, p)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left <= 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(400, message, code="charge_already_refunded")
    amount = p.get("amount", left)
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, "amount", "parameter_invalid_integer")
    if amount > left:
        message = (
            f"Refund amount ({spelled(amount, charge['currency'])}) is greater than unrefunded"
            f" amount on charge ({spelled(left, charge['currency'])})"
        )
        raise ApiError(400, message, param="amount")
    return _refund(call, charge, amount, p)


def _charge_of(call: Call, p: Json) -> Json:
    if ("charge" in p) == ("payment_intent" in p):
        message = "One of the following params should be provided: payment_intent or charge."
        raise invalid(message, "charge", "parameter_missing")
    id = p.get("charge")
    if id is None:
        intent = call.fetch("payment_intent", p["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            which = f"This PaymentIntent ({intent['id']})"
            message = f"{which} does not have a successful charge to refund."
            raise ApiError(
                400, message, param="payment_intent", code="payment_intent_unexpected_state"
            )
        id = intent["latest_charge"]
    charge = call.fetch("charge", id)
    if not charge["captured"]:
        message = f"Charge {charge['id']} has not been captured, so it cannot be refunded."
        raise ApiError(400, message, param="charge", code="charge_not_refundable")
    return charge


def _refund(call: Call, charge: Json, amount: int, p: Json) -> Json:
    status = "pending" if BY_KEY[charge["_card"]].refund == "pending" else "succeeded"
    refund = objects.refund(
        call.now, charge, amount, status, metadata=merged_metadata({}, p.get("metadata", {}))
    )
    refund |= {"reason": p.get("reason"), "instructions_email": p.get("instructions_email")}
    entry = objects.balance_transaction(call.now, refund, "refund", -amount, 0)
    refund["balance_transaction"] = call.save(entry)["id"]
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    call.save(refund)
    call.save(charge)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge, before)
    return refund


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/refunds/:id."""
    refund = call.fetch("refund", id)
    if "metadata" in p:
        before = {"metadata": refund["metadata"]}
        refund["metadata"] = merged_metadata(refund["metadata"], p["metadata"])
        call.emit("refund.updated", refund, before)
    return call.save(refund)
