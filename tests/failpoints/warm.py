"""What the process that others are forked off has done: importing it sells a ticket, once.

So all that is read and imported at first use is there. It starts no thread.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import tests.failpoints.front  # noqa: F401
from tests.actions import add_event
from tmt.core import schema
from tmt.factory import create_app
from tmt.shop import Shop

_FIELDS = re.compile(r'name="(checkout_token|csrf_token|shown_price-\d+)"\s+value="([^"]*)"')


def _sell_a_ticket(folder: Path) -> None:
    app = create_app(_settings(folder))
    shop: Shop = app.extensions["tmt"].shop
    schema.migrate(shop.db)
    event = add_event(shop.db, prices=(0,), capacities=(9,))
    browser = app.test_client()
    page = browser.get(f"/events/{event.slug}").text
    form = dict(_FIELDS.findall(page)) | {"name": "Ana", "email": "ana@example.com"}
    form[f"quantity-{event.ticket_types[0].id}"] = "1"
    placed = browser.post(f"/events/{event.slug}/orders", data=form)
    assert placed.status_code == 303, placed.text
    assert browser.get(placed.headers["Location"]).status_code == 200
    shop.jobs.run("outbox")
    app.test_cli_runner().invoke(args=["outbox", "list"])
    shop.db.close()


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "secret_key": "only for tests",
        "database_url": f"sqlite:///{folder}/tmt.sqlite",
        "instance": folder,
        "stripe_secret_key": "sk_test_warm",
        "stripe_publishable_key": "pk_test_warm",
        "stripe_webhook_secrets": ("whsec_warm",),
        "stripe_api_base": "http://127.0.0.1:1",
        "base_url": "http://127.0.0.1:2",
        "log_level": "ERROR",
    }


with tempfile.TemporaryDirectory() as name:
    _sell_a_ticket(Path(name))
