"""SetupIntents: saving a payment method without paying. How that goes is in attempts.py."""

from __future__ import annotations

from tmt.sandbox import attempts
from tmt.sandbox.call import Call
from tmt.sandbox.errors import problem
from tmt.sandbox.rules import OPEN, check_secret, need_status, new_intent, settle, state_error
from tmt.sandbox.shape import Json, names

_COPIED = names("attach_to_self customer customer_account description flow_directions usage")
_WITH_CONFIRM = ("mandate_data", "return_url")


def create(call: Call, p: Json) -> Json:
    """POST /v1/setup_intents."""
    for name in _WITH_CONFIRM:
        if name in p and not p.get("confirm"):
            raise problem("confirm_only", name)
    intent = new_intent(call, "setup_intent")
    settle(call, intent, p, _COPIED, fresh=True)
    call.emit("setup_intent.created", intent)
    return attempts.attempt(call, intent, p) if p.get("confirm") else call.save(intent)


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/setup_intents/:id."""
    intent = call.fetch("setup_intent", id)
    if set(p) - {"description", "metadata"}:
        rule = "You may only update a SetupIntent with"
        need_status(call, intent, OPEN, "You cannot update this SetupIntent", rule)
    settle(call, intent, p, _COPIED)
    return call.save(intent)


def confirm(call: Call, p: Json, id: str) -> Json:
    """POST /v1/setup_intents/:id/confirm."""
    intent = call.fetch("setup_intent", id)
    check_secret(call, intent, p)
    if intent["status"] == "succeeded":
        raise state_error(call, intent, "already_succeeded")
    rule = "Only a SetupIntent may be confirmed with"
    need_status(call, intent, OPEN, "You cannot confirm this SetupIntent", rule)
    settle(call, intent, p, _COPIED)
    return attempts.attempt(call, intent, p)


def cancel(call: Call, p: Json, id: str) -> Json:
    """POST /v1/setup_intents/:id/cancel."""
    intent = call.fetch("setup_intent", id)
    rule = "Only a SetupIntent may be canceled with"
    need_status(call, intent, OPEN, "You cannot cancel this SetupIntent", rule)
    intent |= {"status": "canceled", "cancellation_reason": p.get("cancellation_reason")}
    intent |= {"next_action": None, "_challenge": None}
    call.save(intent)
    call.emit("setup_intent.canceled", intent)
    return intent
