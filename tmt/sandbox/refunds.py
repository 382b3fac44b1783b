"""Refunds: at once, days later, refused by the bank, or waiting for money on the balance."""

from __future__ import annotations

from tmt.sandbox import disputes, money
from tmt.sandbox.behaviours import behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import spelled
from tmt.sandbox.errors import problem
from tmt.sandbox.params import changes
from tmt.sandbox.shape import DAY, Json, new, part

_LANDS_SECONDS = 3 * DAY


def create(call: Call, p: Json) -> Json:
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
    disputes.refunded(call, charge)
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
        call.later(_LANDS_SECONDS, "refunds.fail", refund["id"])
    elif refund["status"] == "pending" or test.refund == "pending":
        call.later(_LANDS_SECONDS, "refunds.land", refund["id"])


def pay_waiting(call: Call, currency: str) -> None:
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
            land(call, refund["id"])


def land(call: Call, id: str) -> None:
    """Timer: the buyer has the money."""
    refund = call.fetch("refund", id)
    if refund["status"] == "pending":
        landed = {"status": "succeeded", "pending_reason": None}
        call.change(refund, landed, "refund.updated", "charge.refund.updated")


def fail(call: Call, id: str) -> None:
    """Timer: the buyer's bank sent the money back; the charge can be refunded again."""
    refund = call.fetch("refund", id)
    charge = call.fetch("charge", refund["charge"])
    call.change(charge, _counted(charge, -refund["amount"]))
    entry = money.book(call, refund, "refund_failure", refund["amount"])
    failed = {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    failed["failure_balance_transaction"] = entry["id"]
    call.change(refund, failed, "refund.updated", "refund.failed", "charge.refund.updated")


def cancel(call: Call, p: Json, id: str) -> Json:
    """POST /v1/refunds/:id/cancel; only for kinds that ask the buyer, which are not here."""
    raise problem("refund_not_cancelable", status=call.fetch("refund", id)["status"])
