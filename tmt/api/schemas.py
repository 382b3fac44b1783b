"""What callers of the JSON endpoints send, checked exactly as the contract says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from tmt.core.errors import DomainError
from tmt.core.ids import is_stripe_id
from tmt.core.money import UnknownCurrency, known_currency, to_minor

NOT_JSON = "El cuerpo de la petición no es JSON válido"
BAD_AMOUNT = "El monto es requerido y debe ser mayor a 0"
BAD_CURRENCY = "La moneda no es válida"
BAD_DESCRIPTION = "La descripción no es válida"
BAD_METADATA = "Los metadatos no son válidos"
BELOW_FLOOR = "El monto es menor que el mínimo permitido"
NO_ID = "ID de Payment Intent es requerido"
BAD_ID = "El ID de Payment Intent no es válido"

# https://docs.stripe.com/metadata: 50 keys of 40 characters, values of 500.
_MAX_KEYS, _KEY_LENGTH, _VALUE_LENGTH = 50, 40, 500
_OWN_KEYS = {"platform", "timestamp"}
# The shop's own PaymentIntents are known by keys that begin with it.
_RESERVED = "tmt_"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
# More than any currency needs, and few enough that nothing overflows.
_MAX_DIGITS = 18
_MAX_WRITTEN = 200


NO_FLOORS: Mapping[str, int] = MappingProxyType({})


class BadRequest(DomainError):
    """The request is invalid; the message is the contract's and is sent to the caller."""


@dataclass(frozen=True)
class CreateRequest:
    """A checked request for a PaymentIntent; the amount is in minor units."""

    amount: int
    currency: str
    description: str
    metadata: Mapping[str, str]


def read_data(body: bytes) -> dict[str, Any]:
    """The object under `data`; its numbers are `Decimal`, exactly as in the JSON."""
    try:
        # A lone surrogate is valid as an escape in JSON, but cannot be encoded and sent to Stripe.
        parsed = json.loads(body, parse_float=_number, parse_int=_number, parse_constant=Decimal)
        json.dumps(parsed, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadRequest(NOT_JSON) from None
    if not isinstance(parsed, dict):
        raise BadRequest(NOT_JSON)
    data = parsed.get("data")
    return data if isinstance(data, dict) else {}


def read_create(data: Mapping[str, Any], floors: Mapping[str, int] = NO_FLOORS) -> CreateRequest:
    """The request for a PaymentIntent, or `BadRequest` with the contract's message.

    `floors` are the least amounts (minor units) by currency; with any, no other currency is taken.
    """
    decimal = _amount(data.get("amount"))
    currency = _currency(data.get("currency"))
    amount = to_minor(decimal, currency)
    if amount <= 0:
        raise BadRequest(BAD_AMOUNT)
    if floors and currency not in floors:
        raise BadRequest(BAD_CURRENCY)
    if amount < floors.get(currency, 0):
        raise BadRequest(BELOW_FLOOR)
    description = data.get("description")
    if description is None or description == "":
        description = "Compra de tickets"
    if not isinstance(description, str):
        raise BadRequest(BAD_DESCRIPTION)
    return CreateRequest(amount, currency, description, _metadata(data.get("metadata")))


def read_payment_intent_id(data: Mapping[str, Any]) -> str:
    """The id of the PaymentIntent that the request is about, or `BadRequest`."""
    value = data.get("payment_intent_id")
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(NO_ID)
    if not is_stripe_id(value):
        raise BadRequest(BAD_ID)
    return value


def _number(text: str) -> Decimal:
    """The exact number; infinite if its exponent is too large for a `Decimal`."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _amount(value: Any) -> Decimal:
    """A finite number above 0; a string may contain it."""
    # Its length is checked first: the pattern's time grows with the square of it.
    if isinstance(value, str) and len(value) <= _MAX_WRITTEN and _NUMBER.fullmatch(value):
        value = Decimal(value.strip())
    if not isinstance(value, Decimal) or not value.is_finite():
        raise BadRequest(BAD_AMOUNT)
    if value <= 0 or abs(value.adjusted()) > _MAX_DIGITS:
        raise BadRequest(BAD_AMOUNT)
    return value


def _currency(value: Any) -> str:
    if value is None:
        return "usd"
    if not isinstance(value, str):
        raise BadRequest(BAD_CURRENCY)
    try:
        return known_currency(value)
    except UnknownCurrency:
        raise BadRequest(BAD_CURRENCY) from None


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value.keys() | _OWN_KEYS) > _MAX_KEYS:
        raise BadRequest(BAD_METADATA)
    for key in value:
        # Stripe's form encoding reads brackets as nesting.
        if not 0 < len(key) <= _KEY_LENGTH or "[" in key or "]" in key:
            raise BadRequest(BAD_METADATA)
        if key.startswith(_RESERVED):
            raise BadRequest(BAD_METADATA)
    return {key: _metadata_value(item) for key, item in value.items()}


def _metadata_value(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if not isinstance(item, str | Decimal) or (isinstance(item, Decimal) and not item.is_finite()):
        raise BadRequest(BAD_METADATA)
    text = str(item)
    if len(text) > _VALUE_LENGTH:
        raise BadRequest(BAD_METADATA)
    return text
