"""The attempts to pay a PaymentIntent: authentication, charge, capture, release."""

from __future__ import annotations

import hmac
import uuid

from tmt.sandbox import objects
from tmt.sandbox.call import Call
from tmt.sandbox.cards import BY_KEY, MESSAGES, Card, refusal_message
from tmt.sandbox.errors import ApiError, invalid, unexpected_state
from tmt.sandbox.ids import token
from tmt.sandbox.shape import Json

_HOLD_SECONDS = 7 * 86400


def same(given: str, secret: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(given.encode(), secret.encode())


def attempt(call: Call, intent: Json, p: Json) -> Json:
    """Try to pay. Raises ApiError: 400 for a wrong request, 402 (state kept) for a refusal."""
    if not intent["payment_method"]:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can"
            " either update the PaymentIntent with a payment method and then confirm it again, or"
            " confirm it again directly with a payment method or ConfirmationToken.",
            objects.publishable(intent),
        )
    _require_return_url(call, intent, p)
    if intent["statement_descriptor"]:
        raise invalid(
            "The `statement_descriptor` parameter is not supported for card charges. Use"
            " `statement_descriptor_suffix` instead.",
            "statement_descriptor",
        )
    method = call.fetch("payment_method", intent["payment_method"])
    card = BY_KEY[method["_card"]]
    done, intent["_authenticated"] = intent.get("_authenticated"), None
    intent |= {"last_payment_error": None, "next_action": None, "_challenge": None}
    asked = intent["payment_method_options"]["card"]["request_three_d_secure"] != "automatic"
    if done == method["id"]:
        return _charge(call, intent, method, card, _three_d_secure("authenticated", "challenge"))
    if card.three_d_secure == "required" or (asked and card.three_d_secure == "optional"):
        return _authenticate(call, intent, method, card, p)
    result = None
    if card.three_d_secure == "frictionless":
        result = _three_d_secure("authenticated", "frictionless")
    elif asked:
        result = _three_d_secure("attempt_acknowledged", None)
    return _charge(call, intent, method, card, result)


def _require_return_url(call: Call, intent: Json, p: Json) -> None:
    automatic = intent["automatic_payment_methods"] or {}
    redirects = automatic.get("enabled") and automatic["allow_redirects"] == "always"
    if not redirects or p.get("return_url") or p.get("use_stripe_sdk") or call.publishable:
        return
    raise invalid(
        "This PaymentIntent is configured to accept payment methods enabled in your Dashboard."
        " Because some of these payment methods might redirect your customer off of your page, you"
        " must provide a `return_url`. If you don't want to accept redirect-based payment methods,"
        " set `automatic_payment_methods[enabled]` to `true` and"
        " `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and"
        " Payment Intents.",
        "return_url",
    )


def _three_d_secure(result: str, flow: str | None) -> Json:
    indicator = "05" if result == "authenticated" else "06"
    return {
        "authentication_flow": flow,
        "electronic_commerce_indicator": indicator,
        "exemption_indicator": None,
        "exemption_indicator_applied": None,
        "result": result,
        "result_reason": None,
        "transaction_id": str(uuid.uuid4()),
        "version": "2.2.0",
    }


def _authenticate(call: Call, intent: Json, method: Json, card: Card, p: Json) -> Json:
    """The buyer has to prove who they are: in place, on a page, or not at all."""
    if p.get("off_session") and card.off_session:
        return _charge(call, intent, method, card, None)
    code = "authentication_required"
    if p.get("off_session"):
        refused = Card(card.number, card.tokens, code, code, brand=card.brand)
        return _charge(call, intent, method, refused, None)
    if p.get("error_on_requires_action"):
        message = MESSAGES[code]
        _refuse(call, intent, method, {"type": "card_error", "code": code, "message": message})
        raise call.card_error(code, message, intent, payment_method=objects.public(method))
    secret = token(24)
    by_page = p.get("return_url") and not p.get("use_stripe_sdk") and not call.publishable
    intent["_challenge"] = {"secret": secret, "return_url": p["return_url"] if by_page else None}
    url = f"{call.root}/3ds/{intent['id']}/{secret}"
    if by_page:
        redirect = {"return_url": p["return_url"], "url": url}
        action: Json = {"type": "redirect_to_url", "redirect_to_url": redirect}
    else:
        sdk = {"type": "three_d_secure_redirect", "source": f"{intent['id']}/{secret}"}
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {**sdk, "stripe_js": url}}
    intent |= {"status": "requires_action", "next_action": action}
    call.save(intent)
    call.emit("payment_intent.requires_action", intent)
    return intent


def challenge(call: Call, id: str, secret: str) -> Json:
    """The PaymentIntent whose challenge this is; ApiError (404) when there is none (any more)."""
    intent = call.store.get(id, "payment_intent") or {}
    if not same(secret, (intent.get("_challenge") or {}).get("secret", "")):
        raise ApiError(404, "This authentication is over.", code="resource_missing")
    return intent


