"""Refunds, disputes and early fraud warnings.

A refund succeeds at once or days later, fails at the bank, or waits for money on the balance.
"""

from __future__ import annotations

from tmt.sandbox import balance, reviews
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import DAY, Json, load_table, new, template, without_internals
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import simulated_method

_REFUND_SECONDS = 3 * DAY
_DISPUTE_FEE = 1500
_RESPONSE_SECONDS = 14 * DAY
_DECISION_SECONDS = 60 * DAY
_CLOSED = ("won", "lost", "warning_closed")
# Stripe's evidence texts that decide at once; https://docs.stripe.com/testing#disputes.
_DECISIVE_EVIDENCE = {"winning_evidence": "won", "losing_evidence": "lost"}
_ESCALATING_EVIDENCE = "escalate_inquiry_evidence"
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


@route("POST /v1/refunds")
def create_refund(context: RequestContext, params: Json) -> Json:
    """Refund a charge, or the one of a PaymentIntent: all that is left, or `amount` of it."""
    charge = _refundable_charge(context, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] and not charge.get("_refundable"):
        raise api_error("charge_disputed", id=charge["id"])
    if left <= 0:
        raise api_error("charge_already_refunded", id=charge["id"])
    amount, currency = params.get("amount", left), charge["currency"]
    if amount < 1:
        raise api_error("too_low", "amount")
    if amount > left:
        formatted = format_amount(amount, currency), format_amount(left, currency)
        raise api_error("refund_too_large", amount=formatted[0], left=formatted[1])
    simulated = simulated_method(charge)
    # Link pays with a card.
    destination = "card" if simulated.kind in ("card", "link") else "eu_bank_transfer"
    covered, pending_reason = balance.can_refund(context, amount, currency), None
    if not covered:
        pending_reason = "insufficient_funds"
    elif simulated.refund == "pending" or simulated.kind == "sepa_debit":
        pending_reason = "processing"
    refund = new(
        "refund",
        context.now,
        amount=amount,
        charge=charge["id"],
        currency=currency,
        customer=charge["customer"],
        destination_details={
            "type": destination,
            destination: template(f"refund.destination_details.{destination}"),
        },
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        pending_reason=pending_reason,
        status="pending" if pending_reason else "succeeded",
    )
    refund |= field_changes(refund, params)
    if covered:
        _withdraw(context, refund, charge)
    context.save_and_emit(refund, "refund.created")
    context.update(charge, _refunded_amounts(charge, amount), "charge.refunded")
    if charge["refunded"]:
        as_fraud = refund.get("reason") == "fraudulent"
        reviews.close_review(context, charge, "refunded_as_fraud" if as_fraud else "refunded")
        # There is nothing left that the bank could ask about.
        for dispute in context.store.select("dispute", charge=charge["id"]):
            if dispute["status"].startswith("warning"):
                decide_dispute(context, dispute["id"], "lost")
    return refund


