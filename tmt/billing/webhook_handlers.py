"""What the shop does with which Stripe event, billing's among them: a table, type to function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tmt.billing.sync import is_stored, sync_invoice, sync_subscription
from tmt.core.ids import is_stripe_id
from tmt.gateway.errors import StripeNotFound, UnreadableEvent
from tmt.gateway.inbox import Handler, MarkHandled
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import StripeEvent
from tmt.payments import webhook_handlers
from tmt.shop import Shop


def subscription_changed(
    shop: Shop, gateway: Gateway, event: StripeEvent, mark_handled: MarkHandled
) -> None:
    """Applies the event's subscription as Stripe has it now."""
    with _deleted_elsewhere(shop, event):
        sync_subscription(shop, gateway, _object_id(event), mark_handled)


def invoice_changed(
    shop: Shop, gateway: Gateway, event: StripeEvent, mark_handled: MarkHandled
) -> None:
    """Applies the event's invoice as Stripe has it now."""
    with _deleted_elsewhere(shop, event):
        sync_invoice(shop, gateway, _object_id(event), mark_handled)


# Doctor, `flask stripe register-webhook` and the reconciler derive from this table which events
# the shop needs.
HANDLERS: dict[str, Handler] = {
    **webhook_handlers.HANDLERS,
    "customer.subscription.created": subscription_changed,
    "customer.subscription.updated": subscription_changed,
    "customer.subscription.deleted": subscription_changed,
    "customer.subscription.paused": subscription_changed,
    "customer.subscription.resumed": subscription_changed,
    "invoice.created": invoice_changed,
    "invoice.finalized": invoice_changed,
    "invoice.updated": invoice_changed,
    "invoice.paid": invoice_changed,
    "invoice.payment_failed": invoice_changed,
    "invoice.payment_action_required": invoice_changed,
    "invoice.voided": invoice_changed,
    "invoice.marked_uncollectible": invoice_changed,
}


@contextmanager
def _deleted_elsewhere(shop: Shop, event: StripeEvent) -> Iterator[None]:
    """What Stripe does not have any more is no news, unless the shop has it: a draft of others."""
    try:
        yield
    except StripeNotFound:
        if is_stored(shop, event.object_id):
            raise


def _object_id(event: StripeEvent) -> str:
    # It becomes part of a URL.
    if not is_stripe_id(event.object_id):
        raise UnreadableEvent(f"the {event.type} event lacks what the shop needs of it")
    return event.object_id
