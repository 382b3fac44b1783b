"""The audit: whether the shop keeps its promises, by its database and by Stripe.

I1 stock, I2 money, I3 tickets, I4 confirmations, I7 nothing left undone. It is meant for a shop
where nothing is happening: while tickets are sold, a breach may be gone when it is checked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from tmt.gateway.stripe_api import Gateway
from tmt.operations.audit_database import database_breaches
from tmt.operations.audit_repair import Breach
from tmt.operations.audit_stripe import stripe_breaches
from tmt.shop import Shop

__all__ = ["Breach", "audit", "repair"]

log = structlog.get_logger(__name__)


def audit(shop: Shop, gateway: Gateway | None) -> Iterator[Breach]:
    """Every breach, one by one; without a gateway only those that the database shows.

    Raises `GatewayError`, after the breaches of the database, when Stripe does not answer.
    """
    yield from database_breaches(shop)
    if gateway is not None:
        yield from stripe_breaches(shop, gateway)


def repair(
    shop: Shop, gateway: Gateway, breaches: Sequence[Breach], *, refund_unknown: bool = False
) -> list[str]:
    """Repairs each breach that has a repair, then runs the inbox and the outbox once.

    With `refund_unknown` payments that no order has are refunded too. Returns a line for each
    repair that failed.
    """
    failed = []
    for breach in breaches:
        repairs = [breach.repair, breach.refund if refund_unknown else None]
        if not any(repairs):
            continue
        try:
            for act in filter(None, repairs):
                act(shop, gateway)
        except Exception as error:  # noqa: BLE001 - one failed repair must not stop the others
            failed.append(f"{breach.subject}: {type(error).__name__}: {error}")
            log.warning("audit.repair_failed", subject=breach.subject, error=type(error).__name__)
        else:
            log.info("audit.repaired", invariant=breach.invariant, subject=breach.subject)
    for job in ("inbox", "outbox"):
        shop.jobs.run(job)
    return failed
