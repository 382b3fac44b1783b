"""PaymentIntents and SetupIntents: created, updated, confirmed, canceled and captured.

What confirming does is in confirmation.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from tmt.sandbox import payment_methods, reviews
from tmt.sandbox.confirmation import Confirmation, capture_charge
from tmt.sandbox.currencies import check_amount, format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, new, split_words, template, token
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.tokens import with_confirmation_token

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", *_OPEN[1:], "processing")
_ALWAYS_EDITABLE = {"description", "metadata", "receipt_email", "transfer_group"}
# Parameters that need `confirm`.
_ONLY_WITH_CONFIRM = (
    "confirmation_token",
    "error_on_requires_action",
    "mandate",
    "mandate_data",
    "off_session",
    "return_url",
)
# Since this version, an intent without a choice takes every method of the Dashboard.
_DYNAMIC_SINCE = "2023-08-16"


@route("POST /v1/payment_intents", kind="payment_intent")
@route("POST /v1/setup_intents", kind="setup_intent")
def create_intent(context: RequestContext, params: Json, kind: str) -> Json:
    """Create an intent, and confirm it if `confirm` says so."""
    for name in _ONLY_WITH_CONFIRM:
        if name in params and not params.get("confirm"):
            raise api_error("confirm_only", name)
    intent = new(kind, context.now)
    intent["client_secret"] = f"{intent['id']}_secret_{token(25)}"
    params = with_confirmation_token(context, intent, params)
    _apply_params(context, intent, params, is_new=True)
    # The event shows the intent before it is confirmed; events about that follow.
    unconfirmed = {"payment_method": None, "status": _OPEN[0]} if params.get("confirm") else {}
    context.emit(f"{kind}.created", {**intent, **unconfirmed})
    if params.get("confirm"):
        return Confirmation.of(context, intent).start(params)
    return context.save(intent)


@route("POST /v1/payment_intents/<id>", kind="payment_intent")
@route("POST /v1/setup_intents/<id>", kind="setup_intent")
def update_intent(context: RequestContext, params: Json, id: str, kind: str) -> Json:
    """Update an intent."""
    intent = context.fetch(kind, id)
    if restricted := sorted(set(params) - _ALWAYS_EDITABLE):
        _check_status(context, intent, _OPEN, "update", restricted[0])
    if kind == "payment_intent":
        intent["last_payment_error"] = None
    _apply_params(context, intent, params)
    return context.save(intent)


@route("POST /v1/payment_intents/<id>/confirm", publishable=True, kind="payment_intent")
@route("POST /v1/setup_intents/<id>/confirm", publishable=True, kind="setup_intent")
def confirm_intent(context: RequestContext, params: Json, id: str, kind: str) -> Json:
    """Confirm an intent."""
    intent = context.fetch(kind, id)
    context.check_client_secret(intent, params)
    if intent["status"] == "succeeded":
        raise context.intent_error("already_succeeded", intent)
    _check_status(context, intent, _OPEN, "confirm")
    if context.publishable and intent.get("confirmation_method") == "manual":
        raise context.intent_error("manual_confirmation", intent)
    if "amount_to_confirm" in params and params["amount_to_confirm"] != intent["amount"]:
        raise api_error("wrong_amount_to_confirm")
    params = with_confirmation_token(context, intent, params)
    _apply_params(context, intent, params)
    return Confirmation.of(context, intent).start(params)


@route("POST /v1/payment_intents/<id>/cancel", kind="payment_intent")
@route("POST /v1/setup_intents/<id>/cancel", kind="setup_intent")
def cancel_intent(context: RequestContext, params: Json, id: str, kind: str) -> Json:
    """Cancel an intent that has not succeeded."""
    intent = context.fetch(kind, id)
    cancelable = _CANCELABLE if kind == "payment_intent" else _OPEN
    if intent.get("_voucher"):
        raise context.intent_error("voucher_cannot_be_canceled", intent)
    _check_status(context, intent, cancelable, "cancel")
    return _cancel(context, intent, params.get("cancellation_reason"))


@timer_action("expire_hold")
def expire_hold(context: RequestContext, id: str) -> None:
    """An uncaptured payment is canceled after seven days."""
    intent = context.fetch("payment_intent", id)
    if intent["status"] == "requires_capture":
        _cancel(context, intent, "automatic")


def _cancel(context: RequestContext, intent: Json, reason: str | None) -> Json:
    """Cancel the intent; a held amount is released, and a debit in processing fails."""
    status, charge_id = intent["status"], intent.get("latest_charge")
    intent |= {"status": "canceled", "cancellation_reason": reason}
    intent |= {"next_action": None, "_challenge": None}
    if intent["object"] == "payment_intent":
        intent |= {"canceled_at": context.now, "amount_capturable": 0}
    if charge_id and status in ("requires_capture", "processing"):
        charge, event_type = context.fetch("charge", charge_id), "charge.failed"
        if status == "processing":
            charge |= {"status": "failed", "failure_code": "payment_canceled", "captured": False}
        else:
            charge |= {"refunded": True, "amount_refunded": charge["amount"]}
            event_type = "charge.expired" if reason == "automatic" else "charge.refunded"
        context.save_and_emit(charge, event_type)
        reviews.close_review(context, charge, "canceled")
    return context.save_and_emit(intent, f"{intent['object']}.canceled")


@route("POST /v1/payment_intents/<id>/capture")
def capture_intent(context: RequestContext, params: Json, id: str) -> Json:
    """Take some of a held payment and release the rest."""
    intent = context.fetch("payment_intent", id)
    _check_status(context, intent, ("requires_capture",), "capture")
    capturable: int = intent["amount_capturable"]
    amount = params.get("amount_to_capture", capturable)
    if not 0 < amount <= capturable:
        raise api_error("amount_to_capture", most=format_amount(capturable, intent["currency"]))
    _copy_fields(intent, params)
    charge = context.fetch("charge", intent["latest_charge"])
    return capture_charge(context, intent, charge, amount, "charge.captured")


def _check_status(
    context: RequestContext,
    intent: Json,
    allowed: Sequence[str],
    operation: str,
    field: str = "",
) -> None:
    if intent["status"] not in allowed:
        raise context.intent_error(
            f"cannot_{operation}",
            intent,
            status=intent["status"],
            allowed=", ".join(allowed),
            field=field,
        )


def _copy_fields(intent: Json, params: Json) -> None:
    for name in ("statement_descriptor", "statement_descriptor_suffix"):
        descriptor = params.get(name)
        if descriptor is None:
            continue
        if len(descriptor) > 22:
            raise api_error("descriptor_length", name)
        if set(descriptor) & set("<>\\'\"*"):
            raise api_error("descriptor_characters", name)
        if not any(map(str.isalpha, descriptor)):
            raise api_error("descriptor_letters", name)
    intent |= field_changes(intent, params)


def _apply_params(
    context: RequestContext, intent: Json, params: Json, is_new: bool = False
) -> None:
    """Put the parameters of create, update or confirm on the intent, its payment method too."""
    if params.get("customer"):
        context.fetch("customer", params["customer"], "customer")
    for kind in ("mandate", "payment_method_configuration"):
        if params.get(kind):
            context.fetch(kind, params[kind], kind)
    _copy_fields(intent, params)
    if intent["object"] == "payment_intent":
        check_amount(intent["amount"], intent["currency"])
    if "amount_details" in params:
        intent["amount_details"] = _amount_details(params["amount_details"] or {})
    _choose_method_types(context, intent, params, is_new)
    _set_method_options(intent, params.get("payment_method_options") or {})
    if "payment_method" in params and params["payment_method"] is None:
        intent |= {"payment_method": None, "status": "requires_payment_method", "next_action": None}
    method = payment_methods.from_params(context, params, intent["customer"])
    if method is not None:
        if method["type"] not in intent["payment_method_types"]:
            raise api_error("wrong_method_type", type=method["type"])
        context.save(method)
        # With another method it has to be confirmed (again).
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
        intent |= {"next_action": None, "_challenge": None, "_authenticated": None}


def _amount_details(received: Json) -> Json:
    """The details as they are shown: without the line items, which only `expand` would show."""
    details: Json = {"tip": {}}
    if "discount_amount" in received:
        details["discount_amount"] = received["discount_amount"]
    for name in ("shipping", "tax"):
        if received.get(name):
            details[name] = template(f"payment_intent.amount_details.{name}") | received[name]
    return details


def _set_method_options(intent: Json, changes: Json) -> None:
    """What the intent's options say of each kind of payment method that it accepts."""
    previous, options = intent["payment_method_options"], {}
    for kind in intent["payment_method_types"]:
        part = f"{intent['object']}.payment_method_options.{kind}"
        fields, chosen = load_table("objects")[part], changes.get(kind) or {}
        values = {**template(part), **previous.get(kind, {})}
        values |= {name: chosen[name] for name in chosen if name in fields}
        if values.get("installments"):
            plans = {"available_plans": [], "enabled": False, "plan": None}
            values["installments"] = plans | values["installments"]
        # One that is cleared is absent where it may not be null.
        options[kind] = {
            name: value
            for name, value in values.items()
            if value is not None or "nullable" in fields[name]
        }
    days = options.get("oxxo", {}).get("expires_after_days", 1)
    if not 1 <= days <= 7:
        raise api_error("voucher_days", "payment_method_options[oxxo][expires_after_days]")
    intent["payment_method_options"] = options


