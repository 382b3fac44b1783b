"""Stripe through its SDK. The only file that imports stripe; it holds no rule of the shop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from types import MappingProxyType
from typing import Any, TypeVar

import stripe
import structlog

from tmt.config import Settings
from tmt.core import failpoints
from tmt.core.database import transaction_is_open
from tmt.core.ids import is_stripe_id
from tmt.core.job_runs import Run
from tmt.gateway import parsing, types
from tmt.gateway.account import Account
from tmt.gateway.billing import Billing
from tmt.gateway.call_slots import CallSlots
from tmt.gateway.errors import (
    AuthenticationFailed,
    CardDeclined,
    GatewayError,
    InvalidRequest,
    InvalidSignature,
    InvalidState,
    PermissionDenied,
    StripeNotAsked,
    StripeNotFound,
    StripeServerError,
    StripeUnreachable,
    TooManyCalls,
    UnreadableAnswer,
)
from tmt.gateway.types import PaymentIntent, StripeDispute, StripeEvent, StripeRefund

log = structlog.get_logger(__name__)
T = TypeVar("T")

SIGNATURE_TOLERANCE = 300
_CONNECT_TIMEOUT = 3.05
# The SDK repeats calls that failed on the network or at Stripe, but no rate limits (429).
_CONFLICT_TRIES = 4
_CONFLICT = 409
_PAGE_SIZE = 100

_NOT_FOUND_CODES = frozenset({"resource_missing"})
_INVALID_STATE_CODES = frozenset(
    {
        "payment_intent_unexpected_state",
        "charge_already_refunded",
        "charge_disputed",
        "refund_disputed_payment",
    }
)


class Gateway:
    """One Stripe account, or a server that speaks Stripe's API.

    Every call raises `GatewayError` and must be made outside a transaction. Writing calls take an
    idempotency key: the same call with the same key takes effect once. Lists come in pages as they
    are read, newest first; an item that cannot be parsed is logged and left out, so that it does
    not hide the others. A list that something is decided by (of one PaymentIntent, or with
    `must_be_complete`) raises `UnreadableAnswer` at its end then: what it lacks may exist.
    """

    def __init__(
        self,
        settings: Settings,
        observe: Callable[[str, GatewayError | None], None],
        most_waiting: int | None = None,
    ) -> None:
        """`observe(operation, error)` is called after every call, with None when it succeeded.

        Not more than `most_waiting` threads wait for Stripe through it at once; while Stripe hangs,
        a further call raises `TooManyCalls`.
        """
        stripe.enable_telemetry = False
        self._slots = CallSlots(most_waiting) if most_waiting else None
        self._run: Run | None = None
        self._secrets = settings.stripe_webhook_secrets
        self._observe = observe
        base = {"api": settings.stripe_api_base} if settings.stripe_api_base else {}
        self._client = stripe.StripeClient(
            settings.stripe_secret_key,
            stripe_version=types.API_VERSION,
            base_addresses=base,  # type: ignore[arg-type]
            max_network_retries=settings.stripe_retries,
            http_client=stripe.RequestsClient(timeout=(_CONNECT_TIMEOUT, settings.stripe_timeout)),
        )

    def for_run(self, run: Run, patience: int = 1) -> Gateway:
        """The same account for one run of a job.

        After `patience` calls in a row without an answer, or while the job rests, no call is made:
        `StripeNotAsked`. One is not enough where the same item would be the first of every run.
        """
        run.patience = patience
        gateway = copy(self)
        gateway._run = run
        return gateway

    @property
    def account(self) -> Account:
        """The account's own settings: webhook endpoints, payment methods, restrictions."""
        return Account(self._client, self._call)

    @property
    def billing(self) -> Billing:
        """Products and prices."""
        return Billing(self._client, self._call, self._all)

    def create_payment_intent(
        self,
        amount: int,
        currency: str,
        *,
        description: str,
        metadata: Mapping[str, str],
        idempotency_key: str | None,
        excluded_methods: Sequence[str] = (),
        method_options: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    ) -> PaymentIntent:
        """A PaymentIntent over the amount (minor units), with the account's payment methods.

        `excluded_methods` are types of methods that are not offered, such as "sepa_debit";
        `method_options` are Stripe's `payment_method_options` by type.
        """
        params: dict[str, Any] = {
            "amount": amount,
            "currency": currency,
            "description": description,
            "metadata": dict(metadata),
            "automatic_payment_methods": {"enabled": True},
        }
        if excluded_methods:
            params["excluded_payment_method_types"] = list(excluded_methods)
        if method_options:
            params["payment_method_options"] = {k: dict(v) for k, v in method_options.items()}
        options: Any = {"idempotency_key": idempotency_key} if idempotency_key else {}
        create = self._client.v1.payment_intents.create
        return self._call(
            "payment_intents.create",
            lambda: create(params, options),  # type: ignore[arg-type]
            parsing.payment_intent,
        )

    def retrieve_payment_intent(self, payment_intent: str) -> PaymentIntent:
        """The PaymentIntent as it is now; raises `StripeNotFound`."""
        _require_id("payment_intent", payment_intent)
        retrieve = self._client.v1.payment_intents.retrieve
        return self._call(
            "payment_intents.retrieve", lambda: retrieve(payment_intent), parsing.payment_intent
        )

    def cancel_payment_intent(self, payment_intent: str) -> PaymentIntent:
        """Cancels it, so that nobody can pay it any more; raises `InvalidState`.

        Takes no key: canceling twice does no harm, while a refusal that Stripe stored under a key
        would be repeated for a day, when it may long be untrue.
        """
        _require_id("payment_intent", payment_intent)
        cancel = self._client.v1.payment_intents.cancel
        params: Any = {"cancellation_reason": "abandoned"}
        return self._call(
            "payment_intents.cancel", lambda: cancel(payment_intent, params), parsing.payment_intent
        )

    def list_payment_intents(
        self, since: int, *, must_be_complete: bool = False
    ) -> Iterator[PaymentIntent]:
        """Every PaymentIntent of the account created since then (Unix seconds)."""
        listing = self._client.v1.payment_intents.list
        params = {"created": {"gte": since}}
        parse = parsing.payment_intent
        return self._all("payment_intents.list", listing, params, parse, must_be_complete)

    def list_charges(self, payment_intent: str) -> list[dict[str, Any]]:
        """Every Charge of the PaymentIntent, as Stripe's JSON."""
        listing = self._client.v1.charges.list
        params = {"payment_intent": payment_intent}
        return list(self._all("charges.list", listing, params, parsing.to_json, True))

    def create_refund(
        self,
        payment_intent: str,
        amount: int,
        *,
        reference: str,
        reason: str | None = None,
        idempotency_key: str,
    ) -> StripeRefund:
        """Refunds the amount (minor units); raises `InvalidState` when Stripe cannot.

        `reference` is stored in the refund's metadata; `reason` is one of Stripe's: duplicate,
        fraudulent, requested_by_customer.
        """
        create = self._client.v1.refunds.create
        params: Any = {
            "payment_intent": payment_intent,
            "amount": amount,
            "metadata": {parsing.REFUND_REFERENCE: reference},
        }
        if reason:
            params["reason"] = reason
        options: Any = {"idempotency_key": idempotency_key}
        return self._call("refunds.create", lambda: create(params, options), parsing.refund)

    def retrieve_refund(self, refund: str) -> StripeRefund:
        """The refund as it is now; raises `StripeNotFound`."""
        _require_id("refund", refund)
        retrieve = self._client.v1.refunds.retrieve
        return self._call("refunds.retrieve", lambda: retrieve(refund), parsing.refund)

    def list_refunds(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[StripeRefund]:
        """Every refund of the PaymentIntent, or of the account since then (Unix seconds)."""
        params, is_of_one = _list_filter(payment_intent, since), payment_intent is not None
        listing = self._client.v1.refunds.list
        return self._all("refunds.list", listing, params, parsing.refund, is_of_one)

    def retrieve_dispute(self, dispute: str) -> StripeDispute:
        """The dispute as it is now; raises `StripeNotFound`."""
        _require_id("dispute", dispute)
        retrieve = self._client.v1.disputes.retrieve
        return self._call("disputes.retrieve", lambda: retrieve(dispute), parsing.dispute)

    def list_disputes(
        self, *, payment_intent: str | None = None, since: int | None = None
    ) -> Iterator[StripeDispute]:
        """Every dispute of the PaymentIntent, or of the account since then (Unix seconds)."""
        params, is_of_one = _list_filter(payment_intent, since), payment_intent is not None
        listing = self._client.v1.disputes.list
        return self._all("disputes.list", listing, params, parsing.dispute, is_of_one)

    def list_events(self, since: int, event_types: Sequence[str]) -> Iterator[StripeEvent]:
        """Every event of these types since then (Unix seconds); Stripe keeps 30 days."""
        params = {"created": {"gte": since}, "types": list(event_types)}

        def parse(item: Any) -> StripeEvent:
            return parsing.event(parsing.to_json(item))

        return self._all("events.list", self._client.v1.events.list, params, parse)

    def verify_event(self, payload: bytes, signature: str | None) -> StripeEvent:
        """The event in a webhook's raw body; raises `InvalidSignature` or `InvalidEvent`."""
        _verify_signature(payload, signature, self._secrets)
        return parsing.event_from_payload(payload)

    def _all(
        self,
        operation: str,
        listing: Any,
        params: Mapping[str, Any],
        parse: Callable[[Any], T],
        must_be_complete: bool = False,
    ) -> Iterator[T]:
        """Every item of a list, page after page.

        One that must be complete raises `UnreadableAnswer` at its end if an item was left out.
        """
        query: dict[str, Any] = {**params, "limit": _PAGE_SIZE}
        left_out = 0
        while True:
            items, last = self._call(operation, lambda: listing(dict(query)), _read_page)
            for item in items:
                try:
                    parsed = parse(item)
                except Exception as error:  # noqa: BLE001 - one bad item must not hide the others
                    name, item_id = type(error).__name__, getattr(item, "id", None)
                    log.error("stripe.unparsable", operation=operation, object=item_id, error=name)
                    self._observe(operation, UnreadableAnswer(f"an item of {operation}"))
                    left_out += 1
                    continue
                yield parsed
            if last is None:
                break
            if last == query.get("starting_after"):
                raise UnreadableAnswer(f"{operation}: the page after {last[:80]} ends with it")
            query["starting_after"] = last
        if left_out and must_be_complete:
            raise UnreadableAnswer(f"{operation}: {left_out} of its items cannot be read")

    def _call(self, operation: str, call: Callable[[], Any], parse: Callable[[Any], T]) -> T:
        """Makes the call and reads its answer; logs it in one line, turns errors into ours."""
        if transaction_is_open():
            raise RuntimeError(f"{operation} was called inside a transaction")
        run = self._run
        if run and (run.is_resting or run.has_no_answer):
            raise StripeNotAsked(f"{operation}: Stripe did not answer a moment ago")
        started = time.perf_counter()
        try:
            with self._slots.slot() if self._slots else nullcontext():
                failpoints.reach(f"before {operation}")
                result = _retry_conflicts(call)
                failpoints.reach(f"after {operation}")
            parsed = parse(result)
        except TooManyCalls as busy:
            raise self._failed(operation, started, busy) from None
        except stripe.StripeError as error:
            raise self._failed(operation, started, _translate(error), error) from error
        except Exception as error:
            # Nothing but reading the answer raises anything else.
            unreadable = UnreadableAnswer(f"{operation}: {error}")
            raise self._failed(operation, started, unreadable) from error
        self._observe(operation, None)
        if run:
            run.answered()
        _log_call(operation, started, "ok", _request_id(result), None, result)
        return parsed

    def _failed(
        self,
        operation: str,
        started: float,
        failure: GatewayError,
        error: stripe.StripeError | None = None,
    ) -> GatewayError:
        """Logs the failed call; the error to raise."""
        if self._run and isinstance(failure, StripeUnreachable) and failure.concerns_all:
            self._run.unanswered(failure)
        self._observe(operation, failure)
        request = (error.request_id, error.code) if error else (None, None)
        _log_call(operation, started, failure.name, *request)
        return failure


def _read_page(page: Any) -> tuple[Sequence[Any], str | None]:
    """The items of a list's page, and the last one's id when there are more pages."""
    items: Sequence[Any] = page.data
    if not isinstance(items, list):
        raise ValueError(f"'data' is a {type(items).__name__}")
    if page.has_more and not items:
        raise ValueError("an empty page says that there are more")
    return items, str(items[-1].id) if page.has_more else None


def _retry_conflicts(call: Callable[[], T]) -> T:
    """Makes the call, and again a little later when Stripe limits the rate (429).

    Or when a call with the same key is in progress (409): its answer is this one's too.
    """
    for attempt in range(1, _CONFLICT_TRIES):
        try:
            return call()
        except stripe.RateLimitError:
            pass
        except stripe.APIError as error:
            if error.http_status != _CONFLICT:
                raise
        time.sleep(random.uniform(0.1, 0.2) * 2**attempt)
    return call()


def _require_id(kind: str, object_id: str) -> None:
    """Raises `StripeNotFound` for what is no id: in a URL it could address another resource."""
    if not is_stripe_id(object_id):
        text = f"No such {kind}: '{object_id[:80]}'"
        raise StripeNotFound(text, user_message=text, code="resource_missing")


def _list_filter(payment_intent: str | None, since: int | None) -> dict[str, Any]:
    """The parameters of a list that is limited to a PaymentIntent, or to what is new enough."""
    params: dict[str, Any] = {}
    if payment_intent is not None:
        params["payment_intent"] = payment_intent
    if since is not None:
        params["created"] = {"gte": since}
    return params


def _verify_signature(payload: bytes, signature: str | None, secrets: tuple[str, ...]) -> None:
    if not signature:
        raise InvalidSignature("no Stripe-Signature header")
    if not signature.isascii():
        raise InvalidSignature("the Stripe-Signature header is malformed")
    if not secrets:
        raise InvalidSignature("STRIPE_WEBHOOK_SECRET is not set")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise InvalidSignature("the body is not UTF-8") from None
    reason = ""
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(text, signature, secret, SIGNATURE_TOLERANCE)
        except stripe.SignatureVerificationError as error:
            reason = error.user_message or str(error)
        except ValueError:
            reason = "the Stripe-Signature header is malformed"
        else:
            return _reject_future_timestamp(signature)
    raise InvalidSignature(reason)


def _reject_future_timestamp(signature: str) -> None:
    # The SDK takes signatures from any future, which could then be replayed until it comes.
    # It reads the first stamp, as is done here.
    stamp = next(part.split("=")[1] for part in signature.split(",") if part.startswith("t="))
    if int(stamp) > time.time() + SIGNATURE_TOLERANCE:
        raise InvalidSignature("the timestamp is in the future")


def _translate(error: stripe.StripeError) -> GatewayError:
    """Stripe's error as one of ours; whatever may not be repeated is an `InvalidRequest`."""
    code = error.code or (getattr(error.error, "code", None) if error.error else None)
    kind: type[GatewayError] = InvalidRequest
    if isinstance(error, stripe.CardError):
        kind = CardDeclined
    elif isinstance(error, stripe.PermissionError):
        kind = PermissionDenied
    elif isinstance(error, stripe.AuthenticationError):
        kind = AuthenticationFailed
    elif isinstance(error, stripe.APIError) and (error.http_status or 0) >= 500:
        kind = StripeServerError
    elif isinstance(error, stripe.APIConnectionError | stripe.RateLimitError | stripe.APIError):
        kind = StripeUnreachable
    elif code in _NOT_FOUND_CODES:
        kind = StripeNotFound
    elif code in _INVALID_STATE_CODES:
        kind = InvalidState
    # Without an error object in the answer, the text is the SDK's and may be a whole page.
    own = error.user_message if error.error else None
    message = f"{type(error).__name__} {code or error.http_status or ''}".strip()
    return kind(message, user_message=own, code=code)


def _request_id(result: Any) -> str | None:
    response = getattr(result, "last_response", None)
    return getattr(response, "request_id", None)


def _object_field(object_id: str) -> dict[str, str]:
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
        **_object_field(getattr(result, "id", "")),
        "amount": getattr(result, "amount", None),
        "currency": getattr(result, "currency", None),
    }
    log.info(f"stripe.{operation}", **{k: v for k, v in line.items() if v is not None})
