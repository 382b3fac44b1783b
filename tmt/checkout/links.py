"""Addresses of an order's pages for mails and Stripe, where no request tells the site's root."""

from __future__ import annotations

from tmt.checkout.models import Order
from tmt.config import Settings


def order_url(settings: Settings, order: Order) -> str:
    """The public address of the order's page."""
    return f"{settings.base_url}/orders/{order.token}"


def return_url(settings: Settings, order: Order) -> str:
    """Where Stripe sends the buyer's browser after a redirect."""
    return f"{order_url(settings, order)}/return"
