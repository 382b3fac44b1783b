"""The audit: whether the shop's promises hold, of its database and of Stripe, at this moment.

I1 stock, I2 money, I3 tickets, I4 confirmations, I7 nothing left undone. It is meant for a shop
at rest: in one that sells, something may be on its way and gone at the next look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from tmt.gateway.stripe_api import Gateway
from tmt.operations.audit_database import database_breaches
from tmt.operations.audit_repair import Breach
from tmt.operations.audit_stripe import stripe_breaches
from tmt.shop import Shop

log = structlog.get_logger(__name__)


def audit(shop: Shop, gateway: Gateway | None) -> Iterator[Breach]:
    """Every breach, as it is found; Stripe is left out where there is no gateway.

    Raises `GatewayError`, after what the database shows, when Stripe cannot be asked.
    """
    yield from database_breaches(shop)
    if gateway is not None:
        yield from stripe_breaches(shop, gateway)


def repair(shop: Shop, gateway: Gateway, breaches: Sequence[Breach]) -> list[str]:
    """Mends what is safe to mend, each breach on its own; what of it could not be mended, and why.

    Afterwards the inbox and the outbox have run once.
    """
    failed = []
    for breach in breaches:
        if breach.repair is None:
            continue
        try:
            breach.repair(shop, gateway)
        except Exception as error:  # noqa: BLE001 - the others can be mended all the same
            failed.append(f"{breach.subject}: {type(error).__name__}: {error}")
            log.warning("audit.not_repaired", subject=breach.subject, error=type(error).__name__)
        else:
            log.info("audit.repaired", invariant=breach.invariant, subject=breach.subject)
    for duty in ("inbox", "outbox"):
        shop.jobs.run(duty)
    return failed
