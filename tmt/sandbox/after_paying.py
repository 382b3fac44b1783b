"""What comes after a payment: refunds, disputes and fraud warnings.

A refund is made at once, days later, refused by the bank, or waits for money on the balance.
"""

from __future__ import annotations

from tmt.sandbox import money
from tmt.sandbox.behaviours import behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import spelled
from tmt.sandbox.errors import problem
from tmt.sandbox.params import changes
from tmt.sandbox.shape import DAY, Json, new, part, public

_LANDS_SECONDS = 3 * DAY
_DISPUTE_FEE = 1500
_RESPOND_SECONDS = 14 * DAY
_DECIDE_SECONDS = 60 * DAY
_OVER = ("won", "lost", "warning_closed")
_DECISIVE = {"winning_evidence": "won", "losing_evidence": "lost"}
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


def refund(call: Call, p: Json) -> Json:
    """POST /v1/refunds."""
    charge = _charge_of(call, p)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] and not charge.get("_refundable"):
        raise problem("charge_disputed", id=charge["id"])
    if left <= 0:
        raise problem("charge_already_refunded", id=charge["id"])
    amount, currency = p.get("amount", left), charge["currency"]
    if amount < 1:
        raise problem("too_low", "amount")
    if amount > left:
        most = spelled(left, currency)
        raise problem("refund_too_large", amount=spelled(amount, currency), left=most)
    return _refund(call, charge, amount, p)


def _charge_of(call: Call, p: Json) -> Json:
    if ("charge" in p) == ("payment_intent" in p):
        raise problem("one_needed", "charge", both="payment_intent or charge")
    id = p.get("charge")
    if id is None:
        intent = call.fetch("payment_intent", p["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise problem("nothing_to_refund", id=intent["id"])
        id = intent["latest_charge"]
    charge = call.fetch("charge", id)
    if not charge["captured"] or not charge["paid"]:
        raise problem("charge_not_refundable", id=charge["id"])
    return charge


def _refund(call: Call, charge: Json, amount: int, p: Json) -> Json:
    test = behaviour(charge)
    way = "card" if test.kind == "card" else "eu_bank_transfer"
    details = {"type": way, way: part(f"refund_{way}")}
    covered = money.covers(call, amount, charge["currency"])
    waits = None if covered else "insufficient_funds"
    if covered and (test.refund == "pending" or test.kind == "sepa_debit"):
        waits = "processing"
    refund = new(
        "refund", call.now, amount=amount, charge=charge["id"], currency=charge["currency"],
        customer=charge["customer"], destination_details=details, pending_reason=waits,
        payment_intent=charge["payment_intent"], payment_method=charge["payment_method"],
        status="pending" if waits else "succeeded",
    )  # fmt: skip
    refund |= changes(refund, p)
    if covered:
        _take(call, refund, charge)
    call.tell(refund, "refund.created")
    call.change(charge, _counted(charge, amount), "charge.refunded")
    _end_inquiry(call, charge)
    return refund


def _counted(charge: Json, amount: int) -> Json:
    refunded = charge["amount_refunded"] + amount
    return {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}


def _take(call: Call, refund: Json, charge: Json) -> None:
    """Take the money from the balance; what the buyer's bank makes of it is told later."""
    test = behaviour(charge)
    kind = "refund" if test.kind == "card" else "payment_refund"
    refund["balance_transaction"] = money.book(call, refund, kind, -refund["amount"])["id"]
    if test.refund == "fails":
        call.later(_LANDS_SECONDS, "after_paying.fail_refund", refund["id"])
    elif refund["status"] == "pending" or test.refund == "pending":
        call.later(_LANDS_SECONDS, "after_paying.land_refund", refund["id"])


def pay_waiting_refunds(call: Call, currency: str) -> None:
    """Timer: pay the refunds that wait for money, oldest first, as far as the balance goes."""
    waiting = call.store.select(
        "refund", order="ASC", pending_reason="insufficient_funds", currency=currency
    )
    for refund in waiting:
        if not money.covers(call, refund["amount"], currency):
            return
        charge = call.fetch("charge", refund["charge"])
        refund["pending_reason"] = "processing"
        _take(call, refund, charge)
        call.save(refund)
        if behaviour(charge).refund == "succeeded":
            land_refund(call, refund["id"])


def land_refund(call: Call, id: str) -> None:
    """Timer: the buyer has the money."""
    refund = call.fetch("refund", id)
    if refund["status"] == "pending":
        landed = {"status": "succeeded", "pending_reason": None}
        call.change(refund, landed, "refund.updated", "charge.refund.updated")


def fail_refund(call: Call, id: str) -> None:
    """Timer: the buyer's bank sent the money back; the charge can be refunded again."""
    refund = call.fetch("refund", id)
    charge = call.fetch("charge", refund["charge"])
    call.change(charge, _counted(charge, -refund["amount"]))
    entry = money.book(call, refund, "refund_failure", refund["amount"])
    failed = {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    failed["failure_balance_transaction"] = entry["id"]
    call.change(refund, failed, "refund.updated", "refund.failed", "charge.refund.updated")


def cancel_refund(call: Call, p: Json, id: str) -> Json:
    """POST /v1/refunds/:id/cancel; only for kinds that ask the buyer, which are not here."""
    raise problem("refund_not_cancelable", status=call.fetch("refund", id)["status"])


def trouble_later(call: Call, charge: Json) -> None:
    """Have the trouble begin that the test card stands for, right after the payment."""
    later = behaviour(charge).later
    if later == "fraud_warning":
        call.later(0, "after_paying.warn_of_fraud", charge["id"])
    elif later:
        call.later(0, f"after_paying.open_dispute:{later}", charge["id"])


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
    call.later(_RESPOND_SECONDS, "after_paying.unanswered", dispute["id"])
    if not inquiry:
        _move_money(call, dispute, -amount, _DISPUTE_FEE)
    call.save(charge)
    withdrawn = () if inquiry else ("charge.dispute.funds_withdrawn",)
    return call.tell(dispute, "charge.dispute.created", *withdrawn)


def _move_money(call: Call, dispute: Json, amount: int, fee: int) -> None:
    entry = money.book(call, dispute, "adjustment", amount, fee)
    entry["description"] = f"Chargeback {'withdrawal' if amount < 0 else 'reversal'}"
    dispute["balance_transactions"].append(public(call.save(entry)))


def update_dispute(call: Call, p: Json, id: str) -> Json:
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
        call.later(0, "after_paying.escalate", dispute["id"])
        return
    verdict = _DECISIVE.get(text or "")
    seconds = 0 if verdict else _DECIDE_SECONDS
    call.later(seconds, f"after_paying.decide:{verdict or 'lost'}", dispute["id"])


def close_dispute(call: Call, p: Json, id: str) -> Json:
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
        _move_money(call, dispute, dispute["amount"], -_DISPUTE_FEE)
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


def _end_inquiry(call: Call, charge: Json) -> None:
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
    _move_money(call, dispute, -dispute["amount"], _DISPUTE_FEE)
    call.later(_RESPOND_SECONDS, "after_paying.unanswered", id)
    escalated = {"status": "needs_response", "is_charge_refundable": False}
    events = "charge.dispute.updated", "charge.dispute.funds_withdrawn"
    call.change(dispute, escalated, *events)
