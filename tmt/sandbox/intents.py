"""PaymentIntents and SetupIntents: what may be asked of them, and when.

How one is paid, or a payment method is saved, is in attempts.py.
"""

from __future__ import annotations

from tmt.sandbox import attempts, charges
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import check_amount, spelled
from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.rules import OPEN, check_secret, need_status, new_intent, settle, state_error
from tmt.sandbox.shape import Json, known, names

_COPIED = {
    "payment_intent": names("""application_fee_amount capture_method customer customer_account
    description hooks payment_details receipt_email setup_future_usage shipping
    statement_descriptor statement_descriptor_suffix transfer_data transfer_group on_behalf_of
    confirmation_method"""),
    "setup_intent": names("""attach_to_self customer customer_account description flow_directions
    on_behalf_of usage"""),
}
_ALWAYS_EDITABLE = {"description", "metadata", "receipt_email", "transfer_group"}
_CANCELABLE = ("requires_payment_method", "requires_capture", *OPEN[1:], "processing")


def create(call: Call, p: Json, kind: str) -> Json:
    """POST /v1/payment_intents, POST /v1/setup_intents."""
    for name in known("api")["confirm_only"]:
        if name in p and not p.get("confirm"):
            raise problem("confirm_only", name)
    intent = new_intent(call, kind)
    _settle(call, intent, p, fresh=True)
    # Created comes first: what confirming makes of it is told by the events that follow.
    begun = {"payment_method": None, "status": OPEN[0]} if p.get("confirm") else {}
    call.emit(f"{kind}.created", {**intent, **begun})
    return attempts.attempt(call, intent, p) if p.get("confirm") else call.save(intent)


def update(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id, POST /v1/setup_intents/:id."""
    intent = call.fetch(kind, id)
    if fixed := sorted(set(p) - _ALWAYS_EDITABLE):
        need_status(call, intent, OPEN, "update", fixed[0])
    if kind == "payment_intent":
        intent["last_payment_error"] = None
    _settle(call, intent, p)
    return call.save(intent)


def confirm(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/confirm, POST /v1/setup_intents/:id/confirm."""
    intent = call.fetch(kind, id)
    check_secret(call, intent, p)
    if intent["status"] == "succeeded":
        raise state_error(call, intent, "already_succeeded")
    need_status(call, intent, OPEN, "confirm")
    if call.publishable and intent.get("confirmation_method") == "manual":
        raise state_error(call, intent, "manual_confirmation")
    if "amount_to_confirm" in p and p["amount_to_confirm"] != intent["amount"]:
        raise problem("wrong_amount_to_confirm")
    _settle(call, intent, p)
    return attempts.attempt(call, intent, p)


def cancel(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/cancel, POST /v1/setup_intents/:id/cancel."""
    intent = call.fetch(kind, id)
    need_status(call, intent, _CANCELABLE if kind == "payment_intent" else OPEN, "cancel")
    return charges.cancel(call, intent, p.get("cancellation_reason"))


def capture(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/capture."""
    intent = call.fetch("payment_intent", id)
    need_status(call, intent, ("requires_capture",), "capture")
    left: int = intent["amount_capturable"]
    amount = p.get("amount_to_capture") or left * ("amount_to_capture" not in p)
    if not 0 < amount <= left:
        raise problem("amount_to_capture", most=spelled(left, intent["currency"]))
    _check_suffix(p)
    apply(intent, p, _COPIED["payment_intent"])
    return charges.capture(call, intent, amount)


def _settle(call: Call, intent: Json, p: Json, fresh: bool = False) -> None:
    kind = intent["object"]
    if kind == "payment_intent":
        intent |= {name: p[name] for name in ("amount", "currency") if name in p}
        check_amount(intent["amount"], intent["currency"])
        _check_suffix(p)
    if "amount_details" in p:
        intent["amount_details"] = {"tip": {}, **p["amount_details"]}
    settle(call, intent, p, _COPIED[kind], fresh)


def _check_suffix(p: Json) -> None:
    if len(p.get("statement_descriptor_suffix") or "") > 22:
        raise problem("descriptor_suffix")
