"""Stripe's Charges as callers without a token get them."""

from __future__ import annotations

from typing import Any

# At any depth of a charge: who paid, where from, with which card or account; and what tells
# somebody who tries stolen cards which of their details were right. `tests/api/test_access.py`
# compares with Stripe's types, so that each new field is decided on.
_PRIVATE = frozenset(
    """
    shipping receipt_email receipt_url receipt_number fingerprint checks risk_level risk_score rule
    name email phone address tax_id verified_name verified_email verified_phone verified_address
    payer_name payer_email payer_id payer_address payer_details buyer_id buyer_account
    account_holder_name account_number cashtag billing_address shipping_address receipt
    customer_device_data fraud_details radar_options source
    cardholder_name vpa buyer_address transaction_hash iban iban_last4 pay_id verified_phone_last4
    shipping_address_zip customer_reference iin emv_auth_data instructions_email email_sent_to
    bic swift_code sort_code routing_number bsb_number branch_code transit_number
    institution_number suffix
    """.split()
)
# The caller's own, as it was sent.
_UNTOUCHED = frozenset({"metadata"})


def without_payer(charge: Any) -> Any:
    """The charge, or a part of one, with null for what names the payer or helps a thief."""
    if isinstance(charge, list):
        return [without_payer(item) for item in charge]
    if not isinstance(charge, dict):
        return charge
    return {
        key: value if key in _UNTOUCHED else _public(key, value) for key, value in charge.items()
    }


def _public(key: str, value: Any) -> Any:
    if key == "billing_details" and isinstance(value, dict):
        return dict.fromkeys(value)
    return None if key in _PRIVATE else without_payer(value)
