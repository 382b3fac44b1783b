"""A stand-in for Stripe: its API, its Stripe.js and its webhooks, for a laptop without an account.

`Sandbox` is a WSGI application with one SQLite file. It knows nothing of the shop that uses it.
"""

from __future__ import annotations

from tmt.sandbox.box import Endpoint, Sandbox

__all__ = ["Endpoint", "Sandbox"]
