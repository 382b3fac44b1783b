"""How a view reaches the gateway of its application."""

from __future__ import annotations

from typing import cast

from flask import current_app

from tmt.gateway.stripe_api import Gateway

KEY = "tmt.gateway"


def gateway() -> Gateway:
    """The gateway that the factory made for this application."""
    return cast(Gateway, current_app.extensions[KEY])
