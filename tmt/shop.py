"""What every use case works with: the settings, the database, the clock, the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from tmt.config import Settings
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.jobs import Jobs


@dataclass(frozen=True)
class Shop:
    """One running shop, created by the factory.

    The gateway is not in it: a function that calls Stripe has it as a parameter.
    """

    settings: Settings
    db: Database
    clock: Clock
    jobs: Jobs
