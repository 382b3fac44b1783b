"""Random identifiers in Stripe's spelling."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.digits + string.ascii_letters


def token(length: int) -> str:
    """A random base-62 string; 24 characters carry more than 128 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_id(prefix: str) -> str:
    """A new object id, such as `pi_3Q…` for the prefix `pi_3`."""
    return prefix + token(24)
