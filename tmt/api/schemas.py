"""What callers of the JSON endpoints send, checked to the letter of the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from tmt.core.errors import DomainError
from tmt.core.money import UnknownCurrency, known_currency, to_minor

NOT_JSON = "El cuerpo de la petición no es JSON válido"
BAD_AMOUNT = "El monto es requerido y debe ser mayor a 0"
BAD_CURRENCY = "La moneda no es válida"
BAD_DESCRIPTION = "La descripción no es válida"
BAD_METADATA = "Los metadatos no son válidos"
NO_ID = "ID de Payment Intent es requerido"

# https://docs.stripe.com/metadata: 50 keys of 40 characters, values of 500.
_MOST_KEYS, _KEY_LENGTH, _VALUE_LENGTH = 50, 40, 500
_OWN_KEYS = {"platform", "timestamp"}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
# More than any currency needs, and few enough that nothing overflows.
_MOST_DIGITS = 18


class BadRequest(DomainError):
    """The request is wrong; the message is the contract's and goes to the caller."""


@dataclass(frozen=True)
class CreateRequest:
    """A checked request for a PaymentIntent; the amount is in minor units."""

    amount: int
    currency: str
    description: str
    metadata: Mapping[str, str]


def read_data(body: bytes) -> dict[str, Any]:
    """The object under `data`; numbers with decimals are `Decimal`, as they were written."""
    try:
        # A lone surrogate is valid in JSON's escapes but is no text that could be sent on.
        parsed = json.loads(body, parse_float=_number, parse_int=_number, parse_constant=Decimal)
        json.dumps(parsed, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadRequest(NOT_JSON) from None
    if not isinstance(parsed, dict):
        raise BadRequest(NOT_JSON)
    data = parsed.get("data")
    return data if isinstance(data, dict) else {}


def read_create(data: Mapping[str, Any]) -> CreateRequest:
    """The request for a PaymentIntent, or `BadRequest` with the contract's message."""
    amount = _decimal(data.get("amount"))
    currency = _currency(data.get("currency"))
    minor = to_minor(amount, currency)
    if minor <= 0:
        raise BadRequest(BAD_AMOUNT)
    return CreateRequest(
        minor, currency, _description(data.get("description")), _metadata(data.get("metadata"))
    )


def read_payment_intent_id(data: Mapping[str, Any]) -> str:
    """The id that was asked about, or `BadRequest`."""
    found = data.get("payment_intent_id")
    if not isinstance(found, str) or not found.strip():
        raise BadRequest(NO_ID)
    return found.strip()


def _number(text: str) -> Decimal:
    """The number as it was written; infinite when its exponent is beyond every decimal."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _decimal(value: Any) -> Decimal:
    """A finite number above 0, given as a number or as a text that holds one."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value.strip())
    if not isinstance(value, Decimal) or not value.is_finite():
        raise BadRequest(BAD_AMOUNT)
    if value <= 0 or abs(value.adjusted()) > _MOST_DIGITS:
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


def _description(value: Any) -> str:
    if value is None or value == "":
        return "Compra de tickets"
    if not isinstance(value, str):
        raise BadRequest(BAD_DESCRIPTION)
    return value


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value.keys() | _OWN_KEYS) > _MOST_KEYS:
        raise BadRequest(BAD_METADATA)
    return {_key(key): _value(item) for key, item in value.items()}


def _key(key: str) -> str:
    # Brackets would be read as nesting in the form that Stripe takes.
    if not 0 < len(key) <= _KEY_LENGTH or "[" in key or "]" in key:
        raise BadRequest(BAD_METADATA)
    return key


def _value(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if not isinstance(item, str | Decimal) or (isinstance(item, Decimal) and not item.is_finite()):
        raise BadRequest(BAD_METADATA)
    text = str(item)
    if len(text) > _VALUE_LENGTH:
        raise BadRequest(BAD_METADATA)
    return text
