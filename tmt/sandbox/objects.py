"""The JSON shapes of Stripe's objects, every field present.

Names that begin with an underscore are the sandbox's own notes on an object; `public` drops them.
"""

from __future__ import annotations

from typing import Any

from tmt.sandbox.cards import Card
from tmt.sandbox.ids import new_id, token
from tmt.sandbox.shape import Json, names

API_VERSION = "2026-10-28.endive"


def _object(name: str, id: str, created: int, nulls: str, **fields: Any) -> Json:
    head = {"id": id, "object": name, "created": created, "livemode": False}
    return {**head, **dict.fromkeys(nulls.split()), **fields}


def public(body: Json) -> Json:
    """The object as the API shows it."""
    return {name: value for name, value in body.items() if not name.startswith("_")}


_PUBLISHABLE = frozenset(
    names("""id object allowed_payment_method_types amount amount_details automatic_payment_methods
    canceled_at cancellation_reason capture_method client_secret confirmation_method created
    currency description excluded_payment_method_types last_payment_error livemode next_action
    payment_method payment_method_configuration_details payment_method_types processing
    receipt_email setup_future_usage shipping source status""")
)


def publishable(payment_intent: Json) -> Json:
    """A PaymentIntent as a browser may see it."""
    return {name: value for name, value in payment_intent.items() if name in _PUBLISHABLE}


def payment_intent(now: int, **fields: Any) -> Json:
    """A PaymentIntent without a payment method."""
    id = new_id("pi_3")
    return _object(
        "payment_intent",
        id,
        now,
        """allowed_payment_method_types application application_fee_amount
        automatic_payment_methods canceled_at cancellation_reason customer customer_account
        description excluded_payment_method_types hooks last_payment_error latest_charge
        managed_payments next_action on_behalf_of payment_details payment_method
        payment_method_configuration_details payment_record presentment_details processing
        receipt_email review setup_future_usage shipping source statement_descriptor
        statement_descriptor_suffix transfer_data transfer_group""",
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        client_secret=f"{id}_secret_{token(25)}",
        confirmation_method="automatic",
        metadata={},
        payment_method_options={},
        status="requires_payment_method",
        **fields,
    )


def billing_details(given: Json | None) -> Json:
    """Billing details with all their fields."""
    fields = dict.fromkeys(names("address email name phone tax_id")) | (given or {})
    lines = dict.fromkeys(names("city country line1 line2 postal_code state"))
    return {**fields, "address": {**lines, **(fields["address"] or {})}}


def payment_method(now: int, card: Card, expiry: tuple[int, int], billing: Json | None) -> Json:
    """A card as a PaymentMethod; the number itself is kept nowhere."""
    unchecked = {"address_line1_check": None, "address_postal_code_check": None}
    details = dict.fromkeys(names("description generated_from iin issuer wallet"))
    return _object(
        "payment_method",
        new_id("pm_1"),
        now,
        "customer customer_account radar_options",
        type="card",
        allow_redisplay="unspecified",
        billing_details=billing_details(billing),
        card={
            **details,
            **card_facts(card, expiry),
            "checks": {**unchecked, "cvc_check": "unchecked"},
            "display_brand": "american_express" if card.brand == "amex" else card.brand,
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": card.brand in ("visa", "mastercard", "amex")},
        },
        metadata={},
        _card=card.key,
    )


def card_facts(card: Card, expiry: tuple[int, int]) -> Json:
    """What PaymentMethod and Charge both say about a card."""
    return {
        "brand": card.brand,
        "country": card.country,
        "exp_month": expiry[0],
        "exp_year": expiry[1],
        "fingerprint": f"fp{card.key[-8:]}{card.number[-4:]}",
        "funding": card.funding,
        "last4": card.number[-4:],
        "regulated_status": "unregulated",
    }


def charge(now: int, intent: Json, method: Json, card: Card, three_d_secure: Json | None) -> Json:
    """An authorized, uncaptured Charge for all of a PaymentIntent's amount."""
    copied = names("""amount application_fee_amount currency customer description metadata
    on_behalf_of receipt_email shipping statement_descriptor statement_descriptor_suffix
    transfer_data transfer_group""")
    id = new_id("ch_3")
    return _object(
        "charge",
        id,
        now,
        """application application_fee balance_transaction failure_balance_transaction
        failure_code failure_message level3 presentment_details radar_options receipt_number
        receipt_url refunds review source source_transfer transfer""",
        **{name: intent[name] for name in copied},
        amount_captured=0,
        amount_refunded=0,
        authorization_code=token(6).upper(),
        billing_details=method["billing_details"],
        calculated_statement_descriptor=intent["statement_descriptor_suffix"] or "SANDBOX",
        captured=False,
        disputed=False,
        fraud_details={},
        outcome=outcome(card),
        paid=True,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={
            "type": "card",
            "card": _card_details(intent, method, card) | {"three_d_secure": three_d_secure},
        },
        refunded=False,
        status="succeeded",
        _card=card.key,
    )


