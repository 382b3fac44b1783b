"""One run over many things at Stripe: what it did, what failed, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import structlog

from tmt.gateway.contract import Gateway, GatewayError, StripeUnavailable
from tmt.shop import Shop

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Stripe's lists come in pages of so many.
PAGE = 100
# So many items in a row that Stripe does not answer about are no longer about the items.
_PATIENCE = 3


@dataclass
class Report:
    """What a run did; `failed` says of each item that could not be done which and why.

    `asked` are open payments, refunds and disputes that Stripe told of; `settled` payments and
    `booked` refunds and disputes had changed; `events` had never arrived. A run is not complete
    when Stripe stopped answering: what it left is the next one's.
    """

    asked: int = 0
    settled: int = 0
    booked: int = 0
    events: int = 0
    failed: list[str] = field(default_factory=list)
    complete: bool = True


def batches(items: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """The items in lists of at most so many."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class StripeSilent(Exception):
    """Stripe has not answered several times in a row."""


class Run:
    """One run: its report, and the patience that is left."""

    def __init__(self, shop: Shop, gateway: Gateway) -> None:
        self.shop, self.gateway = shop, gateway
        self.report = Report()
        self._silent = 0

    def read(self, query: Callable[..., T], *given: Any) -> T:
        """What `query(session, *given)` finds."""
        with self.shop.db.reading() as session:
            return query(session, *given)

    def each(self, what: str, act: Callable[..., None], *given: Any) -> None:
        """Does `act(run, *given)` for one item; what goes wrong with it is named, and no more."""
        try:
            act(self, *given)
        except Exception as error:  # noqa: BLE001 - one bad item must not keep the others
            self._note(what, error)
        else:
            self._silent = 0

    def listed(self, what: str, items: Iterator[T]) -> Iterator[T]:
        """The items of a list of Stripe's, as far as it can be read."""
        try:
            yield from items
        except Exception as error:  # noqa: BLE001 - the others can still be asked one by one
            self.report.complete = False
            self._note(what, error)

    def _note(self, what: str, error: Exception) -> None:
        name = type(error).__name__
        self.report.failed.append(f"{what}: {name}: {error}")
        log.error("reconcile.failed", what=what, error=name, exc_info=_unexpected(error))
        self._silent = self._silent + 1 if isinstance(error, StripeUnavailable) else 0
        if self._silent == _PATIENCE:
            raise StripeSilent


def _unexpected(error: Exception) -> Exception | None:
    return None if isinstance(error, GatewayError) else error
