"""Whether a member has access: by status, what was paid, and grace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from tests.billing.members import add_member, add_plan
from tmt.billing.access import AccessReason, access, open_memberships
from tmt.customers.accounts import find_by_email
from tmt.gateway.types import SubscriptionStatus

NOW, DAY = datetime(2026, 11, 1, 12, tzinfo=UTC), timedelta(days=1)
GRACE = 7 * DAY
TABLE = [
    # status, paid through, end of a canceled one (days from now), reason, until
    ("active", 20, None, "paid", 20),
    ("trialing", 3, None, "paid", 3),
    # Canceled to end with the period: until then nothing changes.
    ("active", 20, 20, "paid", 20),
    # The renewal is on its way.
    ("active", 0, None, "grace", 7),
    ("past_due", -6, None, "grace", 1),
    ("past_due", -6.99, None, "grace", 0.01),
    ("past_due", -7, None, "suspended", 0),
    ("active", -30, None, "suspended", -23),
    # Past due of a charge that failed, while the period before it is still paid for.
    ("past_due", 2, None, "paid", 2),
    # The event of its end was lost.
    ("active", -1, -1, "ended", -1),
    ("past_due", -3, 2, "grace", 2),
    ("unpaid", -1, None, "suspended", -1),
    ("paused", 20, None, "paused", None),
    ("canceled", 20, None, "ended", None),
    ("incomplete_expired", None, None, "ended", None),
    ("incomplete", None, None, "not_paid", None),
    ("new", None, None, "not_paid", None),
    # A bank debit of the first invoice is on its way, for two days or for eight.
    ("active", None, None, "grace", 5),
    ("invented", 20, None, "unknown", None),
]


def days(number):
    return None if number is None else NOW + number * DAY


@pytest.mark.parametrize(("status", "paid", "ends", "reason", "until"), TABLE)
def test_access(status, paid, ends, reason, until):
    result = access(
        SubscriptionStatus(status),
        days(paid),
        GRACE,
        NOW,
        period_start=NOW - 2 * DAY,
        ends_at=days(ends),
    )
    assert (result.reason, result.until) == (AccessReason(reason), days(until))
    assert result.is_open == (reason in ("paid", "grace"))


@pytest.mark.parametrize("start", [None, NOW - 8 * DAY])
def test_a_first_invoice_that_is_never_paid_gives_no_access(start):
    result = access(SubscriptionStatus.ACTIVE, None, GRACE, NOW, period_start=start)
    assert (result.is_open, result.reason) == (False, AccessReason.NOT_PAID)


def test_who_has_access_is_one_query(shopfront):
    front, now = shopfront, shopfront.clock.now()
    plans = [add_plan(front, slug, family=slug) for slug in ("a", "b", "c", "d")]
    one = add_member(front, plans[0])
    add_member(front, plans[1], status=SubscriptionStatus.CANCELED)
    add_member(front, plans[2], status=SubscriptionStatus.PAST_DUE, paid_through=now - 8 * DAY)
    two = add_member(front, plans[3], status=SubscriptionStatus.PAST_DUE, paid_through=now - DAY)
    add_member(front, plans[0], "eva@example.com")
    statements = []
    with front.shop.db.reading() as session:
        ana = find_by_email(session, "ana@example.com")
        event.listen(session.get_bind(), "before_cursor_execute", lambda *a: statements.append(a))
        result = open_memberships(session, ana.id, GRACE, now)
        names = [each.plan.name_in("en") for each in result]
    assert [each.id for each in result] == [one, two]
    assert names == ["Friends of the venue"] * 2
    assert len(statements) == 1