def answer_challenge(call: Call, intent: Json, passed: bool) -> Json:
    """The buyer proved who they are, or did not. Never raises for a refused payment."""
    method = call.fetch("payment_method", intent["payment_method"])
    intent |= {"next_action": None, "_challenge": None}
    if not passed:
        code = "payment_intent_authentication_failure"
        error = {"type": "invalid_request_error", "code": code, "message": MESSAGES[code]}
        return _refuse(call, intent, method, error)
    if intent["confirmation_method"] == "manual":
        intent |= {"status": "requires_confirmation", "_authenticated": method["id"]}
        return call.save(intent)
    try:
        result = _three_d_secure("authenticated", "challenge")
        return _charge(call, intent, method, BY_KEY[method["_card"]], result)
    except ApiError:
        return intent


def _refuse(call: Call, intent: Json, method: Json, error: Json) -> Json:
    """Back to the start, with the reason; the same PaymentIntent can be tried again."""
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = {**error, "payment_method": objects.public(method)}
    call.save(intent)
    call.emit("payment_intent.payment_failed", intent)
    return intent


def _charge(
    call: Call, intent: Json, method: Json, card: Card, three_d_secure: Json | None
) -> Json:
    charge = objects.charge(call.now, intent, method, card, three_d_secure)
    intent["latest_charge"] = charge["id"]
    if card.code:
        raise _declined(call, intent, method, card, charge)
    method["card"]["checks"] = charge["payment_method_details"]["card"]["checks"]
    call.save(method)
    charge["receipt_url"] = f"{call.root}/payments/{intent['id']}"
    if intent["capture_method"] == "manual":
        return _hold(call, intent, charge)
    charge |= {"captured": True, "amount_captured": charge["amount"]}
    intent |= {"status": "succeeded", "amount_received": charge["amount"]}
    if intent["capture_method"] == "automatic":
        _book(call, charge)
    else:
        call.later(0, "book_charge", charge["id"])
    call.save(charge)
    call.save(intent)
    call.emit("charge.succeeded", charge)
    call.emit("payment_intent.succeeded", intent)
    return intent


def _declined(call: Call, intent: Json, method: Json, card: Card, charge: Json) -> ApiError:
    code = card.code or "card_declined"
    message = refusal_message(code, card.decline_code)
    charge |= {"status": "failed", "paid": False, "failure_code": code, "failure_message": message}
    call.save(charge)
    more = {"charge": charge["id"]}
    if card.decline_code:
        more["decline_code"] = card.decline_code
    if charge["outcome"]["advice_code"]:
        more["advice_code"] = charge["outcome"]["advice_code"]
    error = {"type": "card_error", "code": code, "message": message, **more}
    _refuse(call, intent, method, error)
    call.emit("charge.failed", charge)
    shown = objects.public(method)
    return call.card_error(code, message, intent, payment_method=shown, **more)


def _hold(call: Call, intent: Json, charge: Json) -> Json:
    card = charge["payment_method_details"]["card"]
    card["capture_before"] = call.now + _HOLD_SECONDS
    intent |= {"status": "requires_capture", "amount_capturable": charge["amount"]}
    call.later(_HOLD_SECONDS, "expire_hold", intent["id"])
    call.save(charge)
    call.save(intent)
    call.emit("charge.succeeded", charge)
    call.emit("payment_intent.amount_capturable_updated", intent)
    return intent


def _book(call: Call, charge: Json) -> None:
    """Put a captured charge on the balance, less Stripe's fee of 2.9 % + 30."""
    amount = charge["amount_captured"]
    fee = min(amount, (amount * 29 + 500) // 1000 + 30)
    entry = call.save(objects.balance_transaction(call.now, charge, "charge", amount, fee))
    charge["balance_transaction"] = entry["id"]


def capture(call: Call, intent: Json, amount: int) -> Json:
    """Take `amount` of a held payment and release the rest."""
    charge = call.fetch("charge", intent["latest_charge"])
    charge |= {"captured": True, "amount_captured": amount}
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    _book(call, charge)
    call.save(charge)
    call.save(intent)
    call.emit("charge.captured", charge)
    call.emit("payment_intent.succeeded", intent)
    return intent


def cancel(call: Call, intent: Json, reason: str | None) -> Json:
    """End a PaymentIntent that has not been paid; a held amount is released."""
    held = intent["status"] == "requires_capture"
    intent |= {"status": "canceled", "canceled_at": call.now, "cancellation_reason": reason}
    intent |= {"amount_capturable": 0, "next_action": None, "_challenge": None}
    call.save(intent)
    if held:
        charge = call.fetch("charge", intent["latest_charge"])
        charge |= {"refunded": True, "amount_refunded": charge["amount"]}
        call.save(charge)
        call.emit("charge.expired" if reason == "automatic" else "charge.refunded", charge)
    call.emit("payment_intent.canceled", intent)
    return intent


def book_charge(call: Call, id: str) -> None:
    """Timer: an asynchronous capture reaches the balance."""
    charge = call.fetch("charge", id)
    _book(call, charge)
    call.save(charge)
    call.emit("charge.updated", charge, {"balance_transaction": None})


def expire_hold(call: Call, id: str) -> None:
    """Timer: an uncaptured payment ends after seven days."""
    intent = call.fetch("payment_intent", id)
    if intent["status"] == "requires_capture":
        cancel(call, intent, "automatic")
