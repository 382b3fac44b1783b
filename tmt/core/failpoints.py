"""Named points before and after everything that cannot be undone: commits and calls to Stripe.

Nothing happens at them. A test that kills a process there replaces `reach` in that process.
"""

from __future__ import annotations


def reach(name: str) -> None:
    """Marks a point such as "before commit of X" or "after payment_intents.create"."""
