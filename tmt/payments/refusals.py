"""What Stripe refuses for good, or answers so that it cannot be read: reported until it is mended.

Repeating such a call does not help. The first one of its kind raises an alert. That of a refusal is
resolved when the same call succeeds again, that of an unreadable answer by a person, as the next
answer is about something else. It is opened again when it comes back within a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.core.errors import Unavailable
from tmt.gateway.errors import (
    AuthenticationFailed,
    GatewayError,
    InvalidRequest,
    PermissionDenied,
    UnreadableAnswer,
)
from tmt.payments.alerts import raise_alert
from tmt.payments.models import OperatorAlert
from tmt.shop import Shop

log = structlog.get_logger(__name__)

KEYS_REFUSED, NOT_PERMITTED = "stripe_keys_refused", "stripe_not_permitted"
REQUEST_REFUSED, UNREADABLE = "stripe_request_refused", "stripe_unreadable"
KINDS = (KEYS_REFUSED, NOT_PERMITTED, REQUEST_REFUSED, UNREADABLE)

# Calls that the shop needs; what only flask doctor reads may be closed to a restricted key.
_NEEDED = ("payment_intents.", "refunds.", "charges.", "disputes.", "events.", "prices.")
# A request of these may be refused because of what a caller or an operator asks for: whoever makes
# the call reports it, if it is the shop's own.
_REPORTED_BY_CALLERS = ("payment_intents.create", "payment_intents.retrieve", "refunds.create")
_REOPENED_WITHIN = timedelta(days=1)
_MAX_REASON = 300


def is_lasting(error: GatewayError) -> bool:
    """Whether repeating the call will not help before somebody has done something about it."""
    return isinstance(error, InvalidRequest | UnreadableAnswer)


def observe(shop: Shop, operation: str, error: GatewayError | None) -> None:
    """Notes the outcome of a call to Stripe (None: it succeeded). Never raises."""
    try:
        if error is None:
            _resolve(shop, operation)
        elif operation.startswith(_NEEDED) and (
            isinstance(error, AuthenticationFailed | UnreadableAnswer)
            or (isinstance(error, InvalidRequest) and operation not in _REPORTED_BY_CALLERS)
        ):
            report_refusal(shop, operation, error)
    except (SQLAlchemyError, Unavailable) as failure:
        # The call's own result counts; the next call notes it again.
        log.error("stripe.refusal_not_stored", operation=operation, error=type(failure).__name__)


def report_refusal(
    shop: Shop, operation: str, error: GatewayError, order_id: int | None = None
) -> None:
    """Logs the refusal, and raises its alert unless that is open."""
    log.error("stripe.refused", operation=operation, error=error.name, code=error.code)
    kind = _kind(error)
    subject = "" if kind in (KEYS_REFUSED, UNREADABLE) else operation
    details = {"operation": operation, "code": error.code}
    if kind == REQUEST_REFUSED:
        # Stripe's text about a key quotes a part of it.
        details["reason"] = (error.user_message or str(error))[:_MAX_REASON]
        subject = f"{operation} {error.code or ''}".strip()[:80]

    def unit(session: Session) -> None:
        now = shop.clock.now()
        newest = session.scalars(
            select(OperatorAlert)
            .where(OperatorAlert.kind == kind, OperatorAlert.key.startswith(f"{kind}-{subject}#"))
            .order_by(OperatorAlert.id.desc())
            .limit(1)
            .with_for_update()
        ).first()
        if newest and (newest.resolved_at is None or now - newest.resolved_at < _REOPENED_WITHIN):
            newest.resolved_at = None
            return
        order = session.get_one(Order, order_id) if order_id else None
        key = f"{subject}#{newest.id if newest else 0}"
        raise_alert(session, kind, key, order, now, **details)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def open_refusals(session: Session) -> Sequence[OperatorAlert]:
    """What Stripe refuses at present, oldest first."""
    query = select(OperatorAlert).where(
        OperatorAlert.kind.in_(KINDS), OperatorAlert.resolved_at.is_(None)
    )
    return session.scalars(query.order_by(OperatorAlert.id)).all()


def _kind(error: GatewayError) -> str:
    if isinstance(error, UnreadableAnswer):
        return UNREADABLE
    if isinstance(error, PermissionDenied):
        return NOT_PERMITTED
    return KEYS_REFUSED if isinstance(error, AuthenticationFailed) else REQUEST_REFUSED


def _resolve(shop: Shop, operation: str) -> None:
    """Resolves what the success of this operation disproves."""
    with shop.db.reading() as session:
        mended = [
            alert.id
            for alert in open_refusals(session)
            if alert.kind == KEYS_REFUSED
            or (alert.kind != UNREADABLE and alert.details.get("operation") == operation)
        ]
    if not mended:
        return

    def unit(session: Session) -> None:
        for alert_id in mended:
            session.get_one(OperatorAlert, alert_id).resolved_at = shop.clock.now()

    shop.db.transaction(unit)
    log.info("stripe.accepted_again", operation=operation)
