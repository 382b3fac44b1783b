"""What memberships give for an event, less what was used of it.

A use is a line of an order that is open or paid: what expires, is canceled or refunded in full can
be used again, what is returned ticket by ticket cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from tmt.billing.access import AccessReason, access_of, open_memberships
from tmt.billing.models import Membership
from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderLine, OrderStatus, PriceReason
from tmt.checkout.pricing import Benefits, Grant
from tmt.shop import Shop

_OPEN = (OrderStatus.HELD, OrderStatus.PROCESSING, OrderStatus.PAID)


def benefits_for(
    session: Session, shop: Shop, customer_id: int, event: Event, lock: bool = False
) -> Benefits:
    """What the customer's memberships give for the event now.

    With `lock`, in the transaction that uses them: then the limits hold however many orders are
    placed at once.
    """
    now, grace = shop.clock.now(), timedelta(days=shop.settings.grace_days)
    memberships = open_memberships(session, customer_id, grace, now, lock=lock)
    if not memberships:
        return Benefits()
    uses = _uses(session, memberships, event)
    grants: list[Grant] = []
    for each in memberships:
        is_paid = access_of(each, grace, now).reason == AccessReason.PAID
        grants += _grants(each, event, uses, is_paid=is_paid)
    presale = max(each.plan.presale_days for each in memberships)
    return Benefits(tuple(grants), timedelta(days=presale))


def _grants(
    membership: Membership,
    event: Event,
    uses: Counter[tuple[int, PriceReason]],
    *,
    is_paid: bool,
) -> Iterator[Grant]:
    """What is left of the plan's included places, if the period is paid for, and member prices."""
    plan, start = membership.plan, membership.period_start or membership.created_at
    reason = PriceReason.INCLUDED
    left = plan.included_places - uses[membership.id, reason]
    if left > 0 and is_paid:
        yield Grant(membership.id, start, reason, left, percent_off=100)
    reason = PriceReason.MEMBER_PRICE
    left = plan.member_places - uses[membership.id, reason]
    # An amount is one of the plan's currency.
    amount_off = (plan.member_amount_off or 0) if plan.currency == event.currency else 0
    if left > 0 and (plan.member_percent_off or amount_off):
        percent_off = plan.member_percent_off or 0
        yield Grant(membership.id, start, reason, left, percent_off, amount_off)


def _uses(
    session: Session, memberships: Sequence[Membership], event: Event
) -> Counter[tuple[int, PriceReason]]:
    """The tickets at member prices of the event, and the included ones of the period, by id."""
    is_included = OrderLine.reason == PriceReason.INCLUDED
    query = (
        select(
            OrderLine.membership_id,
            OrderLine.reason,
            OrderLine.period_start,
            func.sum(OrderLine.quantity),
        )
        .join(Order, Order.id == OrderLine.order_id)
        .where(OrderLine.membership_id.in_([each.id for each in memberships]))
        .where(or_(is_included, Order.event_id == event.id), Order.status.in_(_OPEN))
        .group_by(OrderLine.membership_id, OrderLine.reason, OrderLine.period_start)
    )
    starts = {each.id: each.period_start or each.created_at for each in memberships}
    uses: Counter[tuple[int, PriceReason]] = Counter()
    for membership_id, reason, start, count in session.execute(query):
        if membership_id is None or reason is None:
            continue
        if reason == PriceReason.MEMBER_PRICE or start == starts[membership_id]:
            uses[membership_id, reason] += int(count)
    return uses
