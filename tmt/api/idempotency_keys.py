"""Idempotency keys that callers of the JSON endpoints send.

Every PaymentIntent carries the time of its request in its metadata, and Stripe refuses a key
that is used again with other parameters. So the time of a key's first request is stored, and its
repetitions are sent with the same time.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core.database import Base, InsertIfAbsent
from tmt.shop import Shop

# Stripe forgets a key after a day; from then on it identifies a new request.
_LIFETIME = timedelta(hours=24)
_PLAIN_LENGTH = 64


class ApiKey(Base):
    """When a caller's key was first used."""

    __tablename__ = "api_keys"

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    first_used_at: Mapped[datetime]


_INSERT = InsertIfAbsent(ApiKey, "key")


def gateway_key(key: str | None) -> str | None:
    """The caller's key as it goes to Stripe, prefixed: it can never be one of the shop's own."""
    if not key:
        return None
    if len(key) > _PLAIN_LENGTH or not key.isascii() or not key.isprintable():
        key = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return f"api-{key}"


def first_used_at(shop: Shop, key: str | None) -> datetime:
    """The timestamp of a request with this key: now, or the time of its first request."""
    now = shop.clock.now()
    if key is None:
        return now

    def unit(session: Session) -> datetime:
        _INSERT.run(session, {"key": key, "first_used_at": now})
        row = session.get_one(ApiKey, key, with_for_update=True)
        if row.first_used_at + _LIFETIME <= now:
            row.first_used_at = now
        return row.first_used_at

    return shop.db.transaction(unit)


def purge_expired_keys(shop: Shop) -> None:
    """Deletes keys that Stripe has forgotten long ago; a job."""
    limit = shop.clock.now() - 2 * _LIFETIME

    def unit(session: Session) -> None:
        session.execute(delete(ApiKey).where(ApiKey.first_used_at < limit))

    shop.db.transaction(unit)
