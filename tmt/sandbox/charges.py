"""Charges: what the bank says to a payment, holding and capturing it, and debits that take days."""

from __future__ import annotations

from datetime import UTC, datetime

from tmt.sandbox import disputes, money, saved
from tmt.sandbox.behaviours import Behaviour, behaviour
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, card_error
from tmt.sandbox.shape import DAY, Json, names, new, part, public, token

_HOLD_SECONDS = 7 * DAY
_OF_INTENT = names("""amount application_fee_amount currency customer description metadata
    on_behalf_of receipt_email shipping statement_descriptor statement_descriptor_suffix
    transfer_data transfer_group""")


def pay(
    call: Call, intent: Json, method: Json, test: Behaviour, three_d_secure: Json | None
) -> Json:
    """Ask the bank. Raises ApiError (402, state kept) when it refuses at once."""
    charge = _charge(call, intent, method, test, three_d_secure)
    intent["latest_charge"] = charge["id"]
    if test.kind == "sepa_debit":
        return _debit(call, intent, charge, test)
    if test.code:
        raise _failed(call, intent, method, charge, test)
    if test.kind == "card":
        method["card"]["checks"] = charge["payment_method_details"]["card"]["checks"]
    _keep_method(call, intent, method)
    if intent["capture_method"] == "manual":
        return _hold(call, intent, charge)
    return _paid(call, intent, charge, test)


def _keep_method(call: Call, intent: Json, method: Json) -> None:
    """Saved for the customer when the payment said so; without a customer it is used up."""
    if intent["customer"] and intent["setup_future_usage"]:
        saved.save_for(call, method, intent["customer"])
        method["_set_up"] = True
    call.save(method | {"_used": not method["customer"]})


def _charge(
    call: Call, intent: Json, method: Json, test: Behaviour, three_d_secure: Json | None
) -> Json:
    kind = test.kind
    details = part(f"charge_{kind}")
    details |= {name: value for name, value in method[kind].items() if name in details}
    if kind == "card":
        details |= _card_details(intent, method, test) | {"three_d_secure": three_d_secure}
    elif kind == "sepa_debit":
        expected = datetime.fromtimestamp(call.now + test.days * DAY, UTC).date().isoformat()
        details |= {"mandate": method["_mandate"], "expected_debit_date": expected}
    more = {} if kind == "card" else {"id": f"py_3{token(24)}"}
    return new(
        "charge", call.now, **{name: intent[name] for name in _OF_INTENT}, **more,
        billing_details=method["billing_details"],
        calculated_statement_descriptor=intent["statement_descriptor_suffix"] or "SANDBOX",
        outcome=_outcome(test), payment_intent=intent["id"], payment_method=method["id"],
        payment_method_details={"type": kind, kind: details},
        receipt_url=f"{call.root}/payments/{intent['id']}", _test=test.key,
    )  # fmt: skip


def _card_details(intent: Json, method: Json, test: Behaviour) -> Json:
    has_zip = method["billing_details"]["address"]["postal_code"]
    zip_check = test.zip_check if has_zip else None
    checks = {"address_postal_code_check": zip_check, "cvc_check": test.cvc_check}
    return {
        "amount_authorized": intent["amount"],
        "checks": {"address_line1_check": None, **checks},
        "network": test.brand,
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
    }


def _outcome(test: Behaviour) -> Json:
    told = part(f"outcome_risk_{test.risk}")
    if test.risk == "highest":
        return part("outcome_blocked") | told
    if test.code and test.kind == "card":
        return part("outcome_issuer_declined") | told | {"reason": test.decline or test.code}
    return part("outcome_authorized") | told


def _failed(call: Call, intent: Json, method: Json, charge: Json, test: Behaviour) -> ApiError:
    """Mark the charge and the intent as failed; the error that tells it."""
    told = {"charge": charge["id"], "advice_code": charge["outcome"]["advice_code"]}
    error = card_error(test.code, test.decline, test.kind, **told)
    charge |= {"failure_code": test.code, "failure_message": error.fields["message"]}
    charge |= {"status": "failed", "paid": False, "captured": False, "amount_captured": 0}
    call.save(charge)
    error = refuse(call, intent, method, error)
    call.emit("charge.failed", charge)
    return error


def refuse(call: Call, intent: Json, method: Json, error: ApiError) -> ApiError:
    """Back to the start, with the reason; the same intent can be tried again.

    Returns the error for whoever asked: it shows both, and what has changed stays.
    """
    told = error.fields | {"payment_method": public(method)}
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent[last_error(intent)] = told
    paying = intent["object"] == "payment_intent"
    call.tell(intent, f"{intent['object']}.{'payment_failed' if paying else 'setup_failed'}")
    return ApiError(error.status, told | {intent["object"]: call.shown(intent)}, keep=True)


