"""What comes after a payment: refunds, disputes and fraud warnings.

A refund is made at once, days later, refused by the bank, or waits for money on the balance.
"""

from __future__ import annotations

from tmt.sandbox import balance
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import DAY, Json, new, template, without_internals
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import simulated_method

_LANDS_SECONDS = 3 * DAY
_DISPUTE_FEE = 1500
_RESPOND_SECONDS = 14 * DAY
_DECIDE_SECONDS = 60 * DAY
_OVER = ("won", "lost", "warning_closed")
_DECISIVE = {"winning_evidence": "won", "losing_evidence": "lost"}
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


def refund(context: RequestContext, p: Json) -> Json:
    """POST /v1/refunds."""
    charge = _charge_of(context, p)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] and not charge.get("_refundable"):
        raise api_error("charge_disputed", id=charge["id"])
    if left <= 0:
        raise api_error("charge_already_refunded", id=charge["id"])
    amount, currency = p.get("amount", left), charge["currency"]
    if amount < 1:
        raise api_error("too_low", "amount")
    if amount > left:
        most = format_amount(left, currency)
        raise api_error("refund_too_large", amount=format_amount(amount, currency), left=most)
    return _refund(context, charge, amount, p)


def _charge_of(context: RequestContext, p: Json) -> Json:
    if ("charge" in p) == ("payment_intent" in p):
        raise api_error("one_needed", "charge", both="payment_intent or charge")
    id = p.get("charge")
    if id is None:
        intent = context.fetch("payment_intent", p["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise api_error("nothing_to_refund", id=intent["id"])
        id = intent["latest_charge"]
    charge = context.fetch("charge", id)
    if not charge["captured"] or not charge["paid"]:
        raise api_error("charge_not_refundable", id=charge["id"])
    return charge


def _refund(context: RequestContext, charge: Json, amount: int, p: Json) -> Json:
    test = simulated_method(charge)
    way = "card" if test.kind == "card" else "eu_bank_transfer"
    details = {"type": way, way: template(f"refund_{way}")}
    covered = balance.covers(context, amount, charge["currency"])
    waits = None if covered else "insufficient_funds"
    if covered and (test.refund == "pending" or test.kind == "sepa_debit"):
        waits = "processing"
    refund = new(
        "refund", context.now, amount=amount, charge=charge["id"], currency=charge["currency"],
        customer=charge["customer"], destination_details=details, pending_reason=waits,
        payment_intent=charge["payment_intent"], payment_method=charge["payment_method"],
        status="pending" if waits else "succeeded",
    )  # fmt: skip
    refund |= changes(refund, p)
    if covered:
        _take(context, refund, charge)
    context.save_and_emit(refund, "refund.created")
    context.update(charge, _counted(charge, amount), "charge.refunded")
    _end_inquiry(context, charge)
    return refund


def _counted(charge: Json, amount: int) -> Json:
    refunded = charge["amount_refunded"] + amount
    return {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}


def _take(context: RequestContext, refund: Json, charge: Json) -> None:
    """Take the money from the balance; what the buyer's bank makes of it is told later."""
    test = simulated_method(charge)
    kind = "refund" if test.kind == "card" else "payment_refund"
    refund["balance_transaction"] = balance.book(context, refund, kind, -refund["amount"])["id"]
    if test.refund == "fails":
        context.schedule(_LANDS_SECONDS, "refunds_disputes.fail_refund", refund["id"])
    elif refund["status"] == "pending" or test.refund == "pending":
        context.schedule(_LANDS_SECONDS, "refunds_disputes.land_refund", refund["id"])


def pay_waiting_refunds(context: RequestContext, currency: str) -> None:
    """Timer: pay the refunds that wait for money, oldest first, as far as the balance goes."""
    waiting = context.store.select(
        "refund", order="ASC", pending_reason="insufficient_funds", currency=currency
    )
    for refund in waiting:
        if not balance.covers(context, refund["amount"], currency):
            return
        charge = context.fetch("charge", refund["charge"])
        refund["pending_reason"] = "processing"
        _take(context, refund, charge)
        context.save(refund)
        if simulated_method(charge).refund == "succeeded":
            land_refund(context, refund["id"])


def land_refund(context: RequestContext, id: str) -> None:
    """Timer: the buyer has the balance."""
    refund = context.fetch("refund", id)
    if refund["status"] == "pending":
        landed = {"status": "succeeded", "pending_reason": None}
        context.update(refund, landed, "refund.updated", "charge.refund.updated")


def fail_refund(context: RequestContext, id: str) -> None:
    """Timer: the buyer's bank sent the money back; the charge can be refunded again."""
    refund = context.fetch("refund", id)
    charge = context.fetch("charge", refund["charge"])
    context.update(charge, _counted(charge, -refund["amount"]))
    entry = balance.book(context, refund, "refund_failure", refund["amount"])
    failed = {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    failed["failure_balance_transaction"] = entry["id"]
    context.update(refund, failed, "refund.updated", "refund.failed", "charge.refund.updated")


def cancel_refund(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/refunds/:id/cancel; only for kinds that ask the buyer, which are not here."""
    raise api_error("refund_not_cancelable", status=context.fetch("refund", id)["status"])


def trouble_later(context: RequestContext, charge: Json) -> None:
    """Have the trouble begin that the test card stands for, right after the payment."""
    later = simulated_method(charge).later
    if later == "fraud_warning":
        context.schedule(0, "refunds_disputes.warn_of_fraud", charge["id"])
    elif later:
        context.schedule(0, f"refunds_disputes.open_dispute:{later}", charge["id"])


def warn_of_fraud(context: RequestContext, id: str) -> None:
    """Timer: the card's bank suspects fraud."""
    intent = context.fetch("charge", id)["payment_intent"]
    warning = new("radar.early_fraud_warning", context.now, charge=id, payment_intent=intent)
    context.save_and_emit(warning, "radar.early_fraud_warning.created")


def open_dispute(context: RequestContext, charge_id: str, reason: str) -> Json:
    """The buyer's bank takes the payment back, or only asks (`reason` inquiry)."""
    charge = context.fetch("charge", charge_id)
    inquiry = reason == "inquiry"
    amount = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] or amount < 1:
        raise api_error("charge_disputed", id=charge_id)
    kind = charge["payment_method_details"]["type"]
    dispute = new(
        "dispute", context.now, amount=amount, charge=charge_id, currency=charge["currency"],
        is_charge_refundable=inquiry, payment_intent=charge["payment_intent"],
        reason="fraudulent" if inquiry else reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )  # fmt: skip
    if kind == "card":
        brand, code = charge["payment_method_details"]["card"]["brand"], _REASON_CODES.get(reason)
        case = {"brand": brand, "case_type": "inquiry" if inquiry else "chargeback"}
        case |= {"network": brand, "network_reason_code": code}
        dispute["payment_method_details"] = {"type": "card", "card": case}
        dispute["network_reason_code"] = code
    dispute["evidence_details"]["due_by"] = context.now + _RESPOND_SECONDS
    charge |= {"disputed": True, "_refundable": inquiry}
    context.schedule(_RESPOND_SECONDS, "refunds_disputes.unanswered", dispute["id"])
    if not inquiry:
        _move_money(context, dispute, -amount, _DISPUTE_FEE)
    context.save(charge)
    withdrawn = () if inquiry else ("charge.dispute.funds_withdrawn",)
    return context.save_and_emit(dispute, "charge.dispute.created", *withdrawn)


def _move_money(context: RequestContext, dispute: Json, amount: int, fee: int) -> None:
    entry = balance.book(context, dispute, "adjustment", amount, fee)
    entry["description"] = f"Chargeback {'withdrawal' if amount < 0 else 'reversal'}"
    dispute["balance_transactions"].append(without_internals(context.save(entry)))


def update_dispute(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/disputes/:id; evidence is submitted unless `submit` is false."""
    dispute = context.fetch("dispute", id)
    told: Json = changes(dispute, p)
    if "evidence" in p:
        _open(dispute)
        unknown = next((name for name in p["evidence"] if name not in dispute["evidence"]), None)
        if unknown:
            raise api_error("parameter_unknown", f"evidence[{unknown}]")
        given = {name: value or None for name, value in p["evidence"].items()}
        told["evidence"] = {**dispute["evidence"], **given}
        told["evidence_details"] = {**dispute["evidence_details"], "has_evidence": True}
    if p.get("submit", "evidence" in p):
        _submit(context, dispute, told)
    return context.update(dispute, told, "charge.dispute.updated")


def _open(dispute: Json) -> None:
    if not dispute["status"].endswith("needs_response"):
        submitted = dispute["status"].endswith("under_review")
        raise api_error("dispute_submitted" if submitted else "dispute_closed")


def _submit(context: RequestContext, dispute: Json, told: Json) -> None:
    _open(dispute)
    details: Json = told.get("evidence_details") or dispute["evidence_details"]
    count = details["submission_count"] + 1
    details = {**details, "submission_count": count, "submission_method": "manual"}
    status = dispute["status"].replace("needs_response", "under_review")
    text = (told.get("evidence") or dispute["evidence"])["uncategorized_text"]
    told |= {"evidence_details": details, "status": status}
    if text == "escalate_inquiry_evidence" and status.startswith("warning"):
        context.schedule(0, "refunds_disputes.escalate", dispute["id"])
        return
    verdict = _DECISIVE.get(text or "")
    seconds = 0 if verdict else _DECIDE_SECONDS
    context.schedule(seconds, f"refunds_disputes.decide:{verdict or 'lost'}", dispute["id"])


def close_dispute(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/disputes/:id/close: the buyer is right."""
    dispute = context.fetch("dispute", id)
    _open(dispute)
    return _decide(context, dispute, "lost")


def decide(context: RequestContext, id: str, verdict: str) -> Json:
    """The bank decides: `won` or `lost`; nothing happens when it has already."""
    dispute = context.fetch("dispute", id)
    return dispute if dispute["status"] in _OVER else _decide(context, dispute, verdict)


def _decide(context: RequestContext, dispute: Json, verdict: str) -> Json:
    inquiry = dispute["status"].startswith("warning")
    won = verdict == "won" and not inquiry
    if won:
        _move_money(context, dispute, dispute["amount"], -_DISPUTE_FEE)
    if won or inquiry:
        context.update(context.fetch("charge", dispute["charge"]), {"_refundable": True})
    status = "warning_closed" if inquiry else verdict
    context.update(dispute, {"status": status}, "charge.dispute.closed")
    if won:
        context.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def unanswered(context: RequestContext, id: str) -> None:
    """Timer: nobody sent evidence in time."""
    dispute = context.fetch("dispute", id)
    if dispute["status"].endswith("needs_response"):
        dispute["evidence_details"]["past_due"] = True
        _decide(context, dispute, "lost")


def _end_inquiry(context: RequestContext, charge: Json) -> None:
    """A charge that is refunded in full leaves its bank nothing to ask about."""
    for dispute in context.store.select("dispute", charge=charge["id"]):
        if charge["refunded"] and dispute["status"].startswith("warning"):
            decide(context, dispute["id"], "lost")


def escalate(context: RequestContext, id: str) -> None:
    """Timer: an inquiry becomes a chargeback."""
    dispute = context.fetch("dispute", id)
    if dispute["status"] in _OVER:
        return
    dispute["evidence_details"]["due_by"] = context.now + _RESPOND_SECONDS
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    context.update(context.fetch("charge", dispute["charge"]), {"_refundable": False})
    _move_money(context, dispute, -dispute["amount"], _DISPUTE_FEE)
    context.schedule(_RESPOND_SECONDS, "refunds_disputes.unanswered", id)
    escalated = {"status": "needs_response", "is_charge_refundable": False}
    events = "charge.dispute.updated", "charge.dispute.funds_withdrawn"
    context.update(dispute, escalated, *events)
