"""Names that moved to shopfront.py and buyer.py, for tests that still import them here."""

from tests.buyer import HIDDEN as _HIDDEN
from tests.buyer import Buyer
from tests.shopfront import (
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_SECRET,
    MovableClock,
    Shopfront,
    add_event,
    open_shop,
    rendered_event,
)

__all__ = [
    "PUBLISHABLE_KEY",
    "SECRET_KEY",
    "SIGNING_SECRET",
    "_HIDDEN",
    "Buyer",
    "MovableClock",
    "Shopfront",
    "add_event",
    "open_shop",
    "rendered_event",
]
