"""Names that moved, for tests that still import them here."""

from tests.sandbox_store import change_at_stripe, forget_at_stripe
from tests.stripe_proxy import StripeProxy as StripeLine
from tests.stripe_proxy import wait_for_event

__all__ = ["StripeLine", "change_at_stripe", "forget_at_stripe", "wait_for_event"]
