"""One call to Stripe for each row that stands for one, whatever happens to its answer.

The row has the call's idempotency key before the call is made. While Stripe keeps the key, the
same call is the same thing. Once it does not (a day later), or keeps an error of its own under
it, or the parameters are others, the thing is looked up at Stripe first, and only when it is not
there it is done with another key. https://docs.stripe.com/api/idempotent_requests
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
from tmt.gateway.contract import StripeBroke
from tmt.payments.models import Payment, Refund
from tmt.shop import Shop

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Stripe keeps a key for 24 hours; the hour less is for calls that are on their way.
_KEY_KEPT = timedelta(hours=23)


def new_attempt(prefix: str, params: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The columns of an attempt that begins now."""
    return {
        "idempotency_key": f"{prefix}-{new_token()}",
        "key_made_at": now,
        "key_spent": False,
        "params_hash": hash_of(params),
    }


def hash_of(params: Mapping[str, Any]) -> str:
    """The same for the same parameters."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def once(
    shop: Shop,
    row: Payment | Refund,
    params: Mapping[str, Any],
    create: Callable[[str], T],
    look_up: Callable[[], T | None],
) -> T:
    """What `create(key)` makes at Stripe: made now, or before.

    `row` is the attempt's row as it was read; `look_up` finds what an earlier call has made.
    Raises `GatewayError`; the same again is safe.
    """
    key = row.idempotency_key
    assert key, "this row stands for nothing that the shop calls for"
    doubtful = shop.clock.now() - row.key_made_at >= _KEY_KEPT or row.key_spent
    if doubtful or row.params_hash != hash_of(params):
        found = look_up()
        if found is not None:
            return found
        key = shop.db.transaction(lambda s: _renew(s, shop, row, params))
    try:
        return create(key)
    except StripeBroke:
        shop.db.transaction(lambda s: _spend(s, row, key))
        raise


def _renew(session: Session, shop: Shop, row: Payment | Refund, params: Mapping[str, Any]) -> str:
    """Another key for the row, unless somebody else has just given it one."""
    standing = _locked(session, row)
    if standing.idempotency_key == row.idempotency_key:
        prefix = f"{row.__tablename__}-{row.id}"
        for name, value in new_attempt(prefix, params, shop.clock.now()).items():
            setattr(standing, name, value)
        log.warning("attempt.renewed", kind=type(row).__name__, row=row.id)
    assert standing.idempotency_key
    return standing.idempotency_key


def _spend(session: Session, row: Payment | Refund, key: str) -> None:
    standing = _locked(session, row)
    if standing.idempotency_key == key:
        standing.key_spent = True


def _locked(session: Session, row: Payment | Refund) -> Payment | Refund:
    if isinstance(row, Payment):
        return session.get_one(Payment, row.id, with_for_update=True)
    return session.get_one(Refund, row.id, with_for_update=True)
