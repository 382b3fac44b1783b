"""PaymentIntents: what may be asked of one, and when. The attempts to pay are in attempts.py."""

from __future__ import annotations

from tmt.sandbox import attempts, objects
from tmt.sandbox.call import Call
from tmt.sandbox.cards import BY_TOKEN, Card, typed_in
from tmt.sandbox.currencies import check_amount, spelled
from tmt.sandbox.errors import ApiError, invalid, unexpected_state
from tmt.sandbox.params import merged_metadata
from tmt.sandbox.shape import Json, names
from tmt.sandbox.specs import CONFIRM_ONLY

_TYPES = ("card",)
_COPIED = names("""application_fee_amount capture_method customer customer_account description hooks
    payment_details receipt_email setup_future_usage shipping statement_descriptor
    statement_descriptor_suffix transfer_data transfer_group on_behalf_of
    confirmation_method""")
_ALWAYS_EDITABLE = {"description", "expand", "metadata", "receipt_email", "transfer_group"}
_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", *_OPEN[1:], "processing")


def create(call: Call, p: Json) -> Json:
    """POST /v1/payment_intents."""
    check_amount(p["amount"], p["currency"])
    foreign = [name for name in CONFIRM_ONLY if name in p and not p.get("confirm")]
    if foreign:
        message = f"The parameter `{foreign[0]}` can only be passed when `confirm` is true."
        raise invalid(message, foreign[0])
    intent = objects.payment_intent(
        call.now,
        amount=p["amount"],
        currency=p["currency"],
        capture_method="automatic_async",
        payment_method_types=list(_TYPES),
    )
    _method_types(intent, p, intent_is_new=True)
    _apply(call, intent, p)
    before = dict(intent)
    _choose(call, intent, p)
    call.emit("payment_intent.created", before if p.get("confirm") else intent)
    if p.get("confirm"):
        return attempts.attempt(call, intent, p)
    return call.save(intent)


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id."""
    intent: Json = call.fetch("payment_intent", id)
    fixed = sorted(set(p) - _ALWAYS_EDITABLE)
    if fixed and intent["status"] not in _OPEN:
        raise _wrong_status(
            call,
            intent,
            _OPEN,
            f"This PaymentIntent's {fixed[0]} could not be updated",
            f"You may only update the {fixed[0]} of a PaymentIntent with",
        )
    intent["last_payment_error"] = None
    intent |= {name: p[name] for name in ("amount", "currency") if name in p}
    check_amount(intent["amount"], intent["currency"])
    _method_types(intent, p)
    _apply(call, intent, p)
    _choose(call, intent, p)
    return call.save(intent)


def confirm(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/confirm."""
    intent = call.fetch("payment_intent", id)
    check_secret(call, intent, p)
    if intent["status"] == "succeeded":
        raise _state_error(
            call,
            intent,
            "You cannot confirm this PaymentIntent because it has already succeeded after being"
            " previously confirmed.",
        )
    if intent["status"] not in _OPEN:
        raise _wrong_status(
            call,
            intent,
            _OPEN,
            "You cannot confirm this PaymentIntent",
            "Only a PaymentIntent may be confirmed with",
        )
    if call.publishable and intent["confirmation_method"] == "manual":
        raise _state_error(
            call,
            intent,
            "This PaymentIntent cannot be confirmed using your publishable key because its"
            " `confirmation_method` is set to `manual`. Confirm it on your server.",
        )
    if p.get("amount_to_confirm", intent["amount"]) != intent["amount"]:
        message = "The amount_to_confirm does not match the amount of the PaymentIntent."
        raise invalid(message, "amount_to_confirm", "payment_intent_invalid_parameter")
    _method_types(intent, p)
    _apply(call, intent, p)
    _choose(call, intent, p)
    return attempts.attempt(call, intent, p)


