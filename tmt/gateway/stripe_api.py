"""Stripe through its SDK. The only file that imports stripe; it holds no rule of the shop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import stripe
import structlog

from tmt.config import Settings
from tmt.core import failpoints
from tmt.core.db import transaction_is_open
from tmt.gateway import contract, objects
from tmt.gateway.account import Account
from tmt.gateway.contract import (
    CardDeclined,
    Dispute,
    Event,
    GatewayError,
    Gone,
    KeysRefused,
    Misused,
    NotPermitted,
    PaymentIntent,
    Refund,
    SignatureRefused,
    StripeBroke,
    StripeUnavailable,
    WrongState,
)
from tmt.gateway.events import event_of, read_event

log = structlog.get_logger(__name__)
T = TypeVar("T")

SIGNATURE_TOLERANCE = 300
_CONNECT_TIMEOUT = 3.05
# The SDK repeats what failed on the line or at Stripe, but not what came too fast (429).
_TOO_FAST_TRIES = 4
_UNDER_WAY = 409
_PAGE = 100

_GONE = frozenset({"resource_missing"})
_WRONG_STATE = frozenset(
    {
        "payment_intent_unexpected_state",
        "charge_already_refunded",
        "charge_disputed",
        "refund_disputed_payment",
    }
)


class StripeGateway:
    """A `contract.Gateway` on one Stripe account, or on a server that speaks Stripe's API."""

    def __init__(self, settings: Settings, observe: Callable[[str, str], None]) -> None:
        """`observe(operation, outcome)` is told of every call, for the metrics."""
        stripe.enable_telemetry = False
        self._secrets = settings.stripe_webhook_secrets
        self._observe = observe
        base = {"api": settings.stripe_api_base} if settings.stripe_api_base else {}
        self._client = stripe.StripeClient(
            settings.stripe_secret_key,
            stripe_version=contract.API_VERSION,
            base_addresses=base,  # type: ignore[arg-type]
            max_network_retries=settings.stripe_retries,
            http_client=stripe.RequestsClient(timeout=(_CONNECT_TIMEOUT, settings.stripe_timeout)),
        )

    @property
    def account(self) -> Account:
        """The account as its operator sees it."""
        return Account(self._client, self._call)

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
        params: dict[str, Any] = {
            "amount": amount,
            "currency": currency,
            "description": description,
            "metadata": dict(metadata),
            "automatic_payment_methods": {"enabled": True},
        }
        if excluded_methods:
            params["excluded_payment_method_types"] = list(excluded_methods)
        options: Any = {"idempotency_key": idempotency_key} if idempotency_key else {}
        create = self._client.v1.payment_intents.create
        made = self._call("payment_intents.create", lambda: create(params, options))  # type: ignore[arg-type]
        return objects.payment_intent(made)

    def retrieve_payment_intent(self, payment_intent: str) -> PaymentIntent:
        # As a part of the address these would be read as another one, such as the list's.
        if payment_intent in ("", ".", ".."):
            text = f"No such payment_intent: '{payment_intent}'"
            raise Gone(text, user_message=text, code="resource_missing")
        retrieve = self._client.v1.payment_intents.retrieve
        found = self._call("payment_intents.retrieve", lambda: retrieve(payment_intent))
        return objects.payment_intent(found)

    def cancel_payment_intent(self, payment_intent: str) -> PaymentIntent:
        cancel = self._client.v1.payment_intents.cancel
        params: Any = {"cancellation_reason": "abandoned"}
        canceled = self._call("payment_intents.cancel", lambda: cancel(payment_intent, params))
        return objects.payment_intent(canceled)

    def list_payment_intents(self, since: int) -> Iterator[PaymentIntent]:
        listing = self._client.v1.payment_intents.list
        params = {"created": {"gte": since}}
        return self._all("payment_intents.list", listing, params, objects.payment_intent)

    def list_charges(self, payment_intent: str) -> list[dict[str, Any]]:
        listing = self._client.v1.charges.list
        params = {"payment_intent": payment_intent}
        return list(self._all("charges.list", listing, params, objects.plain))

    def create_refund(
        self,
        payment_intent: str,
        amount: int,
        *,
        reference: str,
        reason: str | None = None,
        idempotency_key: str,
    ) -> Refund:
        create = self._client.v1.refunds.create
        params: Any = {
            "payment_intent": payment_intent,
            "amount": amount,
            "metadata": {objects.REFERENCE: reference},
        }
        if reason:
            params["reason"] = reason
        options: Any = {"idempotency_key": idempotency_key}
        return objects.refund(self._call("refunds.create", lambda: create(params, options)))

    def retrieve_refund(self, refund: str) -> Refund:
        retrieve = self._client.v1.refunds.retrieve
        return objects.refund(self._call("refunds.retrieve", lambda: retrieve(refund)))

    def list_refunds(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[Refund]:
        params = _narrowed(payment_intent, since)
        return self._all("refunds.list", self._client.v1.refunds.list, params, objects.refund)

    def retrieve_dispute(self, dispute: str) -> Dispute:
        retrieve = self._client.v1.disputes.retrieve
        return objects.dispute(self._call("disputes.retrieve", lambda: retrieve(dispute)))

    def list_disputes(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[Dispute]:
        params = _narrowed(payment_intent, since)
        return self._all("disputes.list", self._client.v1.disputes.list, params, objects.dispute)

    def list_events(self, since: int, types: Sequence[str]) -> Iterator[Event]:
        params = {"created": {"gte": since}, "types": list(types)}

        def read(item: Any) -> Event:
            return event_of(objects.plain(item))

        return self._all("events.list", self._client.v1.events.list, params, read)

    def verify_event(self, payload: bytes, signature: str | None) -> Event:
        _verify(payload, signature, self._secrets)
        return read_event(payload)

    def _all(
        self, operation: str, listing: Any, params: Mapping[str, Any], read: Callable[[Any], T]
    ) -> Iterator[T]:
        """Every item of a list, page after page."""
        asked: dict[str, Any] = {**params, "limit": _PAGE}
        while True:
            page = self._call(operation, lambda: listing(dict(asked)))
            for item in page.data:
                try:
                    found = read(item)
                except Exception as error:  # noqa: BLE001 - one bad item must not hide the others
                    name = type(error).__name__
                    log.error("stripe.unreadable", operation=operation, object=item.id, error=name)
                    continue
                yield found
            if not page.has_more or not page.data:
                return
            asked["starting_after"] = page.data[-1].id

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        """Makes the call, logs it in one line, and turns Stripe's errors into ours."""
        assert not transaction_is_open(), f"{operation} was called inside a transaction"
        started = time.perf_counter()
        failpoints.reach(f"before {operation}")
        try:
            result = _not_too_fast(call)
        except stripe.StripeError as error:
            translated = _translated(error)
            self._observe(operation, translated.name)
            _log_call(operation, started, translated.name, error.request_id, error.code)
            raise translated from error
        failpoints.reach(f"after {operation}")
        self._observe(operation, "ok")
        _log_call(operation, started, "ok", _request_id(result), None, result)
        return result


def _not_too_fast(call: Callable[[], T]) -> T:
    """Makes the call, and again a little later when Stripe has too many at once.

    Or when the same call is under way (409), whose answer is then this one's too.
    """
    for attempt in range(1, _TOO_FAST_TRIES):
        try:
            return call()
        except stripe.RateLimitError:
            pass
        except stripe.APIError as error:
            if error.http_status != _UNDER_WAY:
                raise
        time.sleep(random.uniform(0.1, 0.2) * 2**attempt)
    return call()


def _narrowed(payment_intent: str | None, since: int | None) -> dict[str, Any]:
    """The parameters of a list that shows what is of a PaymentIntent, or new enough."""
    params: dict[str, Any] = {}
    if payment_intent is not None:
        params["payment_intent"] = payment_intent
    if since is not None:
        params["created"] = {"gte": since}
    return params


def _verify(payload: bytes, signature: str | None, secrets: tuple[str, ...]) -> None:
    if not signature:
        raise SignatureRefused("no Stripe-Signature header")
    if not signature.isascii():
        raise SignatureRefused("the Stripe-Signature header is malformed")
    if not secrets:
        raise SignatureRefused("STRIPE_WEBHOOK_SECRET is not set")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise SignatureRefused("the body is not UTF-8") from None
    reason = ""
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(text, signature, secret, SIGNATURE_TOLERANCE)
        except stripe.SignatureVerificationError as error:
            reason = error.user_message or str(error)
        except ValueError:
            reason = "the Stripe-Signature header is malformed"
        else:
            return _refuse_future(signature)
    raise SignatureRefused(reason)


def _refuse_future(signature: str) -> None:
    # The SDK takes signatures from any future, which could then be replayed until it comes.
    # It reads the first stamp, as is done here.
    stamp = next(part.split("=")[1] for part in signature.split(",") if part.startswith("t="))
    if int(stamp) > time.time() + SIGNATURE_TOLERANCE:
        raise SignatureRefused("the timestamp is in the future")


def _translated(error: stripe.StripeError) -> GatewayError:
    """Stripe's error as one of ours; what is not known to be safe to repeat is a misuse."""
    code = error.code or (getattr(error.error, "code", None) if error.error else None)
    kind: type[GatewayError] = Misused
    if isinstance(error, stripe.CardError):
        kind = CardDeclined
    elif isinstance(error, stripe.PermissionError):
        kind = NotPermitted
    elif isinstance(error, stripe.AuthenticationError):
        kind = KeysRefused
    elif isinstance(error, stripe.APIError) and (error.http_status or 0) >= 500:
        kind = StripeBroke
    elif isinstance(error, stripe.APIConnectionError | stripe.RateLimitError | stripe.APIError):
        kind = StripeUnavailable
    elif code in _GONE:
        kind = Gone
    elif code in _WRONG_STATE:
        kind = WrongState
    # Without an error object in the answer, the text is the SDK's and may hold a whole page.
    own = error.user_message if error.error else None
    message = f"{type(error).__name__} {code or error.http_status or ''}".strip()
    return kind(message, user_message=own, code=code)


def _request_id(result: Any) -> str | None:
    response = getattr(result, "last_response", None)
    return getattr(response, "request_id", None)


def _named(object_id: str) -> dict[str, str]:
    """The id under the name that logs are searched by."""
    if not object_id:
        return {}
    return {"payment_intent" if object_id.startswith("pi_") else "object": object_id}


def _log_call(
    operation: str,
    started: float,
    outcome: str,
    request_id: str | None,
    code: str | None,
    result: Any = None,
) -> None:
    line = {
        "outcome": outcome,
        "milliseconds": round((time.perf_counter() - started) * 1000, 1),
        "stripe_request": request_id,
        "code": code,
        **_named(getattr(result, "id", "")),
        "amount": getattr(result, "amount", None),
        "currency": getattr(result, "currency", None),
    }
    log.info(f"stripe.{operation}", **{k: v for k, v in line.items() if v is not None})
