"""PaymentIntents and SetupIntents: what may be asked of them, and when.

How one is paid, or a payment method is saved, is in attempts.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmt.sandbox import attempts, saved
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import check_amount, spelled
from tmt.sandbox.errors import problem
from tmt.sandbox.params import changes
from tmt.sandbox.shape import Json, known, names, new, part, token

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", *_OPEN[1:], "processing")
_ALWAYS_EDITABLE = {"description", "metadata", "receipt_email", "transfer_group"}
# Since this version, nothing said means every method of the Dashboard.
_DYNAMIC_SINCE = "2023-08-16"


def create(call: Call, p: Json, kind: str) -> Json:
    """POST /v1/payment_intents, POST /v1/setup_intents."""
    for name in known("api")["confirm_only"]:
        if name in p and not p.get("confirm"):
            raise problem("confirm_only", name)
    intent = new(kind, call.now)
    intent["client_secret"] = f"{intent['id']}_secret_{token(25)}"
    _settle(call, intent, p, fresh=True)
    # Created comes first: what confirming makes of it is told by the events that follow.
    begun = {"payment_method": None, "status": _OPEN[0]} if p.get("confirm") else {}
    call.emit(f"{kind}.created", {**intent, **begun})
    return attempts.of(call, intent).confirm(p) if p.get("confirm") else call.save(intent)


def update(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id, POST /v1/setup_intents/:id."""
    intent = call.fetch(kind, id)
    if fixed := sorted(set(p) - _ALWAYS_EDITABLE):
        _need_status(call, intent, _OPEN, "update", fixed[0])
    if kind == "payment_intent":
        intent["last_payment_error"] = None
    _settle(call, intent, p)
    return call.save(intent)


