"""Plans of the catalogue file: what an import does to them, and how they are written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.catalog.file_format import CatalogueError, PlanData
from tmt.catalog.models import Plan, PlanStatus
from tmt.core import outbox
from tmt.core.money import to_major

_FIELDS = list(PlanData.model_fields)
_AMOUNTS = ("price", "member_amount_off")


@dataclass(frozen=True)
class Counts:
    """How many plans an import created, changed, and found as in the file."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


def import_plans(session: Session, plans: Sequence[PlanData], now: datetime) -> Counts:
    """Creates and updates the plans, found by their slug, in the caller's transaction.

    What Stripe has to be informed of is put into the outbox. Raises `CatalogueError` when a plan
    would move to another family: nobody can have two plans of one.
    """
    slugs = [data.slug for data in plans]
    locked = select(Plan).where(Plan.slug.in_(slugs)).order_by(Plan.id).with_for_update()
    existing = {plan.slug: plan for plan in session.scalars(locked)}
    errors = [
        f"plan '{data.slug}': family: must stay {existing[data.slug].family}; another family is"
        " another plan, with another slug"
        for data in plans
        if data.slug in existing and existing[data.slug].family != data.family
    ]
    if errors:
        raise CatalogueError(errors)
    updated = 0
    for position, data in enumerate(plans):
        plan = existing.get(data.slug) or Plan(slug=data.slug, version=0)
        before = plan_data(plan) if plan.id else None
        plan.position = position
        if before == data:
            continue
        updated += before is not None
        for name in _FIELDS:
            setattr(plan, name, getattr(data, name))
        plan.version, plan.updated_at = plan.version + 1, now
        session.add(plan)
        session.flush()
        if plan.status == PlanStatus.PUBLISHED:
            key = f"plan-{plan.id}-{plan.version}"
            outbox.put(session, "plan", key, {"plan": plan.id}, now)
    return Counts(len(plans) - len(existing), updated, len(existing) - updated)


def all_plans(session: Session) -> Sequence[Plan]:
    """All plans in their order, drafts too."""
    return session.scalars(select(Plan).order_by(Plan.position, Plan.id)).all()


def published_plans(session: Session) -> Sequence[Plan]:
    """The plans that can be joined, in their order."""
    query = select(Plan).where(Plan.status == PlanStatus.PUBLISHED)
    return session.scalars(query.order_by(Plan.position, Plan.id)).all()


def plan_data(plan: Plan) -> PlanData:
    """The plan as a file would have it; what is in the database is not checked again."""
    return PlanData.model_construct(**{name: getattr(plan, name) for name in _FIELDS})


def plan_row(data: PlanData) -> dict[str, Any]:
    """The fields in their order, as they are written: major units, nothing that goes unsaid."""
    row = {}
    for name, value in data:
        field = PlanData.model_fields[name]
        if field.is_required() or value != field.default:
            row[name] = to_major(value, data.currency) if name in _AMOUNTS else value
    return row | {"currency": data.currency.upper()}
