"""Plans at Stripe: a product, and a price for each price that the plan has had.

The product's id and the lookup key of the price that new members pay come from the plan's slug. A
change of price is a new price there, which takes the key; members stay with the one that they have.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.billing.models import PlanPrice
from tmt.catalog.models import Plan, PlanStatus
from tmt.core.database import account_of
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import StripePrice
from tmt.payments.idempotency import create_idempotently, new_call
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# The entry of metadata that names the plan.
PLAN = "tmt_plan"


def send_plan(shop: Shop, gateway: Gateway, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: creates or updates the plan at Stripe, as it is now."""
    with shop.db.reading() as session:
        plan = session.get(Plan, payload["plan"])
    if plan and plan.status == PlanStatus.PUBLISHED:
        ensure_price(shop, gateway, plan.id)


def ensure_price(shop: Shop, gateway: Gateway, plan_id: int) -> PlanPrice:
    """The row of what new members pay, with its price at Stripe, created there if it was not.

    May run at any time, and again after it died anywhere. Raises `GatewayError`.
    """
    row, plan = shop.db.transaction(lambda session: _current_price(session, shop, plan_id))
    billing, lookup_key = gateway.billing, f"tmt_{plan.slug}"
    name = plan.name_in(shop.settings.language)
    metadata = {PLAN: plan.slug}
    latest = billing.find_price(lookup_key)

    def create(key: str) -> StripePrice:
        if latest is None:
            billing.ensure_product(lookup_key, name, metadata)
        return billing.create_price(
            latest.product if latest else lookup_key,
            row.amount,
            row.currency,
            row.interval,
            lookup_key=lookup_key,
            metadata=metadata,
            key=key,
        )

    def is_current(price: StripePrice | None) -> bool:
        terms = (row.amount, row.currency, row.interval)
        return price is not None and (price.amount, price.currency, price.interval) == terms

    if latest is None or not is_current(latest):
        # Looked up above, so that a repeated call finds what an earlier one created.
        params = _params(row)
        latest = create_idempotently(shop, row, params, create, lambda: None)
    if latest.product_name != name:
        billing.rename_product(latest.product, name)
    return shop.db.transaction(lambda session: _store(session, row.id, latest))


def _current_price(session: Session, shop: Shop, plan_id: int) -> tuple[PlanPrice, Plan]:
    """The newest row of the plan, for this account; a new one when the plan's price changed."""
    plan = session.get_one(Plan, plan_id, with_for_update=True)
    account = account_of(session)
    of_plan = select(PlanPrice).where(PlanPrice.plan_id == plan_id, PlanPrice.account == account)
    row = session.scalars(of_plan.order_by(PlanPrice.id.desc()).limit(1)).first()
    terms = (plan.price, plan.currency, plan.interval)
    if row is None or (row.amount, row.currency, row.interval) != terms:
        now = shop.clock.now()
        row = PlanPrice(plan_id=plan_id, account=account, created_at=now)
        row.amount, row.currency, row.interval = terms
        for name, value in new_call(f"plan-{plan_id}", _params(row), now).items():
            setattr(row, name, value)
        session.add(row)
        session.flush()
    return row, plan


def _params(row: PlanPrice) -> dict[str, Any]:
    return {"amount": row.amount, "currency": row.currency, "interval": row.interval}


def _store(session: Session, row_id: int, price: StripePrice) -> PlanPrice:
    row = session.get_one(PlanPrice, row_id)
    if row.price_id != price.id:
        row.product_id, row.price_id = price.product, price.id
        log.info("plan.price_stored", plan=row.plan_id, price=price.id)
    return row
