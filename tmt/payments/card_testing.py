"""Card testing: an order with too many declined cards ends, and the organiser is alerted.

Declines are counted as stored Stripe events, which are unique: however often one is delivered
or handled, it counts once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import String, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.checkout.models import Order, OrderStatus, OrderTransition
from tmt.checkout.states import Trigger, lock_order
from tmt.core import metrics
from tmt.core.database import Base, InsertIfAbsent
from tmt.gateway.errors import InvalidState
from tmt.gateway.inbox import IGNORED, InboxRow
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import PaymentIntentStatus
from tmt.payments.alerts import raise_alert
from tmt.payments.expiry import end_hold
from tmt.payments.models import Payment
from tmt.shop import Shop

log = structlog.get_logger(__name__)

SUCCEEDED_EVENT, FAILED_EVENT = "payment_intent.succeeded", "payment_intent.payment_failed"
_WINDOW = timedelta(hours=1)
# Only so many of the newest events are counted.
_MAX_EVENTS = 5000


# In these a PaymentIntent can be paid with yet another card.
_UNPAID = (
    PaymentIntentStatus.REQUIRES_PAYMENT_METHOD,
    PaymentIntentStatus.REQUIRES_CONFIRMATION,
    PaymentIntentStatus.REQUIRES_ACTION,
)
_LIFETIME = timedelta(days=365)


class ApiPaymentIntent(Base):
    """A PaymentIntent that the JSON endpoints created: it belongs to no order."""

    __tablename__ = "api_payment_intents"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[datetime]


_INSERT = InsertIfAbsent(ApiPaymentIntent, "id")


@dataclass(frozen=True)
class Outcomes:
    """How many payments succeeded and failed in the last hour, by Stripe's events."""

    succeeded: int
    failed: int

    @property
    def failed_share(self) -> float:
        """From 0 to 1; 0 when there was none."""
        return self.failed / max(self.succeeded + self.failed, 1)


def reached_decline_limit(session: Session, payment_intent: str, most: int) -> bool:
    """Whether the PaymentIntent was declined `most` times or more often."""
    count = select(func.count()).where(
        InboxRow.object_id == payment_intent, InboxRow.type == FAILED_EVENT
    )
    return (session.scalar(count) or 0) >= most


def end_after_declines(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Cancels the PaymentIntent and ends its order, once it was declined too often.

    An order that is paid or processing meanwhile stays as it is. Safe to repeat. Raises
    `GatewayError` when Stripe does not answer.
    """
    with shop.db.reading() as session:
        if not reached_decline_limit(session, payment_intent, shop.settings.declines_per_order):
            return
        query = select(Payment.order_id).where(Payment.payment_intent_id == payment_intent)
        order_id = session.scalars(query).one()
    end_hold(shop, gateway, order_id, Trigger.DECLINES)

    def alert(session: Session) -> None:
        order = lock_order(session, order_id)
        # Whoever ended it: if this process dies before it records that, another one comes here.
        if order.status.is_abandoned:
            raise_alert(session, "too_many_declines", order.code, order, shop.clock.now())

    shop.db.transaction(alert)
    shop.jobs.trigger("outbox")


def limit_declines(shop: Shop, payment_intent: str) -> None:
    """Has the declines of a PaymentIntent counted that a program created and that has no order."""
    row = {"id": payment_intent, "created_at": shop.clock.now()}
    shop.db.transaction(lambda session: _INSERT.run(session, row))


def cancel_after_declines(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Cancels such a PaymentIntent once it was declined too often; any other is left alone.

    Safe to repeat. Raises `GatewayError` when Stripe does not answer.
    """
    with shop.db.reading() as session:
        if session.get(ApiPaymentIntent, payment_intent) is None:
            return
        if not reached_decline_limit(session, payment_intent, shop.settings.declines_per_order):
            return
    intent = gateway.retrieve_payment_intent(payment_intent)
    if intent.status in _UNPAID:
        with suppress(InvalidState):
            gateway.cancel_payment_intent(payment_intent)
            log.warning("api.too_many_declines", payment_intent=payment_intent)


def purge_declines(shop: Shop) -> None:
    """Forgets PaymentIntents of programs that nobody has paid for a year; a job."""
    limit = shop.clock.now() - _LIFETIME

    def unit(session: Session) -> None:
        session.execute(delete(ApiPaymentIntent).where(ApiPaymentIntent.created_at < limit))

    shop.db.transaction(unit)


def ended_by_declines(session: Session, order: Order) -> bool:
    """Whether the order was ended because too many cards were declined."""
    query = select(OrderTransition.id).where(
        OrderTransition.order_id == order.id,
        OrderTransition.triggered_by == Trigger.DECLINES,
        OrderTransition.to_status.in_((OrderStatus.EXPIRED, OrderStatus.CANCELED)),
    )
    return session.scalar(query.limit(1)) is not None


def outcomes_last_hour(session: Session, now: datetime) -> Outcomes:
    """The outcomes of the last hour."""
    newest = (
        select(InboxRow.type, InboxRow.created_at)
        .where(func.coalesce(InboxRow.outcome, "") != IGNORED)
        .order_by(InboxRow.id.desc())
        .limit(_MAX_EVENTS)
        .subquery()
    )
    query = select(newest.c.type, func.count()).where(
        newest.c.created_at > now - _WINDOW, newest.c.type.in_((SUCCEEDED_EVENT, FAILED_EVENT))
    )
    counts: dict[str, int] = dict(session.execute(query.group_by(newest.c.type)).all())
    return Outcomes(counts.get(SUCCEEDED_EVENT, 0), counts.get(FAILED_EVENT, 0))


def exceeds_alert_threshold(shop: Shop, outcomes: Outcomes) -> bool:
    """Whether so many payments failed, and so large a share, that cards are being tested."""
    settings = shop.settings
    enough = outcomes.failed >= settings.decline_alert_min
    return enough and outcomes.failed_share > settings.decline_alert_share


def check_decline_rate(shop: Shop) -> None:
    """Reports a high share of declines in log and metrics, every minute that it lasts."""
    with shop.db.reading() as session:
        outcomes = outcomes_last_hour(session, shop.clock.now())
    if exceeds_alert_threshold(shop, outcomes):
        metrics.decline_rate_alerts.labels(shop.settings.mode).inc()
        log.error(
            "payments.decline_rate_high",
            failed=outcomes.failed,
            succeeded=outcomes.succeeded,
            share=round(outcomes.failed_share, 2),
        )
