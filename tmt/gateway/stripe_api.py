"""Stripe through its SDK. The only file that imports stripe; it holds no rule of the shop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import stripe
import structlog

from tmt.config import Settings
from tmt.core.db import transaction_is_open
from tmt.gateway import contract
from tmt.gateway.contract import (
    CardDeclined,
    Event,
    GatewayError,
    Gone,
    Misused,
    NotAnEvent,
    PaymentIntent,
    Refund,
    SignatureRefused,
    StripeUnavailable,
    WrongState,
)

log = structlog.get_logger(__name__)
T = TypeVar("T")

SIGNATURE_TOLERANCE = 300
_LONGEST, _LONGEST_TYPE = 255, 120
_LATEST = 253_402_300_799  # The end of the year 9999, in Unix seconds.
_CONNECT_TIMEOUT = 3.05

# What is kept of an event's object: enough to act on and to read it again, nothing personal.
_KEPT = frozenset(
    """
    id object status amount amount_received amount_refunded currency created livemode
    payment_method payment_intent charge latest_charge reason cancellation_reason
    """.split()
)
_GONE = frozenset({"resource_missing"})
_WRONG_STATE = frozenset({"payment_intent_unexpected_state", "charge_already_refunded"})


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

    def create_payment_intent(
        self,
        amount: int,
        currency: str,
        *,
        description: str,
        metadata: Mapping[str, str],
        idempotency_key: str | None,
    ) -> PaymentIntent:
        params: dict[str, Any] = {
            "amount": amount,
            "currency": currency,
            "description": description,
            "metadata": dict(metadata),
            "automatic_payment_methods": {"enabled": True},
        }
        options: Any = {"idempotency_key": idempotency_key} if idempotency_key else {}
        create = self._client.v1.payment_intents.create
        made = self._call("payment_intents.create", lambda: create(params, options))  # type: ignore[arg-type]
        return _payment_intent(made)

    def retrieve_payment_intent(self, payment_intent: str) -> PaymentIntent:
        # As a part of the address these would be read as another one, such as the list's.
        if payment_intent in ("", ".", ".."):
            text = f"No such payment_intent: '{payment_intent}'"
            raise Gone(text, user_message=text, code="resource_missing")
        retrieve = self._client.v1.payment_intents.retrieve
        found = self._call("payment_intents.retrieve", lambda: retrieve(payment_intent))
        return _payment_intent(found)

    def cancel_payment_intent(self, payment_intent: str) -> PaymentIntent:
        cancel = self._client.v1.payment_intents.cancel
        params: Any = {"cancellation_reason": "abandoned"}
        canceled = self._call("payment_intents.cancel", lambda: cancel(payment_intent, params))
        return _payment_intent(canceled)

    def list_charges(self, payment_intent: str) -> list[dict[str, Any]]:
        listing = self._client.v1.charges.list
        params: Any = {"payment_intent": payment_intent, "limit": 100}
        charges = self._call("charges.list", lambda: list(listing(params).auto_paging_iter()))
        return [charge.to_dict(for_json=True) for charge in charges]

    def create_refund(self, payment_intent: str, amount: int, *, idempotency_key: str) -> Refund:
        create = self._client.v1.refunds.create
        params: Any = {"payment_intent": payment_intent, "amount": amount}
        options: Any = {"idempotency_key": idempotency_key}
        made = self._call("refunds.create", lambda: create(params, options))
        return Refund(made.id, made.status or "pending", made.amount, made.currency)

    def verify_event(self, payload: bytes, signature: str | None) -> Event:
        _verify(payload, signature, self._secrets)
        return read_event(payload)

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        """Makes the call, logs it in one line, and turns Stripe's errors into ours."""
        assert not transaction_is_open(), f"{operation} was called inside a transaction"
        started = time.perf_counter()
        try:
            result = call()
        except stripe.StripeError as error:
            translated = _translated(error)
            self._observe(operation, translated.name)
            _log_call(operation, started, translated.name, error.request_id, error.code)
            raise translated from error
        self._observe(operation, "ok")
        _log_call(operation, started, "ok", _request_id(result), None, result)
        return result


def read_event(payload: bytes) -> Event:
    """The event in a body whose signature was verified; `NotAnEvent` for anything else."""
    try:
        body = json.loads(payload, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NotAnEvent("the body is not JSON") from None
    kinds = {"id": str, "type": str, "created": int, "livemode": bool, "data": dict}
    if not isinstance(body, dict) or body.get("object") != "event":
        raise NotAnEvent("the body is not an event")
    for name, kind in kinds.items():
        longest = _LONGEST_TYPE if name == "type" else _LONGEST
        if type(body.get(name)) is not kind or not _storable(body[name], longest):
            raise NotAnEvent(f"the event's '{name}' is missing or wrong")
    whole, version = body["data"].get("object"), body.get("api_version")
    return Event(
        id=body["id"],
        type=body["type"],
        created=body["created"],
        livemode=body["livemode"],
        api_version=version if isinstance(version, str) and len(version) <= 60 else None,
        object=_kept(whole),
    )


def _kept(whole: Any) -> dict[str, Any]:
    """What is kept of the event's object, whatever shape that has."""
    fields = whole.items() if isinstance(whole, dict) else ()
    plain = {k: v for k, v in fields if k in _KEPT and not isinstance(v, dict | list)}
    metadata = whole.get("metadata") if isinstance(whole, dict) else None
    if isinstance(metadata, dict) and isinstance(metadata.get("order"), str):
        # Decides nothing; it only tells an event that is early from one that is not ours.
        plain["order"] = metadata["order"]
    return {k: v for k, v in plain.items() if _storable(v)}


def _storable(value: Any, longest: int = _LONGEST) -> bool:
    """Whether a column takes the value; Stripe's ids, types and times are within these bounds."""
    if isinstance(value, str):
        return len(value) <= longest and value.isprintable()
    return not isinstance(value, int | float) or abs(value) <= _LATEST


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


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


def _payment_intent(found: stripe.PaymentIntent) -> PaymentIntent:
    method = found.payment_method
    last_error = found.last_payment_error
    return PaymentIntent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        amount_received=found.amount_received,
        currency=found.currency,
        created=found.created,
        livemode=found.livemode,
        payment_method=method if isinstance(method, str) or method is None else method.id,
        metadata=found.metadata.to_dict() if found.metadata else {},
        error_code=_error_code(last_error) if last_error else None,
        client_secret=found.client_secret,
    )


def _error_code(error: Any) -> str | None:
    return getattr(error, "decline_code", None) or getattr(error, "code", None)


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