def _refundable_charge(context: RequestContext, params: Json) -> Json:
    if ("charge" in params) == ("payment_intent" in params):
        raise api_error("one_needed", "charge", both="payment_intent or charge")
    id = params.get("charge")
    if id is None:
        intent = context.fetch("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise api_error("nothing_to_refund", id=intent["id"])
        id = intent["latest_charge"]
    charge = context.fetch("charge", id, "charge")
    if not charge["captured"] or not charge["paid"]:
        raise api_error("charge_not_refundable", id=charge["id"])
    kind = simulated_method(charge).kind
    if not load_table("simulated_methods")["kinds"][kind].get("refunds", True):
        raise api_error("kind_not_refundable", kind=kind)
    return charge


def _refunded_amounts(charge: Json, amount: int) -> Json:
    """The fields of a charge after `amount` more is refunded; a negative one was returned."""
    refunded = charge["amount_refunded"] + amount
    return {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}


def _withdraw(context: RequestContext, refund: Json, charge: Json) -> None:
    """Take the refund from the balance, and schedule what becomes of it at the buyer's bank."""
    simulated = simulated_method(charge)
    kind = "refund" if simulated.kind == "card" else "payment_refund"
    transaction = balance.add_transaction(context, refund, kind, -refund["amount"])
    refund["balance_transaction"] = transaction["id"]
    if simulated.refund == "fails":
        context.schedule(_REFUND_SECONDS, "fail_refund", refund["id"])
    elif refund["status"] == "pending" or simulated.refund == "pending":
        context.schedule(_REFUND_SECONDS, "complete_refund", refund["id"])


@timer_action("pay_waiting_refunds")
def pay_waiting_refunds(context: RequestContext, _: str) -> None:
    """Pay the refunds that wait for money, oldest first, as far as the balance covers them."""
    waiting = context.store.select("refund", order="ASC", pending_reason="insufficient_funds")
    for refund in waiting:
        if not balance.can_refund(context, refund["amount"], refund["currency"]):
            return
        charge = context.fetch("charge", refund["charge"])
        refund["pending_reason"] = "processing"
        _withdraw(context, refund, charge)
        context.save(refund)
        if simulated_method(charge).refund == "succeeded":
            complete_refund(context, refund["id"])


@timer_action("complete_refund")
def complete_refund(context: RequestContext, id: str) -> None:
    """The buyer has received a pending refund."""
    refund = context.fetch("refund", id)
    if refund["status"] == "pending":
        changes = {"status": "succeeded", "pending_reason": None}
        context.update(refund, changes, "refund.updated", "charge.refund.updated")


@timer_action("fail_refund")
def fail_refund(context: RequestContext, id: str) -> None:
    """The buyer's bank returned the money; the charge can be refunded again."""
    refund = context.fetch("refund", id)
    charge = context.fetch("charge", refund["charge"])
    context.update(charge, _refunded_amounts(charge, -refund["amount"]))
    transaction = balance.add_transaction(context, refund, "refund_failure", refund["amount"])
    changes = {
        "status": "failed",
        "failure_reason": "expired_or_canceled_card",
        "failure_balance_transaction": transaction["id"],
    }
    context.update(refund, changes, "refund.updated", "refund.failed", "charge.refund.updated")


@route("POST /v1/refunds/<id>/cancel")
def cancel_refund(context: RequestContext, params: Json, id: str) -> Json:
    """Fails: only refunds that need the buyer's action can be canceled, and none here does."""
    raise api_error("refund_not_cancelable", status=context.fetch("refund", id)["status"])


def schedule_after_payment(context: RequestContext, charge: Json) -> None:
    """Have the dispute or the warning follow that the test card stands for."""
    after_payment = simulated_method(charge).after_payment
    if after_payment == "fraud_warning":
        context.schedule(0, "create_fraud_warning", charge["id"])
    elif after_payment:
        context.schedule(0, "open_dispute", charge["id"], after_payment)


@timer_action("create_fraud_warning")
def create_fraud_warning(context: RequestContext, charge_id: str) -> None:
    """The card's bank suspects fraud."""
    intent = context.fetch("charge", charge_id)["payment_intent"]
    kind = "radar.early_fraud_warning"
    warning = new(kind, context.now, charge=charge_id, payment_intent=intent)
    context.save_and_emit(warning, f"{kind}.created")


@timer_action("open_dispute")
def open_dispute(
    context: RequestContext, charge_id: str, reason: str, amount: int | None = None
) -> Json:
    """The buyer's bank takes the payment back, or only inquires (`reason` inquiry).

    All that is left of it, or the amount (minor units), which may not be more.
    """
    charge = context.fetch("charge", charge_id)
    is_inquiry = reason == "inquiry"
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] or left < 1:
        raise api_error("charge_disputed", id=charge_id)
    amount = left if amount is None else amount
    if not 1 <= amount <= left:
        raise ValueError(f"a dispute about {amount} of the {left} that are left")
    dispute = new(
        "dispute",
        context.now,
        amount=amount,
        charge=charge_id,
        currency=charge["currency"],
        evidence=template("dispute.evidence"),
        evidence_details=template("dispute.evidence_details"),
        is_charge_refundable=is_inquiry,
        payment_intent=charge["payment_intent"],
        reason="fraudulent" if is_inquiry else reason,
        status="warning_needs_response" if is_inquiry else "needs_response",
    )
    dispute["evidence_details"]["due_by"] = context.now + _RESPONSE_SECONDS
    if charge["payment_method_details"]["type"] == "card":
        brand = charge["payment_method_details"]["card"]["brand"]
        card = {
            "brand": brand,
            "case_type": "inquiry" if is_inquiry else "chargeback",
            "network": brand,
            "network_reason_code": _REASON_CODES.get(reason),
        }
        dispute["payment_method_details"] = {"type": "card", "card": card}
        dispute["network_reason_code"] = card["network_reason_code"]
    charge |= {"disputed": True, "_refundable": is_inquiry}
    reviews.close_review(context, charge, "disputed")
    context.schedule(_RESPONSE_SECONDS, "lose_unanswered_dispute", dispute["id"])
    event_types = ["charge.dispute.created"]
    if not is_inquiry:
        _move_money(context, dispute, -amount, _DISPUTE_FEE)
        event_types.append("charge.dispute.funds_withdrawn")
    context.save(charge)
    return context.save_and_emit(dispute, *event_types)


