"""The Stripe account's own settings: webhook endpoints, payment methods, restrictions, clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from tmt.gateway import parsing, types

T = TypeVar("T")


class Caller(Protocol):
    """Makes a call to Stripe under a name and reads its answer, as `Gateway` does."""

    def __call__(self, operation: str, call: Callable[[], Any], parse: Callable[[Any], T]) -> T: ...


ALL_EVENTS = "*"
_PAGE = 100


@dataclass(frozen=True)
class WebhookEndpoint:
    """A webhook endpoint. `api_version` is None when it goes by the account's default."""

    id: str
    url: str
    status: str
    api_version: str | None
    events: tuple[str, ...]

    def misses(self, events: Sequence[str]) -> list[str]:
        """Which of these events it is not subscribed to."""
        return [] if ALL_EVENTS in self.events else sorted(set(events) - set(self.events))


@dataclass(frozen=True)
class AccountStatus:
    """What the account may do; `due` is what Stripe requires of its owner."""

    charges_enabled: bool
    details_submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None


class Account:
    """One Stripe account. Every call raises `GatewayError`."""

    def __init__(self, client: Any, call: Caller) -> None:
        """`client` is the SDK's; `call` makes the calls, as the gateway makes its own."""
        self._v1 = client.v1
        self._call = call

    def status(self) -> AccountStatus:
        """Whether the account may charge."""
        account = self._call(
            "account.retrieve", self._v1.accounts.retrieve_current, parsing.to_json
        )
        requirements = account.get("requirements") or {}
        due = {*(requirements.get("currently_due") or ()), *(requirements.get("past_due") or ())}
        return AccountStatus(
            charges_enabled=bool(account.get("charges_enabled")),
            details_submitted=bool(account.get("details_submitted")),
            due=tuple(sorted(due)),
            disabled_reason=requirements.get("disabled_reason"),
        )

    def clock_ahead(self) -> float:
        """By how many seconds this machine's clock is ahead of Stripe's; negative when behind."""
        started = time.time()
        stripes = self._call(
            "webhook_endpoints.list",
            self._listing(self._v1.webhook_endpoints, 1),
            lambda page: parsedate_to_datetime(page.last_response.headers["Date"]).timestamp(),
        )
        local = (started + time.time()) / 2
        # The header has whole seconds, cut off.
        return local - (stripes + 0.5)

    def endpoints(self) -> list[WebhookEndpoint]:
        """Every webhook endpoint of the account; it may have no more than fit on a page."""
        listing = self._listing(self._v1.webhook_endpoints, _PAGE)
        return self._call(
            "webhook_endpoints.list", listing, lambda page: [_endpoint(one) for one in page.data]
        )

    def create_endpoint(
        self, url: str, events: Sequence[str], description: str
    ) -> tuple[WebhookEndpoint, str]:
        """A webhook endpoint in our API version, and its secret, which Stripe shows only now."""
        params = {
            "url": url,
            "enabled_events": list(events),
            "api_version": types.API_VERSION,
            "description": description,
        }
        create = self._v1.webhook_endpoints.create
        return self._call(
            "webhook_endpoints.create",
            lambda: create(params),
            lambda created: (_endpoint(created), str(created.secret)),
        )

    def update_endpoint(self, endpoint: str, events: Sequence[str]) -> WebhookEndpoint:
        """Enables the endpoint and subscribes it to these events."""
        params = {"enabled_events": list(events), "disabled": False}
        update = self._v1.webhook_endpoints.update
        return self._call("webhook_endpoints.update", lambda: update(endpoint, params), _endpoint)

    def payment_methods(self) -> list[str]:
        """The payment methods that are switched on for the account's own payments, by name."""
        listing = self._listing(self._v1.payment_method_configurations, _PAGE)
        listed = self._call(
            "payment_method_configurations.list",
            listing,
            lambda page: [parsing.to_json(one) for one in page.data],
        )
        configurations = [c for c in listed if c.get("active") and not c.get("application")]
        used = [c for c in configurations if c.get("is_default")] or configurations[:1]
        return sorted({name for c in used for name, method in c.items() if _is_on(method)})

    def fraud_warnings(self, since: int) -> int:
        """How many payments since then (Unix seconds) a bank warns of; refunded ones left out."""
        listing = self._v1.radar.early_fraud_warnings.list
        params = {"created": {"gte": since}, "limit": _PAGE}
        return self._call(
            "radar.early_fraud_warnings.list",
            lambda: listing(params),
            lambda page: sum(bool(warning.actionable) for warning in page.data),
        )

    def _listing(self, service: Any, limit: int) -> Callable[[], Any]:
        return lambda: service.list({"limit": limit})


def _endpoint(source: Any) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=source.id,
        url=source.url,
        status=source.status,
        api_version=source.api_version,
        events=tuple(source.enabled_events),
    )


def _is_on(method: Any) -> bool:
    if not isinstance(method, Mapping):
        return False
    shown = (method.get("display_preference") or {}).get("value") == "on"
    return shown and bool(method.get("available"))
