"""The parameters of each method, as data (the kinds are explained in params.py).

Source: the parameter classes of the official SDK for API version 2026-10-28.endive.
"""

from __future__ import annotations

from tmt.sandbox.params import Spec

# The first API version that refuses `payment_method_types`.
FIRST_WITHOUT_TYPES = "2026-09-30"

EXPAND: Spec = {"expand": "list"}
PAGE: Spec = EXPAND | {
    "created": "range",
    "ending_before": "str",
    "limit": "int",
    "starting_after": "str",
}

_LINES = ("city", "country", "line1", "line2", "postal_code", "state")
_ADDRESS: Spec = dict.fromkeys(_LINES, "str?")
_SHIPPING: Spec = {
    "": "may be unset",
    "address": _ADDRESS,
    "carrier": "str",
    "name": "str!",
    "phone": "str",
    "tracking_number": "str",
}
_BILLING: Spec = {
    "": "may be unset",
    "address": {"": "may be unset", **_ADDRESS},
    "email": "str?",
    "name": "str?",
    "phone": "str?",
    "tax_id": "str",
}
_METHOD: Spec = {
    "allow_redisplay": ("always", "limited", "unspecified"),
    "billing_details": _BILLING,
    "card": {"cvc": "str", "exp_month": "int!", "exp_year": "int!", "number": "str!"},
    "metadata": "meta",
    "radar_options": "hash",
    "type": "str!",
}
_SHARED: Spec = EXPAND | {
    "allowed_payment_method_types": "list",
    "amount_details": "hash",
    "capture_method": ("automatic", "automatic_async", "manual"),
    "excluded_payment_method_types": "list",
    "hooks": "hash",
    "payment_details": "hash",
    "payment_method": "str?",
    "payment_method_data": _METHOD,
    "payment_method_options": "hash",
    "receipt_email": "str?",
    "setup_future_usage": ("off_session", "on_session", ""),
    "shipping": _SHIPPING,
}
INTENT_UPDATE: Spec = _SHARED | {
    "amount": "int",
    "application_fee_amount": "int?",
    "currency": "currency",
    "customer": "str",
    "customer_account": "str",
    "description": "str?",
    "metadata": "meta",
    "payment_method_configuration": "str",
    "statement_descriptor": "str",
    "statement_descriptor_suffix": "str",
    "transfer_data": "hash",
    "transfer_group": "str",
}
CONFIRM_ONLY: Spec = {
    "error_on_requires_action": "bool",
    "mandate": "str",
    "mandate_data": "hash",
    "off_session": "bool",
    "return_url": "str",
}
INTENT_CREATE: Spec = (
    INTENT_UPDATE
    | CONFIRM_ONLY
    | {
        "amount": "int!",
        "automatic_payment_methods": {"allow_redirects": ("always", "never"), "enabled": "bool!"},
        "confirm": "bool",
        "confirmation_method": ("automatic", "manual"),
        "confirmation_token": "str",
        "currency": "currency!",
        "on_behalf_of": "str",
        "radar_options": "hash",
        "use_stripe_sdk": "bool",
    }
)
INTENT_CONFIRM: Spec = (
    _SHARED
    | CONFIRM_ONLY
    | {
        "amount_to_confirm": "int",
        "client_secret": "str",
        "confirmation_token": "str",
        "radar_options": "hash",
        "use_stripe_sdk": "bool",
    }
)
INTENT_RETRIEVE: Spec = EXPAND | {"client_secret": "str"}
INTENT_CAPTURE: Spec = EXPAND | {
    "amount_details": "hash",
    "amount_to_capture": "int",
    "application_fee_amount": "int",
    "final_capture": "bool",
    "hooks": "hash",
    "metadata": "meta",
    "payment_details": "hash",
    "statement_descriptor": "str",
    "statement_descriptor_suffix": "str",
    "transfer_data": "hash",
}
INTENT_CANCEL: Spec = EXPAND | {
    "cancellation_reason": ("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
}
INTENT_LIST: Spec = PAGE | {"customer": "str", "customer_account": "str"}
CHARGE_LIST: Spec = PAGE | {"customer": "str", "payment_intent": "str", "transfer_group": "str"}
REFUND_CREATE: Spec = EXPAND | {
    "amount": "int",
    "charge": "str",
    "currency": "currency",
    "customer": "str",
    "instructions_email": "str",
    "metadata": "meta",
    "origin": ("customer_balance",),
    "payment_intent": "str",
    "reason": ("duplicate", "fraudulent", "requested_by_customer"),
    "refund_application_fee": "bool",
    "reverse_transfer": "bool",
}
REFUND_UPDATE: Spec = EXPAND | {"metadata": "meta"}
REFUND_LIST: Spec = PAGE | {"charge": "str", "payment_intent": "str"}
EVENT_LIST: Spec = PAGE | {"delivery_success": "bool", "type": "str", "types": "list"}
BALANCE_LIST: Spec = PAGE | {"currency": "str", "payout": "str", "source": "str", "type": "str"}
ENDPOINT_UPDATE: Spec = EXPAND | {
    "description": "str?",
    "disabled": "bool",
    "enabled_events": "list",
    "metadata": "meta",
    "url": "str",
}
ENDPOINT_CREATE: Spec = EXPAND | {
    "api_version": "str",
    "connect": "bool",
    "description": "str?",
    "enabled_events": "list!",
    "metadata": "meta",
    "url": "str!",
}
