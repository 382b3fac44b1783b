"""What chaos relies on: the plan is the seed's, and what is broken on purpose is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from redis import ConnectionError
from sqlalchemy import select, text

from tests.chaos import buyers, logs
from tests.chaos.__main__ import report
from tests.chaos.chaos_env import ChaosEnv
from tests.chaos.parties import GONE, HANGS, REFUSES, MailServer, Redis
from tests.chaos.plan import DEEDS, SCENARIOS, make_plan, visits
from tests.chaos.runner import Verdict
from tests.chaos.situations import AFTER, BEFORE, SITUATIONS
from tests.invariants import Verifier, compare_stock
from tests.sandbox_store import objects_of
from tests.shopfront import Shopfront
from tmt.catalog.models import Event
from tmt.checkout.models import Order
from tmt.core.errors import RateLimited
from tmt.core.jobs import Jobs
from tmt.core.limits import Limits
from tmt.core.mail_transport import (
    MailUnavailable,
    MailUncertain,
    Message,
    SmtpTransport,
    file_name,
)
from tmt.payments.refunds import issue_refund

pytestmark = pytest.mark.databases("sqlite")


def test_the_same_seed_draws_the_same_plan() -> None:
    assert make_plan(7, 120) == make_plan(7, 120)
    assert make_plan(7, 120).digest != make_plan(8, 120).digest
    assert list(islice(visits(7, 1), 50)) == list(islice(visits(7, 1), 50))
    assert list(islice(visits(7, 1), 50)) != list(islice(visits(7, 2), 50))


def test_everything_that_is_planned_can_be_done() -> None:
    assert set(SCENARIOS) == set(buyers.SCENARIOS)
    assert all(hasattr(ChaosEnv, f"_{deed}") for deed in DEEDS)
    assert sorted(name for script in (*BEFORE, *AFTER) for name in script) == sorted(SITUATIONS)


def test_a_run_without_a_situation_that_is_due_says_so() -> None:
    assert "no late payment came about" in report(Verdict({}, {}, ["late payment"], []))


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


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE refunds SET tickets = '[1]'", "I2: the tickets [1] of order"),
        ("UPDATE refunds SET amount = amount * 3", "had been refunded"),
    ],
)
def test_a_refund_too_many_is_seen(shopfront: Shopfront, statement: str, message: str) -> None:
    verified = sold(shopfront)
    with shopfront.shop.db.reading() as session:
        code = session.scalars(select(Order.code).where(Order.status == "paid")).one()
    for number in (1, 2):
        issue_refund(shopfront.shop, code, tickets=[number])
    for _ in range(2):
        shopfront.run_jobs()
        shopfront.sandbox.deliver()
    assert verified() == ""
    with shopfront.shop.db.engine.begin() as connection:
        connection.execute(text(statement))
    assert message in verified()


def test_what_a_backup_lost_takes_an_alert_and_can_be_given_back(shopfront: Shopfront) -> None:
    sold(shopfront)
    with shopfront.shop.db.engine.begin() as connection:
        connection.execute(text("UPDATE payments SET payment_intent_id = NULL"))
    lost = frozenset(i["id"] for i in objects_of(shopfront.stripe_store, "payment_intent"))
    (breach,) = Verifier(shopfront.shop.db, shopfront.stripe_store, lost).unknown_payments()
    assert "no alert says so" in breach
    shopfront.shop.jobs.run("reconcile")
    verifier = Verifier(shopfront.shop.db, shopfront.stripe_store, lost)
    assert list(verifier.unknown_payments()) == []
    assert list(verifier.lost_money().values()) == [17500]


@pytest.mark.parametrize(
    ("way", "error"), [(HANGS, MailUncertain), (REFUSES, MailUnavailable), (GONE, MailUnavailable)]
)
def test_the_mail_server_behaves_as_the_trial_says(
    tmp_path: Path, way: str, error: type[MailUnavailable]
) -> None:
    server = MailServer(tmp_path)
    transport = SmtpTransport(
        "127.0.0.1",
        server.port,
        None,
        None,
        use_tls=False,
        use_ssl=False,
        sender="shop@chaos.example",
        timeout=0.2,
    )
    mail = Message("ana@chaos.example", "Hola", "..", "<p>..</p>", "<1@chaos.example>", "es")
    with server.behaving(way), pytest.raises(error):
        transport.send(mail)
    assert (server.calls[way], list(tmp_path.iterdir())) == (1, [])
    transport.send(mail)
    assert (tmp_path / file_name(mail.message_id)).exists()
    server.close()


def test_the_redis_carries_jobs_and_counts(tmp_path: Path) -> None:
    server = Redis()
    url = f"redis://127.0.0.1:{server.port}/0"
    queue, limits = Jobs(url, tmp_path)._queue(), Limits(url, tmp_path)
    queue.enqueue(b"mails")
    assert (queue.enqueued_items(), queue.dequeue()) == ([b"mails"], b"mails")
    limits.hit("1 per hour", "orders", "192.0.2.1")
    with pytest.raises(RateLimited):
        limits.hit("1 per hour", "orders", "192.0.2.1")
    with server.behaving(GONE), pytest.raises(ConnectionError):
        queue.enqueued_items()
    assert server.calls == {GONE: 1}
    server.close()


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
