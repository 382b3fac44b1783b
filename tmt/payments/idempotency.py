"""One object at Stripe for each row that stands for a call, whatever happens to the answer.

The row has the call's idempotency key before the call is made. While Stripe remembers the key,
repeating the call is safe. Once it does not (a day later), or stored an error of its own under
it, or the parameters differ, the object is looked up at Stripe first, and only when it is not
there the call is made again with a new key. https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy.orm import Session

from tmt.core.ids import new_token
from tmt.gateway.errors import StripeServerError
from tmt.payments.models import IdempotentCall
from tmt.shop import Shop

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Stripe remembers a key for 24 hours; the hour less is for calls that are in progress.
_KEY_LIFETIME = timedelta(hours=23)


def new_call(prefix: str, params: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The `IdempotentCall` columns of a row whose call has not been made yet."""
    return {
        "idempotency_key": f"{prefix}-{new_token()}",
        "key_created_at": now,
        "key_exhausted": False,
        "params_hash": hash_params(params),
    }


def hash_params(params: Mapping[str, Any]) -> str:
    """The same for the same parameters."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def create_idempotently(
    shop: Shop,
    row: IdempotentCall,
    params: Mapping[str, Any],
    create: Callable[[str], T],
    look_up: Callable[[], T | None],
) -> T:
    """The object that `create(key)` creates at Stripe: created now, or by an earlier call.

    `row` stands for the call, as it was read; `look_up` finds what an earlier call created.
    Raises `GatewayError`; calling it again is safe.
    """
    key = _key_of(row)
    key_expired = shop.clock.now() - row.key_created_at >= _KEY_LIFETIME
    if key_expired or row.key_exhausted or row.params_hash != hash_params(params):
        existing = look_up()
        if existing is not None:
            return existing
        key = shop.db.transaction(lambda s: _replace_key(s, shop, row, params))
    try:
        return create(key)
    except StripeServerError:
        shop.db.transaction(lambda s: _mark_exhausted(s, row, key))
        raise


def _replace_key(
    session: Session, shop: Shop, row: IdempotentCall, params: Mapping[str, Any]
) -> str:
    """A new key for the row, unless another process has just replaced it."""
    current = _lock(session, row)
    if current.idempotency_key == row.idempotency_key:
        prefix = f"{row.__tablename__}-{row.id}"
        for name, value in new_call(prefix, params, shop.clock.now()).items():
            setattr(current, name, value)
        log.warning("idempotency.key_replaced", table=row.__tablename__, row=row.id)
    return _key_of(current)


def _key_of(row: IdempotentCall) -> str:
    if row.idempotency_key is None:
        raise ValueError(f"row {row.id} of {row.__tablename__} stands for no call of the shop's")
    return row.idempotency_key


def _mark_exhausted(session: Session, row: IdempotentCall, key: str) -> None:
    current = _lock(session, row)
    if current.idempotency_key == key:
        current.key_exhausted = True


def _lock(session: Session, row: IdempotentCall) -> IdempotentCall:
    return session.get_one(type(row), row.id, with_for_update=True)
