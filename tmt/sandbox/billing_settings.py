"""What the dashboard sets for billing: when failed payments are tried again, and what then.

Stripe has no API for it; the sandbox has its console.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tmt.sandbox.objects import DAY, Json
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import simulated_method
from tmt.sandbox.store import Store

_ID = _KIND = "billing_settings"
ENDINGS = ("cancel", "unpaid", "past_due", "pause")


@dataclass(frozen=True)
class BillingSettings:
    """The settings; all times are days.

    `retry_days` are counted from one attempt to the next; `after_retries` and `after_overdue` name
    what becomes of the subscription: one of ENDINGS. `upcoming_days` before a renewal,
    `invoice.upcoming` tells of it.
    """

    retry_days: tuple[int, ...] = (3, 5, 7)
    after_retries: str = "cancel"
    forgive_after_retries: bool = False
    overdue_days: int = 30
    after_overdue: str = "past_due"
    upcoming_days: int = 7

    @classmethod
    def load(cls, store: Store) -> BillingSettings:
        """The settings as they are."""
        body = store.get(_ID, _KIND) or {}
        values = {field.name: body[field.name] for field in fields(cls) if field.name in body}
        if "retry_days" in values:
            values["retry_days"] = tuple(values["retry_days"])
        return cls(**values)

    def save(self, store: Store) -> None:
        """Store the settings. Raises ValueError for what they cannot be."""
        if self.after_retries not in ENDINGS or self.after_overdue not in ENDINGS[:3]:
            raise ValueError(f"a subscription ends as one of {', '.join(ENDINGS)}")
        days = (*self.retry_days, self.overdue_days, self.upcoming_days)
        if len(self.retry_days) > 8 or not all(0 < day <= 365 for day in days):
            raise ValueError("at most 8 retries, and every span between 1 and 365 days")
        with store.transaction():
            store.put({"id": _ID, "object": _KIND, **self.as_json()})

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON."""
        return asdict(self) | {"retry_days": [*self.retry_days]}

    def changed(self, changes: Mapping[str, Any]) -> BillingSettings:
        """The settings with these changes, as JSON or as a form has them.

        Raises ValueError for a setting that there is not, or that is no number of days.
        """
        values: dict[str, Any] = {}
        for name, value in changes.items():
            if name in ("after_retries", "after_overdue"):
                values[name] = str(value)
            elif name == "forgive_after_retries":
                values[name] = value in (True, "yes")
            elif name == "retry_days":
                days = value.split() if isinstance(value, str) else value
                values[name] = tuple(int(day) for day in days)
            elif name in ("overdue_days", "upcoming_days"):
                values[name] = int(value)
            else:
                raise ValueError(f"billing has no setting {name!r}")
        return replace(self, **values)


def next_attempt(
    context: RequestContext, invoice: Json, attempts: int, method: str | None
) -> int | None:
    """When to charge the invoice again after so many attempts; None for never.

    A debit is not tried again.
    """
    days = BillingSettings.load(context.store).retry_days
    body = context.store.get(method or "", "payment_method")
    is_debit = body is not None and simulated_method(body).kind == "sepa_debit"
    if attempts > len(days) or is_debit or not invoice["auto_advance"]:
        return None
    return context.now + days[attempts - 1] * DAY
