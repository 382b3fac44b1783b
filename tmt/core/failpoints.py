"""Named points before and after everything that cannot be undone: commits and calls to Stripe.

Nothing happens at them. A trial that wants to know whether a process may die there puts its own
function in the place of `reach`, in a process of its own.
"""

from __future__ import annotations


def reach(name: str) -> None:
    """The process is at this point: "before commit of X", "after payment_intents.create"."""