def _choose_method_types(context: RequestContext, intent: Json, params: Json, is_new: bool) -> None:
    """Set `payment_method_types`: what the parameters allow and the currency and purpose permit."""
    allowed = params.get("allowed_payment_method_types")
    excluded = params.get("excluded_payment_method_types")
    for rival in (
        "excluded_payment_method_types",
        "automatic_payment_methods",
        "payment_method_configuration",
    ):
        if allowed and rival in params:
            both = f"allowed_payment_method_types, {rival}"
            raise api_error("only_one", "allowed_payment_method_types", both=both)
    # The parameter of older versions.
    listed = params.get("payment_method_types")
    if is_new and not allowed and not listed:
        automatic = params.get("automatic_payment_methods")
        if automatic or context.version >= _DYNAMIC_SINCE:
            defaults = {"allow_redirects": "always", "enabled": True}
            intent["automatic_payment_methods"] = defaults | (automatic or {})
    if allowed:
        intent |= {"allowed_payment_method_types": allowed, "automatic_payment_methods": None}
    if "excluded_payment_method_types" in params:
        intent["excluded_payment_method_types"] = excluded
    chosen = listed or intent["allowed_payment_method_types"]
    if not chosen and not (intent["automatic_payment_methods"] or {}).get("enabled"):
        chosen = intent["payment_method_types"] or ["card"]
    refused = intent["excluded_payment_method_types"] or ()
    kinds = load_table("simulated_methods")["kinds"]
    chosen = chosen or [kind for kind, row in kinds.items() if not row.get("off")]
    intent["payment_method_types"] = [
        kind for kind in _possible_method_types(intent) if kind in chosen and kind not in refused
    ]
    if not intent["payment_method_types"]:
        param = "excluded_payment_method_types"
        if listed:
            param = "payment_method_types"
        elif allowed:
            param = "allowed_payment_method_types"
        raise context.intent_error("no_method_type", intent, param=param)


def _possible_method_types(intent: Json) -> list[str]:
    """The kinds of payment method for the intent's amount, currency, capture method and purpose."""
    amount = intent.get("amount", 0)
    currency, is_setup = intent.get("currency"), intent["object"] == "setup_intent"
    is_manual = intent.get("capture_method") == "manual"
    no_redirects = (intent["automatic_payment_methods"] or {}).get("allow_redirects") == "never"
    return [
        kind
        for kind, row in load_table("simulated_methods")["kinds"].items()
        if (not currency or currency in split_words(row.get("currencies", currency)))
        and (is_setup or row.get("least", 0) <= amount <= row.get("most", amount))
        and (row.get("capture") or not is_manual)
        and (row.get("setup") or not is_setup)
        and not (kind == "ideal" and no_redirects)
    ]