def _move_money(context: RequestContext, dispute: Json, amount: int, fee: int) -> None:
    transaction = balance.add_transaction(context, dispute, "adjustment", amount, fee)
    transaction["description"] = f"Chargeback {'withdrawal' if amount < 0 else 'reversal'}"
    dispute["balance_transactions"].append(without_internals(context.save(transaction)))


@route("POST /v1/disputes/<id>")
def update_dispute(context: RequestContext, params: Json, id: str) -> Json:
    """Add evidence, and submit it to the bank unless `submit` is false."""
    dispute = context.fetch("dispute", id)
    changes = field_changes(dispute, params)
    evidence, details = dispute["evidence"], dispute["evidence_details"]
    if "evidence" in params:
        _check_needs_response(dispute)
        changes["evidence"] = evidence = evidence | params["evidence"]
        changes["evidence_details"] = details = {**details, "has_evidence": True}
    if params.get("submit", "evidence" in params):
        _check_needs_response(dispute)
        count = details["submission_count"] + 1
        changes["evidence_details"] = {
            **details,
            "submission_count": count,
            "submission_method": "manual",
        }
        changes["status"] = dispute["status"].replace("needs_response", "under_review")
        text = evidence["uncategorized_text"]
        if text == _ESCALATING_EVIDENCE and dispute["status"].startswith("warning"):
            context.schedule(0, "escalate_inquiry", id)
        elif text in _DECISIVE_EVIDENCE:
            context.schedule(0, "decide_dispute", id, _DECISIVE_EVIDENCE[text])
        else:
            context.schedule(_DECISION_SECONDS, "decide_dispute", id, "lost")
    return context.update(dispute, changes, "charge.dispute.updated")


def _check_needs_response(dispute: Json) -> None:
    if not dispute["status"].endswith("needs_response"):
        submitted = dispute["status"].endswith("under_review")
        raise api_error("dispute_submitted" if submitted else "dispute_closed")


@route("POST /v1/disputes/<id>/close")
def close_dispute(context: RequestContext, params: Json, id: str) -> Json:
    """Accept the dispute: it is lost."""
    _check_needs_response(context.fetch("dispute", id))
    return decide_dispute(context, id, "lost")


@timer_action("lose_unanswered_dispute")
def lose_unanswered_dispute(context: RequestContext, id: str) -> None:
    """No evidence was submitted in time."""
    dispute = context.fetch("dispute", id)
    if dispute["status"].endswith("needs_response"):
        dispute["evidence_details"]["past_due"] = True
        context.save(dispute)
        decide_dispute(context, id, "lost")


@timer_action("decide_dispute")
def decide_dispute(context: RequestContext, id: str, verdict: str) -> Json:
    """The bank decides: `won` or `lost`. A closed dispute stays as it is."""
    dispute = context.fetch("dispute", id)
    if dispute["status"] in _CLOSED:
        return dispute
    is_inquiry = dispute["status"].startswith("warning")
    won = verdict == "won" and not is_inquiry
    if won:
        _move_money(context, dispute, dispute["amount"], -_DISPUTE_FEE)
    if won or is_inquiry:
        context.update(context.fetch("charge", dispute["charge"]), {"_refundable": True})
    status = "warning_closed" if is_inquiry else verdict
    context.update(dispute, {"status": status}, "charge.dispute.closed")
    if won:
        context.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


@timer_action("escalate_inquiry")
def escalate_inquiry(context: RequestContext, id: str) -> None:
    """An inquiry becomes a chargeback."""
    dispute = context.fetch("dispute", id)
    if dispute["status"] in _CLOSED:
        return
    dispute["evidence_details"]["due_by"] = context.now + _RESPONSE_SECONDS
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    context.update(context.fetch("charge", dispute["charge"]), {"_refundable": False})
    _move_money(context, dispute, -dispute["amount"], _DISPUTE_FEE)
    context.schedule(_RESPONSE_SECONDS, "lose_unanswered_dispute", id)
    changes = {"status": "needs_response", "is_charge_refundable": False}
    event_types = "charge.dispute.updated", "charge.dispute.funds_withdrawn"
    context.update(dispute, changes, *event_types)
