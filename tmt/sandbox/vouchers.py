"""Vouchers that a buyer pays in a shop: paid, or expired and found unpaid days later."""

from __future__ import annotations

from tmt.sandbox.confirmation import Confirmation
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, secrets_match
from tmt.sandbox.registry import timer_action
from tmt.sandbox.request_context import RequestContext


def fetch_voucher(context: RequestContext, id: str, secret: str) -> Json:
    """The intent whose voucher this is, until it is paid or found unpaid.

    Raises ApiError (404) afterwards.
    """
    intent = context.store.get(id) or {}
    if not secrets_match(secret, (intent.get("_voucher") or {}).get("secret", "")):
        raise api_error("voucher_over")
    return intent


@timer_action("pay_voucher")
def pay_voucher(context: RequestContext, id: str, secret: str) -> None:
    """The buyer paid in the shop. Raises ApiError (404) when it is too late."""
    intent = fetch_voucher(context, id, secret)
    if not intent["_voucher"]["open"]:
        raise api_error("voucher_over")
    intent["next_action"] = None
    Confirmation.of(context, intent).charge(None)
    intent["_voucher"] = None
    context.save(intent)


@timer_action("expire_voucher")
def expire_voucher(context: RequestContext, id: str, secret: str) -> None:
    """Nobody can pay it any more; whether somebody did is decided later."""
    intent = fetch_voucher(context, id, secret)
    if not intent["_voucher"]["open"]:
        raise api_error("voucher_over")
    intent["_voucher"]["open"] = False
    intent |= {"status": "processing", "next_action": None}
    context.save_and_emit(intent, "payment_intent.processing")
    decided_after = Confirmation.of(context, intent).simulated.decided_after
    context.schedule(decided_after, "fail_voucher", id, secret)


@timer_action("fail_voucher")
def fail_voucher(context: RequestContext, id: str, secret: str) -> None:
    """No shop reported a payment."""
    intent = fetch_voucher(context, id, secret)
    intent["_voucher"] = None
    expired = api_error("payment_intent_payment_attempt_expired")
    Confirmation.of(context, intent).decline(expired)
