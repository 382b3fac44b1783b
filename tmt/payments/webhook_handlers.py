"""What the shop does with which Stripe event: a table, type to function."""

from __future__ import annotations

from tmt.checkout.states import Trigger
from tmt.core.errors import DomainError
from tmt.gateway.errors import UnreadableEvent
from tmt.gateway.inbox import Handler, MarkHandled
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import API_VERSION, PaymentIntent, PaymentIntentStatus, StripeEvent
from tmt.payments.card_testing import (
    FAILED_EVENT,
    cancel_after_declines,
    end_after_declines,
)
from tmt.payments.disputes import sync_dispute
from tmt.payments.refunds import record_refund
from tmt.payments.sync import (
    Outcome,
    expects_intent,
    is_known_intent,
    sync_from_stripe,
    sync_payment_intent,
)
from tmt.shop import Shop

_NOT_NAMED = object()


class NotStoredYet(DomainError):
    """Stripe was faster than our own transaction: the event is handled at its next try."""


class Overtaken(DomainError):
    """What Stripe said was overtaken by other news: the event is handled at its next try."""


def payment_intent_changed(
    shop: Shop, gateway: Gateway, event: StripeEvent, mark_handled: MarkHandled
) -> None:
    """Syncs the event's PaymentIntent; those of other systems on the account are left alone."""
    if not event.object_id:
        raise UnreadableEvent(f"the {event.type} event lacks what the shop needs of it")
    if not _is_stored(shop, event):
        if event.type == FAILED_EVENT:
            cancel_after_declines(shop, gateway, event.object_id)
        return
    if event.type == FAILED_EVENT:
        # Before the event is marked, so that it is tried again if Stripe does not answer.
        end_after_declines(shop, gateway, event.object_id)
    if intent := _final_intent(event):
        sync_payment_intent(shop, intent, Trigger.WEBHOOK, in_transaction=mark_handled)
        return
    _intent, outcome = sync_from_stripe(
        shop, gateway, event.object_id, Trigger.WEBHOOK, in_transaction=mark_handled
    )
    if outcome == Outcome.STALE:
        raise Overtaken(f"other news of {event.object_id} were faster each time that it was read")


def refund_changed(
    shop: Shop, gateway: Gateway, event: StripeEvent, mark_handled: MarkHandled
) -> None:
    """Records the event's refund as Stripe has it now."""
    if _may_be_ours(shop, event):
        refund = gateway.retrieve_refund(event.object_id)
        record_refund(shop, refund, Trigger.WEBHOOK, in_transaction=mark_handled)


def charge_refunded(
    shop: Shop, gateway: Gateway, event: StripeEvent, _mark_handled: MarkHandled
) -> None:
    """Records every refund of the charge's PaymentIntent: the event does not say which is new."""
    if _may_be_ours(shop, event):
        payment_intent = event.object.get("payment_intent")
        if not isinstance(payment_intent, str):
            raise UnreadableEvent(f"the {event.type} event lacks what the shop needs of it")
        for refund in gateway.list_refunds(payment_intent=payment_intent):
            record_refund(shop, refund, Trigger.WEBHOOK)


def dispute_changed(
    shop: Shop, gateway: Gateway, event: StripeEvent, mark_handled: MarkHandled
) -> None:
    """Records the event's dispute as Stripe has it now."""
    if _may_be_ours(shop, event):
        sync_dispute(shop, gateway, event.object_id, Trigger.WEBHOOK, in_transaction=mark_handled)


# Doctor, `flask stripe register-webhook` and the reconciler derive from this table which events
# the shop needs.
HANDLERS: dict[str, Handler] = {
    "payment_intent.succeeded": payment_intent_changed,
    "payment_intent.payment_failed": payment_intent_changed,
    "payment_intent.requires_action": payment_intent_changed,
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


def _is_stored(shop: Shop, event: StripeEvent) -> bool:
    """Whether the event's PaymentIntent is ours; raises `NotStoredYet` if it is about to be.

    The question that nearly always decides comes first. An id that is stored between the other
    two is found by the last, as it is never removed.
    """
    if is_known_intent(shop, event.object_id):
        return True
    expected = expects_intent(shop, event.object.get("order"))
    if is_known_intent(shop, event.object_id):
        return True
    if expected:
        raise NotStoredYet(f"the PaymentIntent {event.object_id} of an order is not stored yet")
    return False


def _may_be_ours(shop: Shop, event: StripeEvent) -> bool:
    """Whether the PaymentIntent of the event's charge, refund or dispute is ours.

    Also when the event does not say which that is: then the object itself does. An object that
    was paid without a PaymentIntent says so, and is not ours.
    """
    if not event.object_id:
        raise UnreadableEvent(f"the {event.type} event lacks what the shop needs of it")
    payment_intent = event.object.get("payment_intent", _NOT_NAMED)
    if isinstance(payment_intent, str) and payment_intent:
        return is_known_intent(shop, payment_intent)
    return payment_intent is not None


def _final_intent(event: StripeEvent) -> PaymentIntent | None:
    """The PaymentIntent in the event, if it can never change again and is in our API version.

    Anything else may be outdated and is retrieved instead.
    """
    fields = event.object
    numbers = [fields.get(name) for name in ("amount", "amount_received", "created")]
    texts = [fields.get(name) for name in ("id", "status", "currency")]
    if not all(type(n) is int for n in numbers) or not all(isinstance(t, str) for t in texts):
        return None
    status = PaymentIntentStatus(fields["status"])
    if event.api_version != API_VERSION or not status.is_final:
        return None
    return PaymentIntent(
        id=str(fields["id"]),
        status=status,
        amount=int(fields["amount"]),
        amount_received=int(fields["amount_received"]),
        currency=str(fields["currency"]),
        created=int(fields["created"]),
        livemode=event.livemode,
        from_event=True,
    )
