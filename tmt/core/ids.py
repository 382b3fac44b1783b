"""Public ids: unguessable tokens, and codes to read out."""

from __future__ import annotations

import base64
import re
import secrets

# Without 0/O, 1/I/L, U/V and the like: they are read out at the door or on the phone.
_READABLE = "23456789ABCDEFGHJKMNPQRSTWXYZ"
_TOKEN_BYTES = 16
_STRIPE_ID = re.compile(r"[A-Za-z0-9_]{1,255}")


def new_token() -> str:
    """128 random bits in 22 URL-safe characters, such as the token in an order's address."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def new_ticket_code() -> str:
    """128 random bits as 26 characters of base32: the secret in a ticket's QR code."""
    return base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def new_order_code() -> str:
    """Eight characters that people can read out. It names an order and gives no access to it."""
    return "".join(secrets.choice(_READABLE) for _ in range(8))


def is_stripe_id(text: str) -> bool:
    """Whether the text can be the id of an object at Stripe; no other goes into a URL or a log."""
    return _STRIPE_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether the text looks like a `new_token`; so that invalid ones need no query."""
    return len(text) == 22 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)
