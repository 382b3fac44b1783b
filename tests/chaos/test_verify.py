"""What chaos relies on: the plan is the seed's, and what is broken on purpose is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.chaos import buyers, logs
from tests.chaos.chaos_env import ChaosEnv
from tests.chaos.plan import DEEDS, SCENARIOS, make_plan, visits
from tests.invariants import Verifier, compare_stock
from tests.shopfront import Shopfront
from tmt.catalog.models import Event

pytestmark = pytest.mark.databases("sqlite")


def test_the_same_seed_draws_the_same_plan() -> None:
    assert make_plan(7, 120) == make_plan(7, 120)
    assert make_plan(7, 120).digest != make_plan(8, 120).digest
    assert list(islice(visits(7, 1), 50)) == list(islice(visits(7, 1), 50))
    assert list(islice(visits(7, 1), 50)) != list(islice(visits(7, 2), 50))


def test_everything_that_is_planned_can_be_done() -> None:
    assert set(SCENARIOS) == set(buyers.SCENARIOS)
    assert all(hasattr(ChaosEnv, f"_{deed}") for deed in DEEDS)


def sold(front: Shopfront) -> Callable[[], str]:
    """A shop with a paid and an ended order, at rest; what the verifier says of it, in one text."""
    for cancels in (False, True):
        buyer = front.buyer()
        order = buyer.reserve(2, 1)
        payment_intent = buyer.open_pay_page(order)
        if cancels:
            buyer.cancel(order)
        else:
            front.confirm(payment_intent)
            buyer.get(f"/orders/{order.token}/return")
            assert front.order(order.token).status == "paid"
    front.sandbox.deliver()
    front.run_jobs()
    return lambda: "\n".join(Verifier(front.shop.db, front.stripe_store).at_rest(front.shop))


def test_a_sound_shop_is_called_sound(shopfront: Shopfront) -> None:
    assert sold(shopfront)() == ""


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET held = held + 1", "I1: event concierto counts 1 held"),
        ("UPDATE ticket_types SET sold = sold - 1 WHERE position = 0", "I1: ticket type General"),
        ("UPDATE payments SET amount_received = 1 WHERE status = 'succeeded'", "I2: pi_"),
        (
            "UPDATE payments SET status = 'processing' WHERE status = 'canceled'",
            "is canceled, here",
        ),
        ("UPDATE orders SET status = 'expired' WHERE status = 'paid'", "of it is at Stripe"),
        ("UPDATE orders SET total = 1 WHERE status = 'paid'", "I2: order"),
        ("UPDATE payments SET payment_intent_id = NULL", "and no order knows it"),
        ("DELETE FROM tickets WHERE number = 2", "has the tickets [1, 3]"),
        ("UPDATE tickets SET status = 'void' WHERE number = 2", "tickets [1, 3] are valid"),
        ("UPDATE tickets SET status = 'blocked' WHERE number = 2", "a blocked ticket"),
        ("DELETE FROM outbox WHERE kind = 'confirmation'", "I4: order"),
        ("UPDATE outbox SET done_at = NULL", "I7: outbox"),
        ("UPDATE stripe_events SET done_at = NULL", "I7: evt_"),
        ("UPDATE orders SET status = 'held' WHERE status = 'canceled'", "is still held"),
    ],
)
def test_what_is_broken_is_seen(shopfront: Shopfront, statement: str, message: str) -> None:
    verified = sold(shopfront)
    engine = shopfront.shop.db.engine
    with engine.begin() as connection:
        connection.execute(text(statement))
    assert message in verified()


def test_overselling_is_seen() -> None:
    event = Event(slug="concierto", held=1, sold=2, capacity=2)
    (breach,) = compare_stock("event concierto", event, 1, 2)
    assert breach == "I1: event concierto is oversold: 1 + 2 of 2"


def test_a_mail_that_was_not_sent_is_seen(shopfront: Shopfront) -> None:
    verified = sold(shopfront)
    for mail in shopfront.mails():
        mail.unlink()
    assert "I4: the confirmation of order" in verified()


def log_of(folder: Path, *lines: Any) -> list[Path]:
    path = folder / "web.log"
    written = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(written) + "\n")
    return [path]


REQUEST = {"event": "request", "request": "r1", "method": "GET", "route": "/", "status": 503}


def test_a_failure_of_the_shops_own_is_told_from_one_of_stripes(tmp_path: Path) -> None:
    silent = {"event": "stripe.payment_intents.create", "outcome": "StripeUnreachable"}
    assert list(logs.own_failures(log_of(tmp_path, silent | {"request": "r1"}, REQUEST))) == []
    (own,) = logs.own_failures(log_of(tmp_path, silent | {"request": "r2"}, REQUEST))
    assert "GET / was answered 503" in own
    assert (
        list(logs.own_failures(log_of(tmp_path, REQUEST | {"status": 404}, '{"event": "re'))) == []
    )


def test_an_error_that_nothing_outside_causes_is_seen(tmp_path: Path) -> None:
    failed = {"event": "inbox.failed", "level": "error"}
    outside = failed | {"exception": "Traceback …\ntmt.gateway.errors.StripeServerError: 500"}
    assert list(logs.unexpected_errors(log_of(tmp_path, outside))) == []
    own = failed | {"exception": "Traceback …\nKeyError: 'amount'"}
    (breach,) = logs.unexpected_errors(log_of(tmp_path, own))
    assert "KeyError" in breach
    assert (
        len(list(logs.unexpected_errors(log_of(tmp_path, "Traceback (most recent call last):"))))
        == 1
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("to quetzalin-1-2@chaos.example", "an e-mail address"),
        ("for Quetzalin 1-2", "a buyer's name"),
        ("pi_123_secret_abc", "a client secret"),
        ("sk_test_0123456789", "a secret key"),
        ("4242424242424242", "a card or an account"),
    ],
)
def test_what_is_private_is_found(
    shopfront: Shopfront, tmp_path: Path, line: str, message: str
) -> None:
    (breach, *more) = logs.private_words(log_of(tmp_path, {"event": line}), shopfront.shop)
    assert message in f"{breach} {more}"
    assert line not in breach


def test_an_orders_token_is_found(shopfront: Shopfront, tmp_path: Path) -> None:
    order = shopfront.buyer().reserve(1)
    paths = log_of(tmp_path, {"event": "request", "path": f"/orders/{order.token}"})
    (breach,) = logs.private_words(paths, shopfront.shop)
    assert "token" in breach
    assert list(logs.private_words(log_of(tmp_path, {"order": order.code}), shopfront.shop)) == []
