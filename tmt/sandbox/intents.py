"""PaymentIntents: what may be asked of one, and when. How they are paid is in attempts.py."""

from __future__ import annotations

from tmt.sandbox import attempts, charges
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import check_amount, spelled
from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.rules import OPEN, check_secret, need_status, new_intent, settle, state_error
from tmt.sandbox.shape import Json, known, names

_COPIED = names("""application_fee_amount capture_method customer customer_account description hooks
    payment_details receipt_email setup_future_usage shipping statement_descriptor
    statement_descriptor_suffix transfer_data transfer_group on_behalf_of confirmation_method""")
_ALWAYS_EDITABLE = {"description", "metadata", "receipt_email", "transfer_group"}
_CANCELABLE = ("requires_payment_method", "requires_capture", *OPEN[1:], "processing")


def create(call: Call, p: Json) -> Json:
    """POST /v1/payment_intents."""
    check_amount(p["amount"], p["currency"])
    for name in known("api")["confirm_only"]:
        if name in p and not p.get("confirm"):
            raise problem("confirm_only", name)
    intent = new_intent(call, "payment_intent", amount=p["amount"], currency=p["currency"])
    _settle(call, intent, p, fresh=True)
    # Created comes first: what confirming makes of it is told by the events that follow.
    begun = {"payment_method": None, "status": OPEN[0]} if p.get("confirm") else {}
    call.emit("payment_intent.created", {**intent, **begun})
    return attempts.attempt(call, intent, p) if p.get("confirm") else call.save(intent)


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id."""
    intent = call.fetch("payment_intent", id)
    if fixed := sorted(set(p) - _ALWAYS_EDITABLE):
        refusal = f"This PaymentIntent's {fixed[0]} could not be updated"
        rule = f"You may only update the {fixed[0]} of a PaymentIntent with"
        need_status(call, intent, OPEN, refusal, rule)
    intent["last_payment_error"] = None
    intent |= {name: p[name] for name in ("amount", "currency") if name in p}
    check_amount(intent["amount"], intent["currency"])
    _settle(call, intent, p)
    return call.save(intent)


def confirm(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/confirm."""
    intent = call.fetch("payment_intent", id)
    check_secret(call, intent, p)
    if intent["status"] == "succeeded":
        raise state_error(call, intent, "already_succeeded")
    refusal = "You cannot confirm this PaymentIntent"
    need_status(call, intent, OPEN, refusal, "Only a PaymentIntent may be confirmed with")
    if call.publishable and intent["confirmation_method"] == "manual":
        raise state_error(call, intent, "manual_confirmation")
    if p.get("amount_to_confirm", intent["amount"]) != intent["amount"]:
        raise problem("wrong_amount_to_confirm")
    _settle(call, intent, p)
    return attempts.attempt(call, intent, p)


def cancel(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/cancel."""
    intent = call.fetch("payment_intent", id)
    refusal = "You cannot cancel this PaymentIntent"
    need_status(call, intent, _CANCELABLE, refusal, "Only a PaymentIntent may be canceled with")
    return charges.cancel(call, intent, p.get("cancellation_reason"))


def capture(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/capture."""
    intent = call.fetch("payment_intent", id)
    refusal = "This PaymentIntent could not be captured"
    allowed = ("requires_capture",)
    need_status(call, intent, allowed, refusal, "Only a PaymentIntent may be captured with")
    left: int = intent["amount_capturable"]
    amount = p.get("amount_to_capture") or left * ("amount_to_capture" not in p)
    if not 0 < amount <= left:
        most = spelled(left, intent["currency"])
        raise problem("amount_to_capture", most=most)
    _check_suffix(p)
    apply(intent, p, _COPIED)
    return charges.capture(call, intent, amount)


def _settle(call: Call, intent: Json, p: Json, fresh: bool = False) -> None:
    _check_suffix(p)
    if "amount_details" in p:
        intent["amount_details"] = {"tip": {}, **p["amount_details"]}
    settle(call, intent, p, _COPIED, fresh)


def _check_suffix(p: Json) -> None:
    if len(p.get("statement_descriptor_suffix") or "") > 22:
        raise problem("descriptor_suffix")
