"""Memberships of a customer: which there are, and whose they become."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tmt.billing.models import Invoice, Membership, StripeCustomer


def memberships_of(session: Session, customer_id: int) -> Sequence[Membership]:
    """All memberships of the customer, ended ones too, the newest first."""
    query = select(Membership).where(Membership.customer_id == customer_id)
    return session.scalars(query.order_by(Membership.id.desc())).all()


def move_memberships(session: Session, from_id: int, to_id: int) -> None:
    """Makes all memberships of one customer those of another, who is the same person.

    Where both have an open one of a family, the one that comes is in a family of its own from then
    on: both are true at Stripe, and both are charged until one of them is canceled.
    """
    in_use = {
        (each.family, each.account)
        for each in memberships_of(session, to_id)
        if not each.status.is_over
    }
    for each in memberships_of(session, from_id):
        if not each.status.is_over and (each.family, each.account) in in_use:
            each.family = f"{each.family[:60]}+{each.id}"
        each.customer_id = to_id
    for invoice in session.scalars(select(Invoice).where(Invoice.customer_id == from_id)):
        invoice.customer_id = to_id
    # Its subscriptions are found by their own ids.
    session.execute(delete(StripeCustomer).where(StripeCustomer.customer_id == from_id))
    session.flush()
