"""What a charge looks like when it is made: the card's details, 3-D Secure, and Radar's outcome."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from tmt.sandbox.objects import DAY, Json, load_table, new, split_words, template, token
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import SimulatedMethod, simulated_method

_COPIED_TO_CHARGE = split_words("""
    amount application_fee_amount currency customer description metadata on_behalf_of
    receipt_email shipping statement_descriptor statement_descriptor_suffix transfer_data
    transfer_group""")
_RISK_SCORES = {"normal": 20, "elevated": 70, "highest": 90}
_AUTHORIZED = {
    "network_status": "approved_by_network",
    "seller_message": "Payment complete.",
    "type": "authorized",
}
_IN_REVIEW = _AUTHORIZED | {
    "reason": "elevated_risk_level",
    "seller_message": "Stripe placed this payment in review because of its elevated risk.",
    "type": "manual_review",
}
_DECLINED = {
    "advice_code": "try_again_later",
    "network_status": "declined_by_network",
    "seller_message": "The bank refused this payment.",
    "type": "issuer_declined",
}
_BLOCKED = {
    "network_status": "not_sent_to_network",
    "reason": "highest_risk_level",
    "seller_message": "Stripe blocked this payment as too risky.",
    "type": "blocked",
}
# How 3-D Secure went.
_THREE_D_SECURE = {
    "challenged": {"authentication_flow": "challenge", "electronic_commerce_indicator": "05"},
    "frictionless": {"authentication_flow": "frictionless", "electronic_commerce_indicator": "05"},
    "acknowledged": {"electronic_commerce_indicator": "06", "result": "attempt_acknowledged"},
}


def new_charge(
    context: RequestContext, intent: Json, method: Json, authentication: str | None
) -> Json:
    """A charge of the intent's amount as if the bank agreed, not stored yet.

    `authentication` says how 3-D Secure went, if the bank wanted it: a key of _THREE_D_SECURE.
    """
    simulated = simulated_method(method)
    kind, amount = simulated.kind, intent["amount"]
    part = f"charge.payment_method_details.{kind}"
    shared = method[kind].keys() & load_table("objects")[part].keys()
    details = template(part) | {name: method[kind][name] for name in shared}
    if kind == "card":
        address = method["billing_details"]["address"]
        details |= {
            "amount_authorized": amount,
            "checks": {
                "address_line1_check": simulated.line1_check if address["line1"] else None,
                "address_postal_code_check": (
                    simulated.zip_check if address["postal_code"] else None
                ),
                "cvc_check": simulated.cvc_check,
            },
            "network": simulated.brand,
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        }
        if authentication:
            details["three_d_secure"] = {
                **template("charge.payment_method_details.card.three_d_secure"),
                **_THREE_D_SECURE[authentication],
                "transaction_id": str(uuid.uuid4()),
            }
    elif kind == "sepa_debit":
        settled_at = context.now + simulated.settlement_days * DAY
        settled_on = datetime.fromtimestamp(settled_at, UTC).date()
        details["mandate"] = method["_mandate"]
        details["expected_debit_date"] = settled_on.isoformat()
    elif kind == "oxxo":
        details["number"] = intent["_voucher"]["number"]
    charge = new(
        "charge",
        context.now,
        **{name: intent[name] for name in _COPIED_TO_CHARGE},
        billing_details=method["billing_details"],
        calculated_statement_descriptor=intent["statement_descriptor_suffix"] or "SANDBOX",
        outcome=_outcome(simulated),
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": kind, kind: details},
        receipt_url=f"{context.root}/payments/{intent['id']}",
        _test=simulated.key,
    )
    if kind != "card":
        charge["id"] = f"py_3{token(24)}"
    return charge


def _outcome(simulated: SimulatedMethod) -> Json:
    outcome = template("charge.outcome")
    outcome |= {"risk_level": simulated.risk, "risk_score": _RISK_SCORES[simulated.risk]}
    if simulated.risk == "highest":
        return outcome | _BLOCKED
    if simulated.risk == "elevated":
        return outcome | _IN_REVIEW
    if simulated.code and simulated.kind == "card":
        return outcome | _DECLINED | {"reason": simulated.decline_code or simulated.code}
    return outcome | _AUTHORIZED
