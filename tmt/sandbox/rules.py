"""What PaymentIntents and SetupIntents have in common: their secret, states and payment method."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from tmt.sandbox import saved
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, problem
from tmt.sandbox.params import apply
from tmt.sandbox.shape import Json, known, names, new, public, publishable, token

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_SPELLED = {"payment_intent": "PaymentIntent", "setup_intent": "SetupIntent"}
_CARD_OPTIONS = dict.fromkeys(("installments", "mandate_options", "network"))
# Since these versions: nothing said means every method of the Dashboard; no list of types.
_DYNAMIC_SINCE = "2023-08-16"


def same(given: str, secret: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(given.encode(), secret.encode())


def new_intent(call: Call, kind: str, **fields: Any) -> Json:
    """An intent without a payment method, with its client secret."""
    intent = new(kind, call.now, **fields)
    return intent | {"client_secret": f"{intent['id']}_secret_{token(25)}"}


def about(name: str, intent: Json, **said: Any) -> ApiError:
    """An error of data/errors.yaml that speaks of an intent."""
    kind = intent["object"]
    return problem(name, kind=kind, Kind=_SPELLED[kind], **said)


def state_error(call: Call, intent: Json, name: str, **said: Any) -> ApiError:
    """An error about the state of an intent, which it shows."""
    shown = publishable(intent) if call.publishable else public(intent)
    return about(name, intent, extra={intent["object"]: shown}, **said)


def need_status(
    call: Call, intent: Json, allowed: Sequence[str], doing: str, field: str = ""
) -> None:
    """Raises ApiError (400, …_unexpected_state) unless the status is one of the allowed ones."""
    if intent["status"] not in allowed:
        said = {"status": intent["status"], "allowed": ", ".join(allowed), "field": field}
        raise state_error(call, intent, f"cannot_{doing}", **said)


def check_secret(call: Call, intent: Json, p: Json) -> None:
    """A browser must know the intent's client secret; a server may leave it out."""
    given = p.get("client_secret")
    if given is None and call.publishable:
        raise problem("parameter_missing", "client_secret")
    if given is not None and not same(given, intent["client_secret"]):
        raise about("wrong_client_secret", intent)


def settle(call: Call, intent: Json, p: Json, copied: Sequence[str], fresh: bool = False) -> None:
    """Put the parameters of create, update or confirm on the intent, its payment method too."""
    if p.get("customer"):
        call.fetch("customer", p["customer"], "customer")
    apply(intent, p, copied)
    _settle_types(call, intent, p, fresh)
    _settle_options(intent, p)
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
        raise about("no_method_type", intent, param=blamed)


def _possible(intent: Json) -> list[str]:
    """The kinds of payment method that the intent's currency, capture and purpose leave."""
    currency, setup = intent.get("currency"), intent["object"] == "setup_intent"
    held = intent.get("capture_method") == "manual"
    automatic = intent["automatic_payment_methods"] or {}
    no_redirects = automatic.get("allow_redirects") == "never"
    return [
        kind
        for kind, row in known("methods")["kinds"].items()
        if (not currency or currency in names(row.get("currencies", currency)))
        and (row.get("capture") or not held)
        and (row.get("setup") or not setup)
        and not (kind == "ideal" and no_redirects)
    ]


def _settle_options(intent: Json, p: Json) -> None:
    options = intent["payment_method_options"]
    defaults = {"card": {**_CARD_OPTIONS, "request_three_d_secure": "automatic"}}
    for kind in intent["payment_method_types"]:
        options.setdefault(kind, defaults.get(kind, {}))
        options[kind] |= (p.get("payment_method_options") or {}).get(kind, {})


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


def refuse(call: Call, intent: Json, method: Json, error: Json) -> Json:
    """Back to the start, with the reason; the same intent can be tried again."""
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    error = {**error, "payment_method": public(method)}
    if intent["object"] == "payment_intent":
        intent["last_payment_error"] = error
        return call.tell(intent, "payment_intent.payment_failed")
    intent["last_setup_error"] = error
    return call.tell(intent, "setup_intent.setup_failed")
