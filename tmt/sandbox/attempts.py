"""An attempt to pay, or to save a payment method: mandate, authentication, and then the bank."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace

from tmt.sandbox import charges, saved
from tmt.sandbox.behaviours import Behaviour, behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, card_error, problem
from tmt.sandbox.shape import Json, new, part, same, token

_REDIRECT_SECONDS = 3600


def attempt(call: Call, intent: Json, p: Json) -> Json:
    """Confirm. Raises ApiError: 400 for a wrong request, 402 (state kept) for a refusal."""
    if not intent["payment_method"]:
        raise call.about("no_payment_method", intent)
    method = call.fetch("payment_method", intent["payment_method"])
    test = behaviour(method)
    _require_return_url(call, intent, test, p)
    if intent.get("statement_descriptor") and test.kind == "card":
        raise problem("card_descriptor")
    done, intent["_authenticated"] = intent.get("_authenticated"), None
    intent |= {"next_action": None, "_challenge": None, charges.last_error(intent): None}
    intent["_off_session"] = bool(p.get("off_session"))
    if test.kind == "sepa_debit":
        _accept_mandate(call, intent, method, p)
    if done == method["id"]:
        return _proceed(call, intent, method, test, _secure("challenge"))
    flow = _flow(intent, method, test)
    if test.redirect or flow == "challenge":
        return _challenge(call, intent, method, test, p)
    return _proceed(call, intent, method, test, _secure(flow) if flow else None)


def _require_return_url(call: Call, intent: Json, test: Behaviour, p: Json) -> None:
    automatic = intent["automatic_payment_methods"] or {}
    redirects = automatic.get("enabled") and automatic["allow_redirects"] == "always"
    excused = p.get("use_stripe_sdk") or call.publishable
    if not p.get("return_url") and (test.redirect or (redirects and not excused)):
        raise call.about("return_url_missing", intent)


def _accept_mandate(call: Call, intent: Json, method: Json, p: Json) -> None:
    """A debit needs the account holder's consent; a browser's element has just shown the text."""
    given = (p.get("mandate_data") or {}).get("customer_acceptance")
    if p.get("mandate"):
        method["_mandate"] = call.fetch("mandate", p["mandate"], "mandate")["id"]
    elif given or not method.get("_mandate"):
        if not given and not call.publishable:
            raise call.about("mandate_missing", intent)
        given = {"type": "online", **(given or {})}
        online = {"ip_address": None, "user_agent": None, **given.get("online", {})}
        how = {given["type"]: online if given["type"] == "online" else {}}
        acceptance = {"accepted_at": call.now, "type": given["type"], **how}
        reference = token(16).upper()
        url = {"reference": reference, "url": f"{call.root}/mandates/{reference}"}
        details = {"type": "sepa_debit", "sepa_debit": url}
        mandate = new("mandate", call.now, customer_acceptance=acceptance,
                      payment_method=method["id"], payment_method_details=details)  # fmt: skip
        method["_mandate"] = call.save(mandate)["id"]
    call.save(method)


def _flow(intent: Json, method: Json, test: Behaviour) -> str | None:
    """How the bank authenticates the buyer, if it does."""
    once = test.off_session == "once_set_up" and method.get("_set_up")
    excused = intent["_off_session"] and (once or test.off_session == "always")
    options = intent["payment_method_options"].get("card", {})
    asked = options.get("request_three_d_secure", "automatic") != "automatic"
    secure = "required" if asked and test.three_d_secure == "optional" else test.three_d_secure
    if secure == "required" and not excused:
        return "challenge"
    if secure == "frictionless":
        return "frictionless"
    return "acknowledged" if test.kind == "card" and asked else None


def _secure(flow: str) -> Json:
    """What a charge says about its 3-D Secure authentication."""
    told = part("three_d_secure") | {"transaction_id": str(uuid.uuid4())}
    if flow == "acknowledged":
        return told | {"electronic_commerce_indicator": "06", "result": "attempt_acknowledged"}
    return told | {"authentication_flow": flow}


def _challenge(call: Call, intent: Json, method: Json, test: Behaviour, p: Json) -> Json:
    """The buyer has to go to the bank: in place, on a page, or not at all."""
    code = "authentication_required"
    if intent["_off_session"]:
        return _proceed(call, intent, method, replace(test, code=code, decline=code), None)
    if p.get("error_on_requires_action"):
        raise charges.refuse(call, intent, method, card_error(code))
    secret = token(24)
    on_page = test.redirect or not (p.get("use_stripe_sdk") or call.publishable)
    return_url = p.get("return_url") if on_page else None
    intent["_challenge"] = {"secret": secret, "return_url": return_url}
    url = f"{call.root}/3ds/{intent['id']}/{secret}"
    if return_url:
        redirect = {"return_url": return_url, "url": url}
        action: Json = {"type": "redirect_to_url", "redirect_to_url": redirect}
    else:
        sdk = {"type": "three_d_secure_redirect", "source": f"{intent['id']}/{secret}"}
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {**sdk, "stripe_js": url}}
    intent |= {"status": "requires_action", "next_action": action}
    if test.redirect:
        call.later(_REDIRECT_SECONDS, "attempts.expire_redirect", f"{intent['id']}/{secret}")
    return call.tell(intent, f"{intent['object']}.requires_action")


def challenged(call: Call, id: str, secret: str) -> Json:
    """The intent whose challenge this is; ApiError (404) when there is none (any more)."""
    intent = call.store.get(id) or {}
    if not same(secret, (intent.get("_challenge") or {}).get("secret", "")):
        raise problem("authentication_over")
    return intent


def answer(call: Call, intent: Json, passed: bool) -> Json:
    """The buyer agreed at the bank, or did not. Never raises for a refused payment."""
    method = call.fetch("payment_method", intent["payment_method"])
    test = behaviour(method)
    intent |= {"next_action": None, "_challenge": None}
    if not passed:
        charges.refuse(call, intent, method, problem(f"{intent['object']}_authentication_failure"))
    elif intent.get("confirmation_method") == "manual" and not test.redirect:
        intent |= {"status": "requires_confirmation", "_authenticated": method["id"]}
        call.save(intent)
    else:
        result = None if test.redirect else _secure("challenge")
        with suppress(ApiError):
            _proceed(call, intent, method, test, result)
    return intent


def expire_redirect(call: Call, source: str) -> None:
    """Timer: a buyer who went to the bank's page did not come back in time."""
    intent = challenged(call, *source.split("/"))
    method = call.fetch("payment_method", intent["payment_method"])
    error = problem("payment_intent_payment_attempt_expired")
    charges.refuse(call, intent | {"_challenge": None}, method, error)


def _proceed(
    call: Call, intent: Json, method: Json, test: Behaviour, three_d_secure: Json | None
) -> Json:
    if intent["object"] == "payment_intent":
        return charges.pay(call, intent, method, test, three_d_secure)
    if not test.attach:
        raise charges.refuse(call, intent, method, card_error(test.code, test.decline))
    if intent["customer"]:
        saved.save_for(call, method, intent["customer"])
    call.save(method | {"_set_up": True})
    intent |= {"status": "succeeded", "mandate": method.get("_mandate")}
    return call.tell(intent, "setup_intent.succeeded")