def last_error(intent: Json) -> str:
    """The field that holds why the last attempt failed."""
    return "last_payment_error" if intent["object"] == "payment_intent" else "last_setup_error"


def _debit(call: Call, intent: Json, charge: Json, test: Behaviour) -> Json:
    """The bank will be asked; for days nobody knows what it says."""
    charge |= {"status": "pending", "paid": False, "captured": True}
    charge["amount_captured"] = charge["amount"]
    intent |= {"status": "processing", "next_action": None}
    call.later(test.days * DAY, "charges.settle_debit", charge["id"])
    call.tell(charge, "charge.pending")
    return call.tell(intent, "payment_intent.processing")


def settle_debit(call: Call, id: str) -> None:
    """Timer: the bank has paid the debit, or sent it back."""
    charge = call.fetch("charge", id)
    intent = call.fetch("payment_intent", charge["payment_intent"])
    if charge["status"] != "pending":
        return
    method, test = call.fetch("payment_method", charge["payment_method"]), behaviour(charge)
    if test.code:
        _failed(call, intent, method, charge, test)
        return
    charge |= {"status": "succeeded", "paid": True}
    _keep_method(call, intent, method)
    _paid(call, intent, charge, test)


def _paid(call: Call, intent: Json, charge: Json, test: Behaviour) -> Json:
    charge |= {"captured": True, "amount_captured": charge["amount"]}
    intent |= {"status": "succeeded", "amount_received": charge["amount"]}
    if intent["capture_method"] == "automatic" or test.kind != "card":
        charge["balance_transaction"] = money.book_charge(call, charge, test)
    else:
        call.later(0, "charges.book_charge", charge["id"])
    call.tell(charge, "charge.succeeded")
    call.tell(intent, "payment_intent.succeeded")
    disputes.trouble_later(call, charge, test)
    return intent


def book_charge(call: Call, id: str) -> None:
    """Timer: an asynchronous capture reaches the balance."""
    charge = call.fetch("charge", id)
    entry = money.book_charge(call, charge, behaviour(charge))
    call.change(charge, {"balance_transaction": entry}, "charge.updated")


def _hold(call: Call, intent: Json, charge: Json) -> Json:
    charge["payment_method_details"]["card"]["capture_before"] = call.now + _HOLD_SECONDS
    intent |= {"status": "requires_capture", "amount_capturable": charge["amount"]}
    call.later(_HOLD_SECONDS, "charges.expire_hold", intent["id"])
    call.tell(charge, "charge.succeeded")
    return call.tell(intent, "payment_intent.amount_capturable_updated")


def expire_hold(call: Call, id: str) -> None:
    """Timer: an uncaptured payment ends after seven days."""
    intent = call.fetch("payment_intent", id)
    if intent["status"] == "requires_capture":
        cancel(call, intent, "automatic")


def capture(call: Call, intent: Json, amount: int) -> Json:
    """Take `amount` of a held payment and release the rest."""
    charge = call.fetch("charge", intent["latest_charge"])
    charge |= {"captured": True, "amount_captured": amount}
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    test = behaviour(charge)
    charge["balance_transaction"] = money.book_charge(call, charge, test)
    call.tell(charge, "charge.captured")
    call.tell(intent, "payment_intent.succeeded")
    disputes.trouble_later(call, charge, test)
    return intent


def cancel(call: Call, intent: Json, reason: str | None) -> Json:
    """End an intent that has not succeeded; a held amount is released."""
    before, id = intent["status"], intent.get("latest_charge")
    intent |= {"status": "canceled", "cancellation_reason": reason}
    intent |= {"next_action": None, "_challenge": None}
    if intent["object"] == "payment_intent":
        intent |= {"canceled_at": call.now, "amount_capturable": 0}
    call.save(intent)
    if id and before in ("requires_capture", "processing"):
        charge, told = call.fetch("charge", id), "charge.failed"
        if before == "processing":
            charge |= {"status": "failed", "failure_code": "payment_canceled", "captured": False}
        else:
            charge |= {"refunded": True, "amount_refunded": charge["amount"]}
            told = "charge.expired" if reason == "automatic" else "charge.refunded"
        call.tell(charge, told)
    call.emit(f"{intent['object']}.canceled", intent)
    return intent
