"""Whether a member has what the plan comes with: computed each time, stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from tmt.billing.models import Membership, PlanPrice
from tmt.core.database import account_of, belongs_to
from tmt.gateway.types import ENDED_SUBSCRIPTIONS, SubscriptionStatus

_BILLED = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAST_DUE)


class AccessReason(StrEnum):
    """Why a member has access, or has none."""

    PAID = "paid"
    # The period is over or past due; there is time to pay.
    GRACE = "grace"
    # The first invoice is not paid.
    NOT_PAID = "not_paid"
    # A later invoice was not paid in time.
    SUSPENDED = "suspended"
    PAUSED = "paused"
    ENDED = "ended"
    # A status that this version of the API does not list.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Access:
    """Whether there is access and why; until when, or when it ended, where that can be said."""

    is_open: bool
    reason: AccessReason
    until: datetime | None = None


def access(
    status: SubscriptionStatus,
    paid_through: datetime | None,
    grace: timedelta,
    now: datetime,
    *,
    period_start: datetime | None = None,
    ends_at: datetime | None = None,
) -> Access:
    """What a subscription of this status gives now.

    `paid_through` is the end of the last period whose invoice was paid. Where none was paid and
    Stripe says that the subscription is active, as with a bank debit on its way, the grace begins
    with the period. `ends_at` is when it was canceled to end.
    """
    if status in ENDED_SUBSCRIPTIONS or (ends_at is not None and ends_at <= now):
        return Access(False, AccessReason.ENDED, ends_at)
    if status in (SubscriptionStatus.NEW, SubscriptionStatus.INCOMPLETE):
        return Access(False, AccessReason.NOT_PAID)
    if status == SubscriptionStatus.PAUSED:
        return Access(False, AccessReason.PAUSED)
    if status == SubscriptionStatus.UNPAID:
        return Access(False, AccessReason.SUSPENDED, paid_through)
    if status not in _BILLED:
        return Access(False, AccessReason.UNKNOWN)
    if paid_through is not None and now < paid_through:
        return Access(True, AccessReason.PAID, paid_through)
    base = paid_through or period_start
    if base is None:
        return Access(False, AccessReason.NOT_PAID)
    last = base + grace if ends_at is None else min(base + grace, ends_at)
    if now < last:
        return Access(True, AccessReason.GRACE, last)
    return Access(False, AccessReason.SUSPENDED if paid_through else AccessReason.NOT_PAID, last)


def access_of(membership: Membership, grace: timedelta, now: datetime) -> Access:
    """What this membership gives now."""
    return access(
        membership.status,
        membership.paid_through,
        grace,
        now,
        period_start=membership.period_start,
        ends_at=membership.ends_at,
    )


def open_memberships(
    session: Session, customer_id: int, grace: timedelta, now: datetime, *, lock: bool = False
) -> Sequence[Membership]:
    """The memberships with which the customer has access now, with their plans; in one query.

    With `lock` their rows are locked, so that uses of their benefits are counted one after the
    other.
    """
    query = (
        select(Membership)
        .where(Membership.customer_id == customer_id)
        .where(Membership.status.in_(_BILLED))
        .where(belongs_to(Membership.account, account_of(session)))
        .options(joinedload(Membership.plan_price).joinedload(PlanPrice.plan))
        .order_by(Membership.id)
    )
    if lock:
        query = query.with_for_update(of=Membership).execution_options(populate_existing=True)
    rows = session.scalars(query).all()
    return [each for each in rows if access_of(each, grace, now).is_open]