def confirm(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/confirm, POST /v1/setup_intents/:id/confirm."""
    intent = call.fetch(kind, id)
    call.check_secret(intent, p)
    if intent["status"] == "succeeded":
        raise call.about("already_succeeded", intent)
    _need_status(call, intent, _OPEN, "confirm")
    if call.publishable and intent.get("confirmation_method") == "manual":
        raise call.about("manual_confirmation", intent)
    if "amount_to_confirm" in p and p["amount_to_confirm"] != intent["amount"]:
        raise problem("wrong_amount_to_confirm")
    _settle(call, intent, p)
    return attempts.of(call, intent).confirm(p)


def cancel(call: Call, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/cancel, POST /v1/setup_intents/:id/cancel."""
    intent = call.fetch(kind, id)
    _need_status(call, intent, _CANCELABLE if kind == "payment_intent" else _OPEN, "cancel")
    return _cancel(call, intent, p.get("cancellation_reason"))


def _cancel(call: Call, intent: Json, reason: str | None) -> Json:
    """End an intent that has not succeeded; a held amount is released."""
    before, id = intent["status"], intent.get("latest_charge")
    intent |= {"status": "canceled", "cancellation_reason": reason}
    intent |= {"next_action": None, "_challenge": None}
    if intent["object"] == "payment_intent":
        intent |= {"canceled_at": call.now, "amount_capturable": 0}
    if id and before in ("requires_capture", "processing"):
        charge, told = call.fetch("charge", id), "charge.failed"
        if before == "processing":
            charge |= {"status": "failed", "failure_code": "payment_canceled", "captured": False}
        else:
            charge |= {"refunded": True, "amount_refunded": charge["amount"]}
            told = "charge.expired" if reason == "automatic" else "charge.refunded"
        call.tell(charge, told)
    return call.tell(intent, f"{intent['object']}.canceled")


def expire_hold(call: Call, id: str) -> None:
    """Timer: an uncaptured payment ends after seven days."""
    intent = call.fetch("payment_intent", id)
    if intent["status"] == "requires_capture":
        _cancel(call, intent, "automatic")


def capture(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/capture: take some of a held payment and release the rest."""
    intent = call.fetch("payment_intent", id)
    _need_status(call, intent, ("requires_capture",), "capture")
    left: int = intent["amount_capturable"]
    amount = p.get("amount_to_capture", left)
    if not 0 < amount <= left:
        raise problem("amount_to_capture", most=spelled(left, intent["currency"]))
    _apply(intent, p)
    charge = call.fetch("charge", intent["latest_charge"])
    return attempts.captured(call, intent, charge, amount, "captured")


def _need_status(
    call: Call, intent: Json, allowed: Sequence[str], doing: str, field: str = ""
) -> None:
    if intent["status"] not in allowed:
        said = {"status": intent["status"], "allowed": ", ".join(allowed), "field": field}
        raise call.about(f"cannot_{doing}", intent, **said)


def _apply(intent: Json, p: Json) -> None:
    if len(p.get("statement_descriptor_suffix") or "") > 22:
        raise problem("descriptor_suffix")
    intent |= changes(intent, p)


def _settle(call: Call, intent: Json, p: Json, fresh: bool = False) -> None:
    """Put the parameters of create, update or confirm on the intent, its payment method too."""
    if p.get("customer"):
        call.fetch("customer", p["customer"], "customer")
    _apply(intent, p)
    if intent["object"] == "payment_intent":
        check_amount(intent["amount"], intent["currency"])
    if "amount_details" in p:
        intent["amount_details"] = {"tip": {}, **p["amount_details"]}
    _settle_types(call, intent, p, fresh)
    options, given = intent["payment_method_options"], p.get("payment_method_options") or {}
    for kind in intent["payment_method_types"]:
        options[kind] = {**part(f"options_{kind}"), **options.get(kind, {}), **given.get(kind, {})}
    _choose(call, intent, p)


def _settle_types(call: Call, intent: Json, p: Json, fresh: bool) -> None:
    given = "allowed_payment_method_types", "excluded_payment_method_types"
    allowed, excluded = (p.get(name) for name in given)
    for rival in (given[1], "automatic_payment_methods", "payment_method_configuration"):
        if allowed and rival in p:
            raise problem("only_one", given[0], both=f"{given[0]}, {rival}")
    older = p.get("payment_method_types")
    if fresh and not allowed and not older:
        asked = p.get("automatic_payment_methods")
        if asked or call.version >= _DYNAMIC_SINCE:
            automatic = {"allow_redirects": "always", "enabled": True} | (asked or {})
            intent["automatic_payment_methods"] = automatic
    if allowed:
        intent |= {"allowed_payment_method_types": allowed, "automatic_payment_methods": None}
    if excluded:
        intent["excluded_payment_method_types"] = excluded
    wanted = older or intent["allowed_payment_method_types"]
    if not wanted and not (intent["automatic_payment_methods"] or {}).get("enabled"):
        wanted = intent["payment_method_types"] or ["card"]
    without = intent["excluded_payment_method_types"] or ()
    types = [kind for kind in _possible(intent) if kind in (wanted or (kind,))]
    intent["payment_method_types"] = [kind for kind in types if kind not in without]
    if not intent["payment_method_types"]:
        blamed = "payment_method_types" if older else given[0] if allowed else given[1]
        raise call.about("no_method_type", intent, param=blamed)


def _possible(intent: Json) -> list[str]:
    """The kinds of payment method that the intent's currency, capture and purpose leave."""
    currency, setup = intent.get("currency"), intent["object"] == "setup_intent"
    held = intent.get("capture_method") == "manual"
    no_redirects = (intent["automatic_payment_methods"] or {}).get("allow_redirects") == "never"
    return [
        kind
        for kind, row in known("methods")["kinds"].items()
        if (not currency or currency in names(row.get("currencies", currency)))
        and (row.get("capture") or not held)
        and (row.get("setup") or not setup)
        and not (kind == "ideal" and no_redirects)
    ]


def _choose(call: Call, intent: Json, p: Json) -> None:
    """Put the given payment method on the intent; it then has to be confirmed (again)."""
    if "payment_method" in p and p["payment_method"] is None:
        intent |= {"payment_method": None, "status": "requires_payment_method", "next_action": None}
    method = saved.chosen(call, p, intent["customer"])
    if method is None:
        return
    if method["type"] not in intent["payment_method_types"]:
        raise problem("wrong_method_type", type=method["type"])
    call.save(method)
    intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    intent |= {"next_action": None, "_challenge": None, "_authenticated": None}
