"""PaymentIntents and SetupIntents: what may be asked of them, and when.

How one is paid, or a payment method is saved, is in confirmation.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmt.sandbox import confirmation, customers
from tmt.sandbox.currencies import check_amount, format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, new, split_words, template, token
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import RequestContext

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", *_OPEN[1:], "processing")
_ALWAYS_EDITABLE = {"description", "metadata", "receipt_email", "transfer_group"}
# Since this version, nothing said means every method of the Dashboard.
_DYNAMIC_SINCE = "2023-08-16"


def create(context: RequestContext, p: Json, kind: str) -> Json:
    """POST /v1/payment_intents, POST /v1/setup_intents."""
    for name in load_table("api")["confirm_only"]:
        if name in p and not p.get("confirm"):
            raise api_error("confirm_only", name)
    intent = new(kind, context.now)
    intent["client_secret"] = f"{intent['id']}_secret_{token(25)}"
    _settle(context, intent, p, fresh=True)
    # Created comes first: what confirming makes of it is told by the events that follow.
    begun = {"payment_method": None, "status": _OPEN[0]} if p.get("confirm") else {}
    context.emit(f"{kind}.created", {**intent, **begun})
    return confirmation.of(context, intent).confirm(p) if p.get("confirm") else context.save(intent)


def update(context: RequestContext, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id, POST /v1/setup_intents/:id."""
    intent = context.fetch(kind, id)
    if fixed := sorted(set(p) - _ALWAYS_EDITABLE):
        _need_status(context, intent, _OPEN, "update", fixed[0])
    if kind == "payment_intent":
        intent["last_payment_error"] = None
    _settle(context, intent, p)
    return context.save(intent)


def confirm(context: RequestContext, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/confirm, POST /v1/setup_intents/:id/confirm."""
    intent = context.fetch(kind, id)
    context.check_client_secret(intent, p)
    if intent["status"] == "succeeded":
        raise context.intent_error("already_succeeded", intent)
    _need_status(context, intent, _OPEN, "confirm")
    if context.publishable and intent.get("confirmation_method") == "manual":
        raise context.intent_error("manual_confirmation", intent)
    if "amount_to_confirm" in p and p["amount_to_confirm"] != intent["amount"]:
        raise api_error("wrong_amount_to_confirm")
    _settle(context, intent, p)
    return confirmation.of(context, intent).confirm(p)


def cancel(context: RequestContext, p: Json, id: str, kind: str) -> Json:
    """POST /v1/payment_intents/:id/cancel, POST /v1/setup_intents/:id/cancel."""
    intent = context.fetch(kind, id)
    _need_status(context, intent, _CANCELABLE if kind == "payment_intent" else _OPEN, "cancel")
    return _cancel(context, intent, p.get("cancellation_reason"))


def _cancel(context: RequestContext, intent: Json, reason: str | None) -> Json:
    """End an intent that has not succeeded; a held amount is released."""
    before, id = intent["status"], intent.get("latest_charge")
    intent |= {"status": "canceled", "cancellation_reason": reason}
    intent |= {"next_action": None, "_challenge": None}
    if intent["object"] == "payment_intent":
        intent |= {"canceled_at": context.now, "amount_capturable": 0}
    if id and before in ("requires_capture", "processing"):
        charge, told = context.fetch("charge", id), "charge.failed"
        if before == "processing":
            charge |= {"status": "failed", "failure_code": "payment_canceled", "captured": False}
        else:
            charge |= {"refunded": True, "amount_refunded": charge["amount"]}
            told = "charge.expired" if reason == "automatic" else "charge.refunded"
        context.save_and_emit(charge, told)
    return context.save_and_emit(intent, f"{intent['object']}.canceled")


def expire_hold(context: RequestContext, id: str) -> None:
    """Timer: an uncaptured payment ends after seven days."""
    intent = context.fetch("payment_intent", id)
    if intent["status"] == "requires_capture":
        _cancel(context, intent, "automatic")


def capture(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/capture: take some of a held payment and release the rest."""
    intent = context.fetch("payment_intent", id)
    _need_status(context, intent, ("requires_capture",), "capture")
    left: int = intent["amount_capturable"]
    amount = p.get("amount_to_capture", left)
    if not 0 < amount <= left:
        raise api_error("amount_to_capture", most=format_amount(left, intent["currency"]))
    _apply(intent, p)
    charge = context.fetch("charge", intent["latest_charge"])
    return confirmation.captured(context, intent, charge, amount, "captured")


def _need_status(
    context: RequestContext, intent: Json, allowed: Sequence[str], doing: str, field: str = ""
) -> None:
    if intent["status"] not in allowed:
        said = {"status": intent["status"], "allowed": ", ".join(allowed), "field": field}
        raise context.intent_error(f"cannot_{doing}", intent, **said)


def _apply(intent: Json, p: Json) -> None:
    if len(p.get("statement_descriptor_suffix") or "") > 22:
        raise api_error("descriptor_suffix")
    intent |= changes(intent, p)


def _settle(context: RequestContext, intent: Json, p: Json, fresh: bool = False) -> None:
    """Put the parameters of create, update or confirm on the intent, its payment method too."""
    if p.get("customer"):
        context.fetch("customer", p["customer"], "customer")
    _apply(intent, p)
    if intent["object"] == "payment_intent":
        check_amount(intent["amount"], intent["currency"])
    if "amount_details" in p:
        intent["amount_details"] = {"tip": {}, **p["amount_details"]}
    _settle_types(context, intent, p, fresh)
    options, given = intent["payment_method_options"], p.get("payment_method_options") or {}
    for kind in intent["payment_method_types"]:
        options[kind] = {
            **template(f"options_{kind}"),
            **options.get(kind, {}),
            **given.get(kind, {}),
        }
    _choose(context, intent, p)


def _settle_types(context: RequestContext, intent: Json, p: Json, fresh: bool) -> None:
    given = "allowed_payment_method_types", "excluded_payment_method_types"
    allowed, excluded = (p.get(name) for name in given)
    for rival in (given[1], "automatic_payment_methods", "payment_method_configuration"):
        if allowed and rival in p:
            raise api_error("only_one", given[0], both=f"{given[0]}, {rival}")
    older = p.get("payment_method_types")
    if fresh and not allowed and not older:
        asked = p.get("automatic_payment_methods")
        if asked or context.version >= _DYNAMIC_SINCE:
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
        raise context.intent_error("no_method_type", intent, param=blamed)


def _possible(intent: Json) -> list[str]:
    """The kinds of payment method that the intent's currency, capture and purpose leave."""
    currency, setup = intent.get("currency"), intent["object"] == "setup_intent"
    held = intent.get("capture_method") == "manual"
    no_redirects = (intent["automatic_payment_methods"] or {}).get("allow_redirects") == "never"
    return [
        kind
        for kind, row in load_table("simulated_methods")["kinds"].items()
        if (not currency or currency in split_words(row.get("currencies", currency)))
        and (row.get("capture") or not held)
        and (row.get("setup") or not setup)
        and not (kind == "ideal" and no_redirects)
    ]


def _choose(context: RequestContext, intent: Json, p: Json) -> None:
    """Put the given payment method on the intent; it then has to be confirmed (again)."""
    if "payment_method" in p and p["payment_method"] is None:
        intent |= {"payment_method": None, "status": "requires_payment_method", "next_action": None}
    method = customers.chosen(context, p, intent["customer"])
    if method is None:
        return
    if method["type"] not in intent["payment_method_types"]:
        raise api_error("wrong_method_type", type=method["type"])
    context.save(method)
    intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    intent |= {"next_action": None, "_challenge": None, "_authenticated": None}
