"""Ids that people or strangers see: unguessable tokens and codes to read out."""

from __future__ import annotations

import base64
import secrets

# Without 0/O, 1/I/L, U/V and the like: made for reading out at the door or on the phone.
_SPOKEN = "23456789ABCDEFGHJKMNPQRSTWXYZ"
_TOKEN_BYTES = 16


def new_token() -> str:
    """128 random bits in 22 URL-safe characters: what opens an order."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def new_ticket_code() -> str:
    """128 random bits as 26 characters of base32: what a ticket's QR carries."""
    return base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def new_order_code() -> str:
    """Eight characters that people can read out. It names an order, it does not open it."""
    return "".join(secrets.choice(_SPOKEN) for _ in range(8))


def is_token(text: str) -> bool:
    """Whether the text has the shape of `new_token`; spares the database made-up addresses."""
    return len(text) == 22 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)
