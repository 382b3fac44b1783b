"""Joining: the membership's row and its key first, then Stripe, then what Stripe says."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from tmt.billing.models import Membership, PlanPrice, StripeCustomer
from tmt.billing.plans import ensure_price
from tmt.billing.sync import MEMBERSHIP, sync_subscription
from tmt.catalog.models import Plan, PlanStatus
from tmt.core.database import account_of
from tmt.core.errors import NotFound
from tmt.customers.models import Customer
from tmt.gateway.errors import UnreadableAnswer
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import ENDED_SUBSCRIPTIONS, StripeSubscription, SubscriptionStatus
from tmt.payments.idempotency import create_idempotently, new_call
from tmt.payments.ownership import SHOP, get_identity
from tmt.shop import Shop

log = structlog.get_logger(__name__)

# The entry of a customer's metadata at Stripe that names the row.
CUSTOMER = "tmt_customer"
_UNPAID = (SubscriptionStatus.NEW, SubscriptionStatus.INCOMPLETE)
# How often joining begins again because of what others did meanwhile; no charge is repeated.
_TRIES = 5


def join(shop: Shop, gateway: Gateway, customer_id: int, slug: str) -> Membership:
    """The customer's open membership of the plan's family: begun now, or the one that there is.

    However often it is called, there is one, with one subscription. One of another plan of the
    family that was never paid is ended first. Raises `NotFound` for a plan that nobody can join,
    `GatewayError`.
    """
    with shop.db.reading() as session:
        plan = find_plan(session, slug)
    price = ensure_price(shop, gateway, plan.id)

    def unit(session: Session) -> Membership:
        account = account_of(session)
        if existing := _open(session, customer_id, plan.family, account):
            return existing
        now, params = shop.clock.now(), {"price": price.price_id}
        row = Membership(customer_id=customer_id, plan_price_id=price.id, family=plan.family)
        row.account, row.livemode, row.created_at = account, shop.settings.livemode, now
        row.status = SubscriptionStatus.NEW
        for name, value in new_call(f"member-{customer_id}", params, now).items():
            setattr(row, name, value)
        session.add(row)
        session.flush()
        return row

    for _ in range(_TRIES):
        try:
            membership = shop.db.transaction(unit)
        except IntegrityError:
            # Another request was faster, and its membership is open.
            continue
        start(shop, gateway, membership.id)
        membership = get_membership(shop, membership.id)
        if membership.status.is_over:
            # It had ended at Stripe, and nobody had said so.
            continue
        if membership.plan.id == plan.id or membership.status not in _UNPAID:
            return membership
        end(shop, gateway, membership.id)
    raise UnreadableAnswer(f"no subscription to the plan {slug} stayed open")


def start(shop: Shop, gateway: Gateway, membership_id: int) -> StripeSubscription:
    """The membership's subscription as Stripe has it now, applied; created if there is none.

    Raises `GatewayError`; calling it again is safe.
    """
    membership = get_membership(shop, membership_id)
    subscription_id = membership.subscription_id
    if subscription_id is None:
        customer = _ensure_customer(shop, gateway, membership.customer_id)
        metadata = _metadata(shop, MEMBERSHIP, membership.id)
        price = str(membership.plan_price.price_id)
        created = create_idempotently(
            shop,
            membership,
            {"price": price},
            lambda key: gateway.billing.create_subscription(
                customer, price, metadata=metadata, key=key
            ),
            lambda: gateway.billing.find_subscription(customer, metadata),
        )
        subscription_id = created.id
    # Read again: what the call above says may have been repeated from an earlier one.
    return sync_subscription(shop, gateway, subscription_id)


def end(shop: Shop, gateway: Gateway, membership_id: int) -> None:
    """Ends the membership's subscription at once; nothing happens if it has ended."""
    membership = get_membership(shop, membership_id)
    if membership.subscription_id and not membership.status.is_over:
        gateway.billing.cancel_subscription(membership.subscription_id)
        sync_subscription(shop, gateway, membership.subscription_id)


def end_with_period(shop: Shop, gateway: Gateway, membership_id: int, *, ends: bool) -> None:
    """Cancels the membership to end with its period, or takes that back until then."""
    membership = get_membership(shop, membership_id)
    if membership.subscription_id is None:
        return
    subscription = sync_subscription(shop, gateway, membership.subscription_id)
    is_ending = subscription.cancel_at_period_end or subscription.cancel_at is not None
    if is_ending != ends and not subscription.status.is_over:
        gateway.billing.end_with_period(subscription.id, ends=ends)
        sync_subscription(shop, gateway, subscription.id)
        log.info("membership.end_changed", membership=membership_id, ends=ends)


def send_end(shop: Shop, gateway: Gateway, _key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: ends a membership whose first payment failed after all."""
    end(shop, gateway, payload["membership"])


def find_plan(session: Session, slug: str) -> Plan:
    """The plan of this slug, if it can be joined; raises `NotFound`."""
    query = select(Plan).where(Plan.slug == slug, Plan.status == PlanStatus.PUBLISHED)
    plan = session.scalar(query) if slug.isprintable() else None
    if plan is None:
        raise NotFound(f"no plan '{slug[:80]}'")
    return plan


def get_membership(shop: Shop, membership_id: int) -> Membership:
    """The membership of this id, with price and plan."""
    with shop.db.reading() as session:
        query = select(Membership).where(Membership.id == membership_id)
        loaded = joinedload(Membership.plan_price).joinedload(PlanPrice.plan)
        return session.scalars(query.options(loaded)).one()


def _open(session: Session, customer_id: int, family: str, account: str) -> Membership | None:
    query = select(Membership).where(
        Membership.customer_id == customer_id,
        Membership.family == family,
        Membership.account == account,
        Membership.status.not_in(ENDED_SUBSCRIPTIONS),
    )
    return session.scalar(query)


def _ensure_customer(shop: Shop, gateway: Gateway, customer_id: int) -> str:
    """The customer's id at Stripe, created there if there is none."""

    def unit(session: Session) -> tuple[StripeCustomer, Customer]:
        customer = session.get_one(Customer, customer_id, with_for_update=True)
        account = account_of(session)
        query = select(StripeCustomer).filter_by(customer_id=customer_id, account=account)
        row = session.scalar(query)
        if row is None:
            row = StripeCustomer(customer_id=customer_id, account=account)
            call = new_call(f"customer-{customer_id}", _params(customer), shop.clock.now())
            for name, value in call.items():
                setattr(row, name, value)
            session.add(row)
            session.flush()
        return row, customer

    row, customer = shop.db.transaction(unit)
    if row.stripe_id:
        return row.stripe_id
    metadata = _metadata(shop, CUSTOMER, customer_id)
    params = _params(customer)
    stripe_id = create_idempotently(
        shop,
        row,
        params,
        lambda key: gateway.billing.create_customer(**params, metadata=metadata, key=key),
        lambda: gateway.billing.find_customer(customer.email, metadata),
    )

    def store(session: Session) -> None:
        session.get_one(StripeCustomer, row.id, with_for_update=True).stripe_id = stripe_id

    shop.db.transaction(store)
    return stripe_id


def _params(customer: Customer) -> dict[str, str]:
    return {"email": customer.email, "name": customer.name, "locale": customer.locale}


def _metadata(shop: Shop, name: str, row_id: int) -> dict[str, str]:
    """What names the row at Stripe; other shops may use the same account."""
    with shop.db.reading() as session:
        return {SHOP: get_identity(session).shop_id, name: str(row_id)}
