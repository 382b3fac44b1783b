"""What every use case works with: the settings, the database, the time, the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from tmt.config import Settings
from tmt.core.clock import Clock
from tmt.core.db import Database
from tmt.core.jobs import Jobs


@dataclass(frozen=True)
class Shop:
    """One running shop; made once by the factory. Stripe is not in it: who calls Stripe says so."""

    settings: Settings
    db: Database
    clock: Clock
    jobs: Jobs
