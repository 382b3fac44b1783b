"""Stripe's billing as the shop uses it: products and their prices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from tmt.gateway import parsing
from tmt.gateway.account import Caller
from tmt.gateway.errors import StripeNotFound
from tmt.gateway.types import StripePrice

T = TypeVar("T")


class Lister(Protocol):
    """Yields every item of a list at Stripe, page after page, as `Gateway` does."""

    def __call__(
        self, operation: str, listing: Any, params: Mapping[str, Any], parse: Callable[[Any], T]
    ) -> Iterator[T]: ...


class Billing:
    """Products and prices of one Stripe account. Every call raises `GatewayError`."""

    def __init__(self, client: Any, call: Caller, every: Lister) -> None:
        self._client, self._call, self._every = client.v1, call, every

    def find_price(self, lookup_key: str) -> StripePrice | None:
        """The active price that has this key now, if there is one."""
        params = {"lookup_keys": [lookup_key], "active": True, "expand": ["data.product"]}
        prices = self._every("prices.list", self._client.prices.list, params, parsing.price)
        return next(prices, None)

    def ensure_product(self, product: str, name: str, metadata: Mapping[str, str]) -> None:
        """Creates the product with this id, unless there is one."""
        products = self._client.products
        params = {"id": product, "name": name, "metadata": dict(metadata)}
        try:
            self._call("products.retrieve", lambda: products.retrieve(product), parsing.object_id)
        except StripeNotFound:
            self._call("products.create", lambda: products.create(params), parsing.object_id)

    def rename_product(self, product: str, name: str) -> None:
        """Gives the product this name, which invoices show from then on."""
        update = self._client.products.update
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
        create, options = self._client.prices.create, {"idempotency_key": key}
        return self._call("prices.create", lambda: create(params, options), parsing.price)
