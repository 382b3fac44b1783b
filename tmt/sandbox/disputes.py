"""Disputes and fraud warnings: what may come after a payment, and how it is decided."""

from __future__ import annotations

from tmt.sandbox import money
from tmt.sandbox.behaviours import behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.errors import problem
from tmt.sandbox.params import changes
from tmt.sandbox.shape import DAY, Json, new, public

_FEE = 1500
_RESPOND_SECONDS = 14 * DAY
_DECIDE_SECONDS = 60 * DAY
_OVER = ("won", "lost", "warning_closed")
_DECISIVE = {"winning_evidence": "won", "losing_evidence": "lost"}
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


def trouble_later(call: Call, charge: Json) -> None:
    """Have the trouble begin that the test card stands for, right after the payment."""
    later = behaviour(charge).later
    if later == "fraud_warning":
        call.later(0, "disputes.warn_of_fraud", charge["id"])
    elif later:
        call.later(0, f"disputes.open_dispute:{later}", charge["id"])


def warn_of_fraud(call: Call, id: str) -> None:
    """Timer: the card's bank suspects fraud."""
    intent = call.fetch("charge", id)["payment_intent"]
    warning = new("radar.early_fraud_warning", call.now, charge=id, payment_intent=intent)
    call.tell(warning, "radar.early_fraud_warning.created")


def open_dispute(call: Call, charge_id: str, reason: str) -> Json:
    """The buyer's bank takes the payment back, or only asks (`reason` inquiry)."""
    charge = call.fetch("charge", charge_id)
    inquiry = reason == "inquiry"
    amount = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] or amount < 1:
        raise problem("charge_disputed", id=charge_id)
    kind = charge["payment_method_details"]["type"]
    dispute = new(
        "dispute", call.now, amount=amount, charge=charge_id, currency=charge["currency"],
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
    dispute["evidence_details"]["due_by"] = call.now + _RESPOND_SECONDS
    charge |= {"disputed": True, "_refundable": inquiry}
    call.later(_RESPOND_SECONDS, "disputes.unanswered", dispute["id"])
    if not inquiry:
        _move_money(call, dispute, -amount, _FEE)
    call.save(charge)
    withdrawn = () if inquiry else ("charge.dispute.funds_withdrawn",)
    return call.tell(dispute, "charge.dispute.created", *withdrawn)


def _move_money(call: Call, dispute: Json, amount: int, fee: int) -> None:
    entry = money.book(call, dispute, "adjustment", amount, fee)
    entry["description"] = f"Chargeback {'withdrawal' if amount < 0 else 'reversal'}"
    dispute["balance_transactions"].append(public(call.save(entry)))


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/disputes/:id; evidence is submitted unless `submit` is false."""
    dispute = call.fetch("dispute", id)
    told: Json = changes(dispute, p)
    if "evidence" in p:
        _open(dispute)
        unknown = next((name for name in p["evidence"] if name not in dispute["evidence"]), None)
        if unknown:
            raise problem("parameter_unknown", f"evidence[{unknown}]")
        given = {name: value or None for name, value in p["evidence"].items()}
        told["evidence"] = {**dispute["evidence"], **given}
        told["evidence_details"] = {**dispute["evidence_details"], "has_evidence": True}
    if p.get("submit", "evidence" in p):
        _submit(call, dispute, told)
    return call.change(dispute, told, "charge.dispute.updated")


def _open(dispute: Json) -> None:
    if not dispute["status"].endswith("needs_response"):
        submitted = dispute["status"].endswith("under_review")
        raise problem("dispute_submitted" if submitted else "dispute_closed")


def _submit(call: Call, dispute: Json, told: Json) -> None:
    _open(dispute)
    details: Json = told.get("evidence_details") or dispute["evidence_details"]
    count = details["submission_count"] + 1
    details = {**details, "submission_count": count, "submission_method": "manual"}
    status = dispute["status"].replace("needs_response", "under_review")
    text = (told.get("evidence") or dispute["evidence"])["uncategorized_text"]
    told |= {"evidence_details": details, "status": status}
    if text == "escalate_inquiry_evidence" and status.startswith("warning"):
        call.later(0, "disputes.escalate", dispute["id"])
        return
    verdict = _DECISIVE.get(text or "")
    seconds = 0 if verdict else _DECIDE_SECONDS
    call.later(seconds, f"disputes.decide:{verdict or 'lost'}", dispute["id"])


def close(call: Call, p: Json, id: str) -> Json:
    """POST /v1/disputes/:id/close: the buyer is right."""
    dispute = call.fetch("dispute", id)
    _open(dispute)
    return _decide(call, dispute, "lost")


def decide(call: Call, id: str, verdict: str) -> Json:
    """The bank decides: `won` or `lost`; nothing happens when it has already."""
    dispute = call.fetch("dispute", id)
    return dispute if dispute["status"] in _OVER else _decide(call, dispute, verdict)


def _decide(call: Call, dispute: Json, verdict: str) -> Json:
    inquiry = dispute["status"].startswith("warning")
    won = verdict == "won" and not inquiry
    if won:
        _move_money(call, dispute, dispute["amount"], -_FEE)
    if won or inquiry:
        call.change(call.fetch("charge", dispute["charge"]), {"_refundable": True})
    status = "warning_closed" if inquiry else verdict
    call.change(dispute, {"status": status}, "charge.dispute.closed")
    if won:
        call.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def unanswered(call: Call, id: str) -> None:
    """Timer: nobody sent evidence in time."""
    dispute = call.fetch("dispute", id)
    if dispute["status"].endswith("needs_response"):
        dispute["evidence_details"]["past_due"] = True
        _decide(call, dispute, "lost")


def refunded(call: Call, charge: Json) -> None:
    """A charge that is refunded in full leaves its bank nothing to ask about."""
    for dispute in call.store.select("dispute", charge=charge["id"]):
        if charge["refunded"] and dispute["status"].startswith("warning"):
            decide(call, dispute["id"], "lost")


def escalate(call: Call, id: str) -> None:
    """Timer: an inquiry becomes a chargeback."""
    dispute = call.fetch("dispute", id)
    if dispute["status"] in _OVER:
        return
    dispute["evidence_details"]["due_by"] = call.now + _RESPOND_SECONDS
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    call.change(call.fetch("charge", dispute["charge"]), {"_refundable": False})
    _move_money(call, dispute, -dispute["amount"], _FEE)
    call.later(_RESPOND_SECONDS, "disputes.unanswered", id)
    escalated = {"status": "needs_response", "is_charge_refundable": False}
    events = "charge.dispute.updated", "charge.dispute.funds_withdrawn"
    call.change(dispute, escalated, *events)
