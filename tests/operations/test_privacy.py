"""What is deleted and blanked by age, and what is exported and erased for one person."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.shopfront import Shopfront
from tests.test_personal_data import values
from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderTransition
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.operations import audit, privacy
from tmt.payments.models import Dispute

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MARKER = "markerperson"


def paid(front: Shopfront, email: str = f"{MARKER}@example.com") -> Order:
    buyer = front.buyer(name=f"{MARKER} Uno", email=email)
    order = buyer.reserve(1)
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    front.sandbox.deliver()
    front.run_jobs()
    return front.order(order.token)


def places(front: Shopfront) -> set[tuple[str, str]]:
    """The tables and columns in which the person is found."""
    return {
        (table, column)
        for table, column, value in values(front.shop.db)
        if MARKER in value.lower() and table != "events"
    }


def count(front: Shopfront, table: type[Any]) -> int:
    with front.shop.db.reading() as session:
        return session.query(table).count()


def flask(front: Shopfront, *command: str, **more: Any) -> Any:
    return front.app.test_cli_runner().invoke(args=["privacy", *command], **more)


def test_what_is_old_goes_and_amounts_stay(shopfront: Shopfront) -> None:
    order = paid(shopfront)
    disputed, unpaid = paid(shopfront), shopfront.buyer(email=f"{MARKER}@example.com").reserve(1)
    payment = shopfront.payment(disputed)
    now = shopfront.clock.now()
    names = {"stripe_id": "dp_1", "status": "needs_response", "reason": "", "amount": 1}
    times = {"currency": "usd", "created_at": now, "updated_at": now}
    dispute = Dispute(payment_id=payment.id, **names, **times)
    shopfront.shop.db.transaction(lambda session: session.add(dispute))
    events = count(shopfront, InboxRow)
    assert events
    shopfront.clock.move(days=60)  # The event is over, and nothing is old enough.
    shopfront.shop.jobs.run("purge")
    assert shopfront.order(order.token).email
    assert count(shopfront, InboxRow) == events
    shopfront.clock.move(days=40)
    shopfront.shop.jobs.run("purge")
    assert (count(shopfront, InboxRow), count(shopfront, OutboxRow)) == (0, 2)
    assert count(shopfront, OrderTransition) == 2
    shopfront.clock.move(days=1100)
    shopfront.shop.jobs.run("purge")
    # Neither the disputed order nor the one that is still held was touched.
    assert shopfront.order(disputed.token).email == f"{MARKER}@example.com"
    assert shopfront.order(unpaid.token).email == f"{MARKER}@example.com"
    assert count(shopfront, OrderTransition) == 1
    blanked = shopfront.order(order.token)
    assert (blanked.email, blanked.name, blanked.email_key) == ("", "", "")
    assert (blanked.total, shopfront.payment(order).amount) == (7500, 7500)
    assert {ticket.holder for ticket in shopfront.tickets(order)} == {""}
    shopfront.shop.jobs.run("purge")
    found = [b for b in audit.audit(shopfront.shop, None) if order.code in str(b)]
    assert not found


@pytest.mark.parametrize("settings", [{"keep_personal_data": 40}])
def test_old_mail_files_are_deleted(shopfront: Shopfront) -> None:
    paid(shopfront)
    folder = shopfront.shop.settings.mail_folder
    new = next(folder.glob("*.eml"))
    for name, days in {"old.eml": 41, "recent.eml": 39, "old.txt": 41}.items():
        (folder / name).write_text(MARKER)
        then = time.time() - days * 86_400
        os.utime(folder / name, (then, then))
    shopfront.shop.jobs.run("purge")
    left = {path.name for path in folder.iterdir()}
    assert left >= {new.name, "recent.eml", "old.txt"}
    assert "old.eml" not in left


def test_a_person_is_exported_and_erased(shopfront: Shopfront) -> None:
    order = paid(shopfront, f"{MARKER.upper()}@example.com")
    other = paid(shopfront, "somebody@example.com")
    address = f"{MARKER}@example.com"
    exported = flask(shopfront, "export", address).stdout
    assert order.token not in exported
    assert shopfront.tickets(order)[0].code not in exported
    (found,) = json.loads(exported)["orders"]
    assert (found["code"], found["total"], len(found["tickets"])) == (order.code, 7500, 1)
    assert [mail["subject"] for mail in json.loads(exported)["mail_files"]] != []
    assert not json.loads(flask(shopfront, "export", "nobody@example.com").stdout)["orders"]

    # Before the event is over nothing is erased, whatever is asked for.
    refused = flask(shopfront, "erase", address, "--yes")
    assert (refused.exit_code, "its event is on" in refused.output) == (1, True)
    over = update(Event).values(ends_at=shopfront.clock.now())
    shopfront.shop.db.transaction(lambda session: session.execute(over))
    assert flask(shopfront, "erase", address, input="n\n").exit_code == 1
    assert ("orders", "email") in places(shopfront)
    assert flask(shopfront, "erase", address, input="y\n").exit_code == 0
    assert ("orders", "email") not in places(shopfront)
    assert shopfront.order(other.token).email == "somebody@example.com"
    assert not list(privacy._mails_to(shopfront.shop.settings.mail_folder, address))
    file = shopfront.shop.settings.database_url.removeprefix("sqlite:///")
    for name in (file, f"{file}-wal"):
        assert f"{MARKER.upper()}@".encode() not in Path(name).read_bytes()
    shopfront.run_jobs()
    assert shopfront.order(order.token).total == 7500