def cancel(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/cancel."""
    intent = call.fetch("payment_intent", id)
    if intent["status"] not in _CANCELABLE:
        raise _wrong_status(
            call,
            intent,
            _CANCELABLE,
            "You cannot cancel this PaymentIntent",
            "Only a PaymentIntent may be canceled with",
        )
    return attempts.cancel(call, intent, p.get("cancellation_reason"))


def capture(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_intents/:id/capture."""
    intent = call.fetch("payment_intent", id)
    if intent["status"] != "requires_capture":
        raise _wrong_status(
            call,
            intent,
            ("requires_capture",),
            "This PaymentIntent could not be captured",
            "Only a PaymentIntent may be captured with",
        )
    amount = p["amount_to_capture"] if "amount_to_capture" in p else intent["amount_capturable"]
    if not 0 < amount <= intent["amount_capturable"]:
        most = spelled(intent["amount_capturable"], intent["currency"])
        message = f"The amount to capture must be greater than 0 and no more than {most}."
        raise ApiError(400, message, param="amount_to_capture", code="amount_too_large")
    _apply(call, intent, p)
    return attempts.capture(call, intent, amount)


def retrieve(call: Call, p: Json, id: str) -> Json:
    """GET /v1/payment_intents/:id."""
    intent = call.fetch("payment_intent", id)
    check_secret(call, intent, p)
    return intent


def check_secret(call: Call, intent: Json, p: Json) -> None:
    """A browser must know the PaymentIntent's client secret; a server may leave it out."""
    given = p.get("client_secret")
    if given is None and call.publishable:
        message = "Missing required param: client_secret."
        raise invalid(message, "client_secret", "parameter_missing")
    if given is not None and not attempts.same(given, intent["client_secret"]):
        message = (
            "The client_secret provided does not match the client_secret associated with this"
            " PaymentIntent."
        )
        raise invalid(message, "client_secret", "payment_intent_invalid_parameter")


def _state_error(call: Call, intent: Json, message: str) -> ApiError:
    shown = objects.publishable(intent) if call.publishable else objects.public(intent)
    return unexpected_state(message, shown)


def _wrong_status(
    call: Call, intent: Json, allowed: tuple[str, ...], refusal: str, rule: str
) -> ApiError:
    message = (
        f"{refusal} because it has a status of {intent['status']}. {rule} one of the following"
        f" statuses: {', '.join(allowed)}."
    )
    return _state_error(call, intent, message)


def _method_types(intent: Json, p: Json, intent_is_new: bool = False) -> None:
    """Settle which payment method types the PaymentIntent takes."""
    given = "allowed_payment_method_types", "excluded_payment_method_types"
    allowed, excluded = (p.get(name) for name in given)
    older = p.get("payment_method_types")
    rivals = (given[1], "automatic_payment_methods", "payment_method_configuration")
    both = next((name for name in rivals if allowed and name in p), None)
    if both:
        message = f"You may only specify one of these parameters: {given[0]}, {both}."
        raise invalid(message, given[0])
    if intent_is_new and not allowed and not older:
        automatic = {"allow_redirects": "always", "enabled": True}
        intent["automatic_payment_methods"] = automatic | p.get("automatic_payment_methods", {})
    if allowed:
        intent |= {"allowed_payment_method_types": allowed, "automatic_payment_methods": None}
    if excluded:
        intent["excluded_payment_method_types"] = excluded
    types = [
        name
        for name in _TYPES
        if name in (older or intent["allowed_payment_method_types"] or _TYPES)
        and name not in (intent["excluded_payment_method_types"] or ())
    ]
    if not types:
        message = "No valid payment method types for this PaymentIntent."
        raise invalid(message, given[0] if allowed else given[1])
    intent["payment_method_types"] = types


def _apply(call: Call, intent: Json, p: Json) -> None:
    if p.get("customer"):
        call.fetch("customer", p["customer"], "customer")
    suffix = p.get("statement_descriptor_suffix") or ""
    if len(suffix) > 22:
        message = "The statement descriptor suffix must be at most 22 characters."
        raise invalid(message, "statement_descriptor_suffix")
    intent |= {name: p[name] for name in _COPIED if name in p}
    if "amount_details" in p:
        intent["amount_details"] = {"tip": {}, **p["amount_details"]}
    if "metadata" in p:
        intent["metadata"] = merged_metadata(intent["metadata"], p["metadata"])
    defaults = dict.fromkeys(("installments", "mandate_options", "network"))
    card = {**defaults, "request_three_d_secure": "automatic"}
    options = intent["payment_method_options"] or {"card": card}
    options["card"] |= (p.get("payment_method_options") or {}).get("card", {})
    intent["payment_method_options"] = options


def _choose(call: Call, intent: Json, p: Json) -> None:
    """Put the given payment method on the PaymentIntent; it then has to be confirmed (again)."""
    if "payment_method" in p and p["payment_method"] is None:
        intent |= {"payment_method": None, "status": "requires_payment_method", "next_action": None}
    if p.get("payment_method") and p.get("payment_method_data"):
        both = "payment_method, payment_method_data"
        message = f"You may only specify one of these parameters: {both}."
        raise invalid(message, "payment_method")
    if p.get("payment_method_data"):
        method = _typed_method(call, p["payment_method_data"])
    elif p.get("payment_method"):
        method = _named_method(call, p["payment_method"])
    else:
        return
    if method["type"] not in intent["payment_method_types"]:
        message = f"The PaymentMethod provided ({method['type']}) is not allowed here."
        raise invalid(message, "payment_method", "payment_intent_invalid_parameter")
    call.save(method)
    intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    intent |= {"next_action": None, "_challenge": None, "_authenticated": None}


def _typed_method(call: Call, data: Json) -> Json:
    if data["type"] not in _TYPES:
        raise invalid(
            f"Invalid payment_method_data[type]: {data['type']}", "payment_method_data[type]"
        )
    if not call.publishable:
        raise ApiError(
            402,
            "Sending credit card numbers directly to the Stripe API is generally unsafe. We suggest"
            " you use test tokens that map to the test card you are using, see"
            " https://stripe.com/docs/testing.",
            executed=False,
        )
    if "card" not in data:
        message = "Missing required param: payment_method_data[card]."
        raise invalid(message, "payment_method_data[card]", "parameter_missing")
    typed = data["card"]
    expiry = (typed["exp_month"], typed["exp_year"] % 100 + 2000)
    return objects.payment_method(call.now, typed_in(typed), expiry, data.get("billing_details"))


def _named_method(call: Call, name: str) -> Json:
    card: Card | None = BY_TOKEN.get(name)
    if card is None:
        return call.fetch("payment_method", name)
    return objects.payment_method(call.now, card, (12, 2034), None)
