"""What the shop needs of Stripe, as types: the gateway's interface, its objects, its errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tmt.core.errors import Refusal, Unavailable

API_VERSION = "2026-10-28.endive"

SUCCEEDED, PROCESSING, CANCELED = "succeeded", "processing", "canceled"
REQUIRES_PAYMENT_METHOD = "requires_payment_method"


@dataclass(frozen=True)
class PaymentIntent:
    """A PaymentIntent as Stripe told it. Amounts in minor units, `created` in Unix seconds.

    `client_secret` is None when it comes from an event; it goes to the buyer's page, nowhere else.
    """

    id: str
    status: str
    amount: int
    amount_received: int
    currency: str
    created: int
    livemode: bool
    payment_method: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    error_code: str | None = None
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Refund:
    """A refund as Stripe told it; `status` is one of Stripe's five, the amount in minor units.

    `reference` is what the shop wrote on it; None when somebody else made it, such as the
    organiser in Stripe's dashboard.
    """

    id: str
    status: str
    amount: int
    currency: str
    created: int
    payment_intent: str | None = None
    reference: str | None = None
    failure_reason: str | None = None


@dataclass(frozen=True)
class Dispute:
    """A dispute as Stripe told it; the amount (minor units) is what the bank wants back."""

    id: str
    status: str
    reason: str
    amount: int
    currency: str
    created: int
    payment_intent: str | None = None


@dataclass(frozen=True)
class Event:
    """A Stripe event, reduced to what is kept of it: no personal data and no secret."""

    id: str
    type: str
    created: int
    livemode: bool
    api_version: str | None
    object: Mapping[str, Any]

    @property
    def object_id(self) -> str:
        found = self.object.get("id")
        return found if isinstance(found, str) else ""


class GatewayError(Refusal):
    """Stripe refused. `user_message` is Stripe's own text, which may be shown; `code` its code."""

    def __init__(self, message: str, *, user_message: str | None = None, code: str | None = None):
        super().__init__(message)
        self.user_message = user_message
        self.code = code


class CardDeclined(GatewayError):
    """The payment failed; another card or another try may do."""


class Gone(GatewayError):
    """Stripe knows no such object."""


class WrongState(GatewayError):
    """The object's state does not allow this; read it again to learn why."""


class Misused(GatewayError):
    """The request was wrong, or the keys are: a mistake of ours or of the settings."""


class KeysRefused(Misused):
    """Stripe does not take the keys, or not for this."""


class NotPermitted(KeysRefused):
    """The keys are good, but restricted: they may not do this."""


class StripeUnavailable(GatewayError, Unavailable):
    """No answer, or none that tells whether it was done. The same call may be made again."""


class StripeBroke(StripeUnavailable):
    """Stripe answered with an error of its own, and answers this key so for a day.

    Whether the thing was done must be looked up; to do it needs another key.
    """


class SignatureRefused(Refusal):
    """A webhook's signature is missing, malformed, wrong or too old."""


class NotAnEvent(Refusal):
    """The signed body is no Stripe event."""


class Gateway(Protocol):
    """Stripe. Every call raises `GatewayError` and must be made outside a transaction.

    Writing calls take an idempotency key: the same call with the same key happens once. Lists
    come in pages as they are read, newest first; an item that cannot be read is left out and
    logged, so that it keeps nobody from the others.
    """

    def create_payment_intent(
        self,
        amount: int,
        currency: str,
        *,
        description: str,
        metadata: Mapping[str, str],
        idempotency_key: str | None,
        excluded_methods: Sequence[str] = (),
    ) -> PaymentIntent:
        """A PaymentIntent over the amount (minor units), with the account's payment methods.

        `excluded_methods` are types of methods that it does not take, such as "sepa_debit".
        """
        ...

    def retrieve_payment_intent(self, payment_intent: str) -> PaymentIntent:
        """The PaymentIntent as it is now; `Gone` when Stripe knows none of this id."""
        ...

    def cancel_payment_intent(self, payment_intent: str) -> PaymentIntent:
        """Cancels it, so that nobody can pay it any more; `WrongState` when it cannot be.

        Takes no key: canceling twice does no harm, while a refusal that Stripe stored under a key
        would be repeated for a day, when it may long be untrue.
        """
        ...

    def list_payment_intents(self, since: int) -> Iterator[PaymentIntent]:
        """Every PaymentIntent of the account that was created since then (Unix seconds)."""
        ...

    def list_charges(self, payment_intent: str) -> list[dict[str, Any]]:
        """Every Charge of the PaymentIntent, as Stripe's JSON."""
        ...

    def create_refund(
        self,
        payment_intent: str,
        amount: int,
        *,
        reference: str,
        reason: str | None = None,
        idempotency_key: str,
    ) -> Refund:
        """Gives the amount (minor units) back; `WrongState` when Stripe may not.

        `reference` is found on it later; `reason` is one of Stripe's: duplicate, fraudulent,
        requested_by_customer.
        """
        ...

    def retrieve_refund(self, refund: str) -> Refund:
        """The refund as it is now; `Gone` when Stripe knows none of this id."""
        ...

    def list_refunds(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[Refund]:
        """Every refund of the PaymentIntent, or of the account since then (Unix seconds)."""
        ...

    def retrieve_dispute(self, dispute: str) -> Dispute:
        """The dispute as it is now; `Gone` when Stripe knows none of this id."""
        ...

    def list_disputes(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[Dispute]:
        """Every dispute of the PaymentIntent, or of the account since then (Unix seconds)."""
        ...

    def list_events(self, since: int, types: Sequence[str]) -> Iterator[Event]:
        """Every event of these types since then (Unix seconds); Stripe keeps 30 days."""
        ...

    def verify_event(self, payload: bytes, signature: str | None) -> Event:
        """The event in a webhook's raw body; `SignatureRefused` or `NotAnEvent`."""
        ...
