"""Disputes and fraud warnings: what may come after a payment, and how it is decided."""

from __future__ import annotations

from tmt.sandbox import money
from tmt.sandbox.behaviours import Behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.shape import Json, new

_FEE = 1500
_RESPOND_SECONDS = 14 * 86400
_DECIDE_SECONDS = 60 * 86400
_DECISIVE = {"winning_evidence": "won", "losing_evidence": "lost"}
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


def trouble_later(call: Call, charge: Json, test: Behaviour) -> None:
    """Have the trouble begin that the test card stands for, right after the payment."""
    if test.later == "fraud_warning":
        call.later(0, "disputes.warn_of_fraud", charge["id"])
    elif test.later:
        call.later(0, f"disputes.open_dispute:{test.later}", charge["id"])


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
    shown = {name: value for name, value in call.save(entry).items() if not name.startswith("_")}
    dispute["balance_transactions"].append(shown)


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/disputes/:id; evidence is submitted unless `submit` is false."""
    dispute = call.fetch("dispute", id)
    before = {name: dispute[name] for name in p if name in dispute}
    apply(dispute, p, ("intended_submission_method",))
    if "evidence" in p:
        _open(dispute)
        unknown = next((name for name in p["evidence"] if name not in dispute["evidence"]), None)
        if unknown:
            raise problem("parameter_unknown", f"evidence[{unknown}]")
        given = {name: value or None for name, value in p["evidence"].items()}
        dispute["evidence"] = {**dispute["evidence"], **given}
        dispute["evidence_details"]["has_evidence"] = True
    if p.get("submit", "evidence" in p):
        _submit(call, dispute)
    return call.tell(dispute, "charge.dispute.updated", before=before)


def _open(dispute: Json) -> None:
    if not dispute["status"].endswith("needs_response"):
        submitted = dispute["status"].endswith("under_review")
        raise problem("dispute_submitted" if submitted else "dispute_closed")


def _submit(call: Call, dispute: Json) -> None:
    _open(dispute)
    details, text = dispute["evidence_details"], dispute["evidence"]["uncategorized_text"]
    details |= {"submission_count": details["submission_count"] + 1, "submission_method": "manual"}
    dispute["status"] = dispute["status"].replace("needs_response", "under_review")
    if text == "escalate_inquiry_evidence" and dispute["status"].startswith("warning"):
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
    over = dispute["status"] in ("won", "lost", "warning_closed")
    return dispute if over else _decide(call, dispute, verdict)


def _decide(call: Call, dispute: Json, verdict: str) -> Json:
    inquiry = dispute["status"].startswith("warning")
    before = {"status": dispute["status"]}
    dispute["status"] = "warning_closed" if inquiry else verdict
    if verdict == "won" and not inquiry:
        _move_money(call, dispute, dispute["amount"], -_FEE)
    if inquiry or verdict == "won":
        charge = call.fetch("charge", dispute["charge"])
        call.save(charge | {"_refundable": True})
    call.tell(dispute, "charge.dispute.closed", before=before)
    if verdict == "won" and not inquiry:
        call.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def unanswered(call: Call, id: str) -> None:
    """Timer: nobody sent evidence in time."""
    dispute = call.fetch("dispute", id)
    if dispute["status"].endswith("needs_response"):
        dispute["evidence_details"]["past_due"] = True
        _decide(call, dispute, "lost")


def escalate(call: Call, id: str) -> None:
    """Timer: an inquiry becomes a chargeback."""
    dispute = call.fetch("dispute", id)
    before = {"status": dispute["status"]}
    due_by = call.now + _RESPOND_SECONDS
    dispute |= {"status": "needs_response", "is_charge_refundable": False}
    dispute["evidence_details"]["due_by"] = due_by
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    call.save(call.fetch("charge", dispute["charge"]) | {"_refundable": False})
    _move_money(call, dispute, -dispute["amount"], _FEE)
    call.later(_RESPOND_SECONDS, "disputes.unanswered", id)
    call.tell(dispute, "charge.dispute.updated", "charge.dispute.funds_withdrawn", before=before)