def _card_details(intent: Json, method: Json, card: Card) -> Json:
    on_request = {"status": "unavailable"}
    facts = method["card"]
    postal_code = method["billing_details"]["address"]["postal_code"]
    return {
        **dict.fromkeys(
            names("""authorization_code capture_before description electronic_commerce_indicator iin
            installments issuer mandate moto network_token network_transaction_id
            setup_credential_usage stored_credential_usage transaction_link_id wallet""")
        ),
        **card_facts(card, (facts["exp_month"], facts["exp_year"])),
        "amount_authorized": intent["amount"],
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": card.zip_check if postal_code else None,
            "cvc_check": card.cvc_check,
        },
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": on_request,
        "multicapture": on_request,
        "network": card.brand,
        "overcapture": {"maximum_amount_capturable": intent["amount"], **on_request},
    }


_RISK_SCORE = {"normal": 20, "elevated": 70, "highest": 90}


def outcome(card: Card) -> Json:
    """The Charge's outcome: authorized, issuer_declined or blocked."""
    kind, network, reason = "authorized", "approved_by_network", None
    message = "Payment complete."
    if card.risk == "highest":
        kind, network, reason = "blocked", "not_sent_to_network", "highest_risk_level"
        message = "Stripe blocked this payment as too risky."
    elif card.code:
        kind, network = "issuer_declined", "declined_by_network"
        reason = card.decline_code or card.code
        message = f"The bank refused this payment: {reason}."
    return {
        "advice_code": "try_again_later" if kind == "issuer_declined" else None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network,
        "reason": reason,
        "risk_level": card.risk,
        "risk_score": _RISK_SCORE[card.risk],
        "rule": None,
        "seller_message": message,
        "type": kind,
    }


def balance_transaction(now: int, source: Json, kind: str, amount: int, fee: int) -> Json:
    """What a charge or refund (`source`) does to the balance: `net = amount - fee`."""
    parts = {"application": None, "description": "Stripe processing fees", "type": "stripe_fee"}
    body = _object(
        "balance_transaction",
        new_id("txn_3"),
        now,
        "description exchange_rate",
        amount=amount,
        available_on=now + 2 * 86400,
        balance_type="payments",
        currency=source["currency"],
        fee=fee,
        fee_details=[{"amount": fee, "currency": source["currency"], **parts}] if fee else [],
        net=amount - fee,
        reporting_category=kind,
        source=source["id"],
        status="pending",
        type=kind,
    )
    del body["livemode"]
    return body


def refund(now: int, charge: Json, amount: int, status: str, **fields: Any) -> Json:
    """A Refund of `amount` minor units of a charge."""
    card = {"reference": None, "reference_status": "pending", "type": "refund"}
    card["reference_type"] = "acquirer_reference_number"
    body = _object(
        "refund",
        new_id("re_3"),
        now,
        """balance_transaction customer customer_account description failure_balance_transaction
        failure_reason instructions_email next_action presentment_details reason receipt_number
        source_transfer_reversal transfer_reversal""",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"card": card, "type": "card"},
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        pending_reason="processing" if status == "pending" else None,
        status=status,
        **fields,
    )
    del body["livemode"]
    return body


def event(now: int, kind: str, data: Json, request: Json) -> Json:
    """An Event about a snapshot of an object."""
    return _object(
        "event",
        new_id("evt_3"),
        now,
        "account context",
        api_version=API_VERSION,
        data=data,
        pending_webhooks=0,
        request=request,
        type=kind,
    )


def webhook_endpoint(now: int, url: str, events: list[str], secret: str, **fields: Any) -> Json:
    """A webhook endpoint; its signing secrets are shown once, by create."""
    return (
        _object(
            "webhook_endpoint",
            new_id("we_1"),
            now,
            "api_version application description",
            url=url,
            enabled_events=events,
            metadata={},
            status="enabled",
            _secrets=[secret],
        )
        | fields
    )
