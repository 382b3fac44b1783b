"""Members for tests: plans, and memberships as Stripe's answers would have left them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.shopfront import Shopfront
from tmt.billing.models import Membership, PlanPrice
from tmt.catalog.models import Plan
from tmt.customers.accounts import customer_for
from tmt.gateway.types import SubscriptionStatus


def add_plan(front: Shopfront, slug: str = "amigos", **changed: Any) -> int:
    """A plan with a price at Stripe; its id."""
    now = front.clock.now()
    values: dict[str, Any] = {
        "family": "amigos",
        "names": {"es": "Amigos de la sala", "en": "Friends of the venue"},
        "price": 1000,
        "currency": "usd",
        "interval": "month",
        "status": "published",
        "updated_at": now,
    }

    def unit(session: Session) -> int:
        plan = Plan(slug=slug, **values | changed)
        session.add(plan)
        session.flush()
        terms = {"amount": plan.price, "currency": plan.currency, "interval": plan.interval}
        ids = {"product_id": f"prod_{slug}", "price_id": f"price_{slug}"}
        row = PlanPrice(plan_id=plan.id, account=front.shop.db.account, **terms, **ids)
        row.created_at = row.key_created_at = now
        session.add(row)
        return plan.id

    return front.shop.db.transaction(unit)


def add_member(
    front: Shopfront, plan_id: int, email: str = "ana@example.com", **changed: Any
) -> int:
    """A membership of the customer with this address, active and paid for 20 days; its id."""
    now = front.clock.now()
    values: dict[str, Any] = {
        "status": SubscriptionStatus.ACTIVE,
        "period_start": now - timedelta(days=10),
        "period_end": now + timedelta(days=20),
        "paid_through": now + timedelta(days=20),
    }

    def unit(session: Session) -> int:
        customer_id = customer_for(session, front.shop, email, "Ana Ejemplo", "en")
        price = session.scalars(select(PlanPrice).where(PlanPrice.plan_id == plan_id)).one()
        row = Membership(customer_id=customer_id, plan_price_id=price.id, **values | changed)
        row.family, row.account = price.plan.family, price.account
        row.livemode, row.created_at, row.key_created_at = False, now, now
        session.add(row)
        session.flush()
        return row.id

    return front.shop.db.transaction(unit)
