"""What the shop does with which Stripe event: a table, type to function."""

from __future__ import annotations

from tmt.checkout.states import Cause
from tmt.core.errors import Refusal
from tmt.gateway import contract
from tmt.gateway.contract import Event, Gateway, PaymentIntent
from tmt.gateway.inbox import Done, Handler
from tmt.payments.declines import FAILED, end_after_declines
from tmt.payments.disputes import book_dispute
from tmt.payments.refunds import book_refund
from tmt.payments.settle import is_awaited, is_ours, settle
from tmt.shop import Shop

# What can never be untrue later may be believed; anything else is read again.
_FINAL = (contract.SUCCEEDED, contract.CANCELED)


class NotStoredYet(Refusal):
    """Stripe was faster than our own transaction: the event is handled when it is tried again."""


def payment_intent_changed(shop: Shop, gateway: Gateway, event: Event, done: Done) -> None:
    """Settles the PaymentIntent that the event speaks of; other systems' ones are left alone."""
    if not _is_stored(shop, event):
        return
    intent = _told(event) or gateway.retrieve_payment_intent(event.object_id)
    if event.type == FAILED:
        # Before the event is done, so that it is handled again if Stripe does not answer.
        end_after_declines(shop, gateway, event.object_id)
    settle(shop, intent, Cause.WEBHOOK, also=done)


def refund_changed(shop: Shop, gateway: Gateway, event: Event, done: Done) -> None:
    """Books the refund that the event speaks of, as Stripe has it now."""
    if _is_ours(shop, event):
        book_refund(shop, gateway.retrieve_refund(event.object_id), Cause.WEBHOOK, also=done)


def charge_refunded(shop: Shop, gateway: Gateway, event: Event, _done: Done) -> None:
    """Books every refund of the charge's PaymentIntent: the event does not say which is new."""
    if _is_ours(shop, event):
        for refund in gateway.list_refunds(payment_intent=str(event.object["payment_intent"])):
            book_refund(shop, refund, Cause.WEBHOOK)


def dispute_changed(shop: Shop, gateway: Gateway, event: Event, done: Done) -> None:
    """Books the dispute that the event speaks of, as Stripe has it now."""
    if _is_ours(shop, event):
        book_dispute(shop, gateway.retrieve_dispute(event.object_id), Cause.WEBHOOK, also=done)


HANDLERS: dict[str, Handler] = {
    "payment_intent.succeeded": payment_intent_changed,
    "payment_intent.payment_failed": payment_intent_changed,
    "payment_intent.processing": payment_intent_changed,
    "payment_intent.canceled": payment_intent_changed,
    "refund.created": refund_changed,
    "refund.updated": refund_changed,
    "refund.failed": refund_changed,
    "charge.refund.updated": refund_changed,
    "charge.refunded": charge_refunded,
    "charge.dispute.created": dispute_changed,
    "charge.dispute.updated": dispute_changed,
    "charge.dispute.closed": dispute_changed,
    "charge.dispute.funds_withdrawn": dispute_changed,
    "charge.dispute.funds_reinstated": dispute_changed,
}


def _is_stored(shop: Shop, event: Event) -> bool:
    """Whether the event's PaymentIntent is one of the shop's; `NotStoredYet` if it is going to be.

    The one question that nearly always answers it comes first. An id that is stored between the
    two others is found by the last, as it does not go away again.
    """
    if is_ours(shop, event.object_id):
        return True
    awaited = is_awaited(shop, event.object.get("order"))
    if is_ours(shop, event.object_id):
        return True
    if awaited:
        raise NotStoredYet(f"the PaymentIntent {event.object_id} of an order is not stored yet")
    return False


def _is_ours(shop: Shop, event: Event) -> bool:
    """Whether the PaymentIntent of the event's charge, refund or dispute is one of the shop's."""
    named = event.object.get("payment_intent")
    return isinstance(named, str) and is_ours(shop, named)


def _told(event: Event) -> PaymentIntent | None:
    """The PaymentIntent in the event, if it is final and rendered in our version of the API."""
    seen = event.object
    if event.api_version != contract.API_VERSION or seen.get("status") not in _FINAL:
        return None
    numbers = [seen.get(name) for name in ("amount", "amount_received", "created")]
    texts = [seen.get(name) for name in ("id", "status", "currency")]
    if not all(type(n) is int for n in numbers) or not all(isinstance(t, str) for t in texts):
        return None
    return PaymentIntent(
        id=str(seen["id"]),
        status=str(seen["status"]),
        amount=int(seen["amount"]),
        amount_received=int(seen["amount_received"]),
        currency=str(seen["currency"]),
        created=int(seen["created"]),
        livemode=event.livemode,
    )
