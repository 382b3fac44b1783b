"""What the process that others are forked off has done: importing it sells a ticket, once.

So all that is read, imported and compiled at first use is there. It starts no thread.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tests.failpoints.crash_env
import tests.race_workers  # noqa: F401
from tests import compiled
from tests.buyer import hidden_fields
from tests.shopfront import add_event, overrides
from tmt.core import schema
from tmt.factory import create_app
from tmt.shop import Shop


def _sell_a_ticket(folder: Path) -> None:
    nowhere = {"stripe_api_base": "http://127.0.0.1:1", "base_url": "http://127.0.0.1:2"}
    url = f"sqlite:///{folder}/tmt.sqlite"
    app = create_app(overrides(url, folder, log_level="ERROR", **nowhere))
    shop: Shop = app.extensions["tmt"].shop
    schema.migrate(shop.db)
    event = add_event(shop.db, prices=(0,), capacities=(9,))
    browser = app.test_client()
    page = browser.get(f"/events/{event.slug}").text
    form = hidden_fields(page) | {"name": "Ana", "email": "ana@example.com"}
    form[f"quantity-{event.ticket_types[0].id}"] = "1"
    placed = browser.post(f"/events/{event.slug}/orders", data=form)
    assert placed.status_code == 303, placed.text
    assert browser.get(placed.headers["Location"]).status_code == 200
    shop.jobs.flush()
    shop.jobs.run("outbox")
    app.test_cli_runner().invoke(args=["outbox", "list"])
    shop.db.close()


compiled.keep_between_applications()
with tempfile.TemporaryDirectory() as name:
    _sell_a_ticket(Path(name))
