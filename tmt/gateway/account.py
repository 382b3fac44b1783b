"""The Stripe account's own settings: webhook endpoints, payment methods, restrictions, clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from tmt.gateway import parsing, types
from tmt.gateway.errors import PermissionDenied

T = TypeVar("T")


class Caller(Protocol):
    """Makes a call to Stripe under a name and reads its answer, as `Gateway` does."""

    def __call__(self, operation: str, call: Callable[[], Any], parse: Callable[[Any], T]) -> T: ...


ALL_EVENTS = "*"
# It becomes part of a file's name.
_ACCOUNT_ID = re.compile(r"acct_[A-Za-z0-9]{1,60}")
_PAGE = 100
_WALLETS = {"apple_pay": "Apple Pay", "google_pay": "Google Pay", "link": "Link"}


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
class PaymentMethodDomain:
    """A domain on which wallets (Apple Pay, Google Pay, Link) may be shown.

    `inactive` are the wallets that Stripe could not activate for it.
    """

    id: str
    name: str
    enabled: bool
    inactive: tuple[str, ...]


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

    def id(self) -> str:
        """The account's id (acct_…); "" where a restricted key may not learn it."""
        try:
            account = self._call(
                "account.retrieve", self._v1.accounts.retrieve_current, parsing.to_json
            )
        except PermissionDenied as error:
            # Stripe's refusal names the account.
            match = _ACCOUNT_ID.search(error.user_message or "")
            return match.group() if match else ""
        match = _ACCOUNT_ID.fullmatch(str(account.get("id")))
        return match.group() if match else ""

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

    def payment_method_domains(self) -> list[PaymentMethodDomain]:
        """The domains that are registered for wallets."""
        listing = self._listing(self._v1.payment_method_domains, _PAGE)
        return self._call(
            "payment_method_domains.list", listing, lambda page: [_domain(one) for one in page.data]
        )

    def register_payment_method_domain(self, name: str) -> PaymentMethodDomain:
        """Registers the domain for wallets, or enables it and has it validated again."""
        service = self._v1.payment_method_domains
        domain = next((d for d in self.payment_method_domains() if d.name == name), None)
        if domain is None:
            params = {"domain_name": name}
            return self._call(
                "payment_method_domains.create", lambda: service.create(params), _domain
            )
        domain_id = domain.id
        if not domain.enabled:
            enabled = {"enabled": True}
            self._call(
                "payment_method_domains.update",
                lambda: service.update(domain_id, enabled),
                _domain,
            )
        return self._call(
            "payment_method_domains.validate", lambda: service.validate(domain_id), _domain
        )

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


def _domain(source: Any) -> PaymentMethodDomain:
    states = {name: getattr(getattr(source, name, None), "status", None) for name in _WALLETS}
    return PaymentMethodDomain(
        id=source.id,
        name=source.domain_name,
        enabled=source.enabled,
        inactive=tuple(_WALLETS[name] for name, state in states.items() if state == "inactive"),
    )


def _is_on(method: Any) -> bool:
    if not isinstance(method, Mapping):
        return False
    shown = (method.get("display_preference") or {}).get("value") == "on"
    return shown and bool(method.get("available"))
