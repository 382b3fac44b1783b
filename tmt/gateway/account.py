"""The Stripe account as its operator sees it: who is told of events, what it takes, its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from tmt.gateway import contract
from tmt.gateway.objects import plain

T = TypeVar("T")
# Makes a call to Stripe under a name, as `StripeGateway` does.
Caller = Callable[[str, Callable[[], Any]], Any]

ALL_EVENTS = "*"
_PAGE = 100


@dataclass(frozen=True)
class Endpoint:
    """A webhook endpoint. `api_version` is None when it goes by the account's default."""

    id: str
    url: str
    status: str
    api_version: str | None
    events: tuple[str, ...]

    def misses(self, events: Sequence[str]) -> list[str]:
        """Which of these events it is not told of."""
        return [] if ALL_EVENTS in self.events else sorted(set(events) - set(self.events))


@dataclass(frozen=True)
class Standing:
    """What the account may do; `due` is what Stripe wants to know of its owner."""

    charges_enabled: bool
    details_submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None


class Account:
    """One Stripe account. Every call raises `contract.GatewayError`."""

    def __init__(self, client: Any, call: Caller) -> None:
        """`client` is the SDK's; `call` makes the calls, as the gateway makes its own."""
        self._v1 = client.v1
        self._call = call

    def standing(self) -> Standing:
        """Whether the account may charge."""
        found = plain(self._call("account.retrieve", self._v1.accounts.retrieve_current))
        wanted = found.get("requirements") or {}
        due = {*(wanted.get("currently_due") or ()), *(wanted.get("past_due") or ())}
        return Standing(
            charges_enabled=bool(found.get("charges_enabled")),
            details_submitted=bool(found.get("details_submitted")),
            due=tuple(sorted(due)),
            disabled_reason=wanted.get("disabled_reason"),
        )

    def clock_ahead(self) -> float:
        """By how many seconds this machine's clock is ahead of Stripe's; negative when behind."""
        started = time.time()
        page = self._call("webhook_endpoints.list", self._listing(self._v1.webhook_endpoints, 1))
        here = (started + time.time()) / 2
        told = page.last_response.headers["Date"]
        # The header has whole seconds, cut off.
        return here - (parsedate_to_datetime(told).timestamp() + 0.5)

    def endpoints(self) -> list[Endpoint]:
        """Every webhook endpoint of the account; it may have no more than fit on a page."""
        listing = self._listing(self._v1.webhook_endpoints, _PAGE)
        return [_endpoint(item) for item in self._call("webhook_endpoints.list", listing).data]

    def create_endpoint(
        self, url: str, events: Sequence[str], description: str
    ) -> tuple[Endpoint, str]:
        """A webhook endpoint in our version of the API, and its secret, which is told only here."""
        params = {
            "url": url,
            "enabled_events": list(events),
            "api_version": contract.API_VERSION,
            "description": description,
        }
        create = self._v1.webhook_endpoints.create
        made = self._call("webhook_endpoints.create", lambda: create(params))
        return _endpoint(made), made.secret

    def update_endpoint(self, endpoint: str, events: Sequence[str]) -> Endpoint:
        """Has the endpoint, which may have been disabled, told of these events."""
        params = {"enabled_events": list(events), "disabled": False}
        update = self._v1.webhook_endpoints.update
        return _endpoint(self._call("webhook_endpoints.update", lambda: update(endpoint, params)))

    def methods(self) -> list[str]:
        """The payment methods that are switched on for the account's own payments, by name."""
        listing = self._listing(self._v1.payment_method_configurations, _PAGE)
        pages = self._call("payment_method_configurations.list", listing).data
        found = [c for c in map(plain, pages) if c.get("active") and not c.get("application")]
        counting = [c for c in found if c.get("is_default")] or found[:1]
        return sorted({name for c in counting for name, method in c.items() if _is_on(method)})

    def fraud_warnings(self, since: int) -> int:
        """How many payments since then (Unix seconds) a bank warns of; refunded ones left out."""
        listing = self._v1.radar.early_fraud_warnings.list
        params = {"created": {"gte": since}, "limit": _PAGE}
        found = self._call("radar.early_fraud_warnings.list", lambda: listing(params)).data
        return sum(bool(warning.actionable) for warning in found)

    def _listing(self, service: Any, limit: int) -> Callable[[], Any]:
        return lambda: service.list({"limit": limit})


def _endpoint(found: Any) -> Endpoint:
    return Endpoint(
        id=found.id,
        url=found.url,
        status=found.status,
        api_version=found.api_version,
        events=tuple(found.enabled_events),
    )


def _is_on(method: Any) -> bool:
    if not isinstance(method, Mapping):
        return False
    shown = (method.get("display_preference") or {}).get("value") == "on"
    return shown and bool(method.get("available"))
