"""Public ids: unguessable tokens, codes to read out, and hashes that need a secret."""

from __future__ import annotations

import base64
import hashlib
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


def keyed_hash(secret_key: str, text: str, size: int = 16) -> str:
    """A hash of `size` bytes in hex, which nobody without the secret key can make or search for."""
    # The key of BLAKE2b is at most 64 bytes long, SECRET_KEY may be longer.
    key = hashlib.sha256(secret_key.encode()).digest()
    return hashlib.blake2b(text.encode(), key=key, digest_size=size).hexdigest()


def is_stripe_id(text: str) -> bool:
    """Whether the text can be the id of an object at Stripe; no other goes into a URL or a log."""
    return _STRIPE_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether the text looks like a `new_token`; so that invalid ones need no query."""
    return len(text) == 22 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)
