"""Against card testing: an order that too many cards were declined for ends, and somebody is told.

Declines are counted as Stripe's stored events, which are unique: however often one is delivered
or handled, it counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderTransition
from tmt.checkout.states import ENDED, Cause, locked_order
from tmt.core import metrics
from tmt.gateway.contract import Gateway
from tmt.gateway.inbox import StripeEvent
from tmt.payments.expiry import end_hold
from tmt.payments.models import Payment
from tmt.payments.notices import notify
from tmt.shop import Shop

log = structlog.get_logger(__name__)

SUCCEEDED, FAILED = "payment_intent.succeeded", "payment_intent.payment_failed"
_WINDOW = timedelta(hours=1)
# An hour's outcomes are looked for among so many of the newest events.
_LOOKED_AT = 5000


@dataclass(frozen=True)
class Outcomes:
    """How the payments of the last hour ended, as far as Stripe has told."""

    succeeded: int
    failed: int

    @property
    def failed_share(self) -> float:
        """From 0 to 1; 0 when there was none."""
        return self.failed / max(self.succeeded + self.failed, 1)


def too_many(session: Session, payment_intent: str, most: int) -> bool:
    """Whether the PaymentIntent was declined `most` times or more often."""
    count = select(func.count()).where(
        StripeEvent.object_id == payment_intent, StripeEvent.type == FAILED
    )
    return (session.scalar(count) or 0) >= most


def end_after_declines(shop: Shop, gateway: Gateway, payment_intent: str) -> None:
    """Cancels the PaymentIntent and ends its order, once it was declined too often.

    An order that was paid meanwhile, or whose money is on its way, stands. Safe to repeat. Raises
    `GatewayError` when Stripe does not say.
    """
    with shop.db.reading() as session:
        if not too_many(session, payment_intent, shop.settings.declines_per_order):
            return
        query = select(Payment.order_id).where(Payment.payment_intent == payment_intent)
        order_id = session.scalars(query).one()
    end_hold(shop, gateway, order_id, Cause.DECLINES)

    def tell(session: Session) -> None:
        order = locked_order(session, order_id)
        # Whoever ended it: if this process dies before its answer is booked, another one hears.
        if order.status in ENDED:
            notify(session, "too_many_declines", order.code, order, shop.clock.now())

    shop.db.transaction(tell)
    shop.jobs.nudge("outbox")


def ended_by_declines(session: Session, order: Order) -> bool:
    """Whether the order was ended because too many cards were declined."""
    query = select(OrderTransition.id).where(
        OrderTransition.order_id == order.id,
        OrderTransition.cause == Cause.DECLINES,
        OrderTransition.to_status.in_(ENDED),
    )
    return session.scalar(query.limit(1)) is not None


def last_hour(session: Session, now: datetime) -> Outcomes:
    """The outcomes of the last hour, told apart by Stripe's events."""
    newest = (
        select(StripeEvent.type, StripeEvent.created_at)
        .order_by(StripeEvent.id.desc())
        .limit(_LOOKED_AT)
        .subquery()
    )
    query = select(newest.c.type, func.count()).where(
        newest.c.created_at > now - _WINDOW, newest.c.type.in_((SUCCEEDED, FAILED))
    )
    counts: dict[str, int] = dict(session.execute(query.group_by(newest.c.type)).all())
    return Outcomes(counts.get(SUCCEEDED, 0), counts.get(FAILED, 0))


def is_alarming(shop: Shop, outcomes: Outcomes) -> bool:
    """Whether so many payments failed, and so large a share, that cards are being tested."""
    settings = shop.settings
    return outcomes.failed >= settings.alarm_least and outcomes.failed_share > settings.alarm_share


def watch(shop: Shop) -> None:
    """Raises the alarm in log and metrics for as long as it lasts; for the jobs, every minute."""
    with shop.db.reading() as session:
        outcomes = last_hour(session, shop.clock.now())
    if is_alarming(shop, outcomes):
        metrics.decline_alarms.labels(shop.settings.mode).inc()
        log.error(
            "payments.many_declines",
            failed=outcomes.failed,
            succeeded=outcomes.succeeded,
            share=round(outcomes.failed_share, 2),
        )
