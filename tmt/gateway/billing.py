"""Stripe's billing as the shop uses it: products, prices, customers, subscriptions, invoices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from tmt.gateway import parsing
from tmt.gateway.account import Caller
from tmt.gateway.errors import InvalidRequest, StripeNotFound
from tmt.gateway.types import StripeInvoice, StripePrice, StripeSubscription

T = TypeVar("T")

_LATEST = ["latest_invoice.confirmation_secret", "latest_invoice.payments"]


class Lister(Protocol):
    """Yields every item of a list at Stripe, page after page, as `Gateway` does."""

    def __call__(
        self, operation: str, listing: Any, params: Mapping[str, Any], parse: Callable[[Any], T]
    ) -> Iterator[T]: ...


class Billing:
    """The billing of one Stripe account. Every call raises `GatewayError`."""

    def __init__(self, client: Any, call: Caller, every: Lister) -> None:
        self._v1, self._call, self._all = client.v1, call, every

    def find_price(self, lookup_key: str) -> StripePrice | None:
        """The active price that has this key now, if there is one."""
        params = {"lookup_keys": [lookup_key], "active": True, "expand": ["data.product"]}
        prices = self._all("prices.list", self._v1.prices.list, params, parsing.price)
        return next(prices, None)

    def ensure_product(self, product: str, name: str, metadata: Mapping[str, str]) -> None:
        """Creates the product with this id, unless there is one."""
        products = self._v1.products
        params = {"id": product, "name": name, "metadata": dict(metadata)}
        try:
            self._call("products.retrieve", lambda: products.retrieve(product), parsing.object_id)
            return
        except StripeNotFound:
            pass
        try:
            self._call("products.create", lambda: products.create(params), parsing.object_id)
        except InvalidRequest as error:
            if error.code != "resource_already_exists":
                raise

    def rename_product(self, product: str, name: str) -> None:
        """Gives the product this name, which invoices show from then on."""
        update = self._v1.products.update
        self._call("products.update", lambda: update(product, {"name": name}), parsing.object_id)

    def create_price(
        self,
        product: str,
        amount: int,
        currency: str,
        interval: str,
        *,
        lookup_key: str,
        metadata: Mapping[str, str],
        key: str,
    ) -> StripePrice:
        """A new price for each interval, which takes the lookup key from the one that has it."""
        params = {
            "product": product,
            "unit_amount": amount,
            "currency": currency,
            "recurring": {"interval": interval},
            "lookup_key": lookup_key,
            "transfer_lookup_key": True,
            "metadata": dict(metadata),
            "expand": ["product"],
        }
        create, options = self._v1.prices.create, {"idempotency_key": key}
        return self._call("prices.create", lambda: create(params, options), parsing.price)

    def create_customer(
        self, email: str, name: str, locale: str, *, metadata: Mapping[str, str], key: str
    ) -> str:
        """The id of a new customer, to whom Stripe writes in this language."""
        params: dict[str, Any] = {"email": email, "name": name, "metadata": dict(metadata)}
        params["preferred_locales"] = [locale]
        create, options = self._v1.customers.create, {"idempotency_key": key}
        return self._call("customers.create", lambda: create(params, options), parsing.object_id)

    def find_customer(self, email: str, metadata: Mapping[str, str]) -> str | None:
        """The id of the customer of this address with these metadata, if there is one."""
        listing, marks = self._v1.customers.list, metadata.items()
        every = self._all("customers.list", listing, {"email": email}, parsing.to_json)
        return next((c["id"] for c in every if marks <= (c["metadata"] or {}).items()), None)

    def create_subscription(
        self, customer: str, price: str, *, metadata: Mapping[str, str], key: str
    ) -> StripeSubscription:
        """A subscription that begins when its first invoice is paid, with that to pay in place.

        The payment method is stored on it, for its renewals.
        """
        params = {
            "customer": customer,
            "items": [{"price": price}],
            "payment_behavior": "default_incomplete",
            "payment_settings": {"save_default_payment_method": "on_subscription"},
            "metadata": dict(metadata),
            "expand": _LATEST,
        }
        create, options = self._v1.subscriptions.create, {"idempotency_key": key}
        return self._call(
            "subscriptions.create", lambda: create(params, options), parsing.subscription
        )

    def find_subscription(
        self, customer: str, metadata: Mapping[str, str]
    ) -> StripeSubscription | None:
        """The customer's subscription with these metadata, ended ones too, if there is one."""
        params = {"customer": customer, "status": "all"}
        listing, marks = self._v1.subscriptions.list, metadata.items()
        every = self._all("subscriptions.list", listing, params, parsing.subscription)
        return next((each for each in every if marks <= each.metadata.items()), None)

    def retrieve_subscription(self, subscription: str) -> StripeSubscription:
        """The subscription as it is now, with its latest invoice; raises `StripeNotFound`."""
        retrieve, params = self._v1.subscriptions.retrieve, {"expand": _LATEST}
        return self._call(
            "subscriptions.retrieve", lambda: retrieve(subscription, params), parsing.subscription
        )

    def end_with_period(self, subscription: str, *, ends: bool) -> None:
        """Cancels it to end with its period, or takes that back; again does no harm."""
        update = self._v1.subscriptions.update
        params: dict[str, Any] = {"cancel_at_period_end": ends}
        if not ends:
            # Stripe's portal sets this instead.
            params["cancel_at"] = ""
        self._call("subscriptions.update", lambda: update(subscription, params), parsing.object_id)

    def cancel_subscription(self, subscription: str) -> None:
        """Ends it at once; nothing is refunded."""
        cancel = self._v1.subscriptions.cancel
        self._call("subscriptions.cancel", lambda: cancel(subscription), parsing.object_id)

    def retrieve_invoice(self, invoice: str) -> StripeInvoice:
        """The invoice as it is now; raises `StripeNotFound`."""
        retrieve, params = self._v1.invoices.retrieve, {"expand": ["payments"]}
        answer = self._call(
            "invoices.retrieve", lambda: retrieve(invoice, params), parsing.invoice_unless_deleted
        )
        if answer is None:
            raise StripeNotFound("the invoice was deleted", code="resource_missing")
        return answer
